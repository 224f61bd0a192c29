from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pairrank.data.probabilities import softmax
from pairrank.encoders.inference import compute_outputs, cut_by_tokens, pad, parts_for_prediction
from pairrank.errors import UserError
from tests.support.fine_tuning import Bag, collate, some_rows


def test_softmax_equals_torchs_and_survives_large_logits():
    logits = np.array([[1.0, 2.0, 3.0], [-800.0, 0.0, 800.0]])
    assert softmax(logits) == pytest.approx(torch.softmax(torch.tensor(logits), dim=1).numpy())
    assert softmax(logits).dtype == np.float64


class Overflowing(nn.Module):
    """Overflows in half precision, as a long text may on an older GPU."""

    def forward(self, input_ids: torch.Tensor, **_: torch.Tensor) -> torch.Tensor:
        half = torch.is_autocast_enabled("cpu")
        logits = input_ids[:, :1].float() * torch.tensor([0.1, 0.2, 0.3])
        return torch.where((input_ids[:, :1] == 3) & half, torch.nan, logits)


def test_a_row_that_overflows_half_precision_is_computed_in_fp32():
    rows = [np.array([i, 1], dtype=np.int32) for i in (2, 3, 4)]
    logits = compute_outputs(Overflowing(), rows, collate, "bf16", 4)
    assert logits == pytest.approx(np.outer([2, 3, 4], [0.1, 0.2, 0.3]), rel=1e-6)


def test_compute_outputs_equals_the_bare_module(tmp_path: Path):
    rows, module = some_rows(10), Bag(dropout=0.5)
    logits = compute_outputs(module, rows.tokens, collate, "fp32", 60)
    assert logits.dtype == np.float64
    with torch.no_grad():
        alone = [module.eval()(**collate([row]))[0].numpy() for row in rows.tokens]
    assert logits == pytest.approx(np.array(alone), abs=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compute_outputs_is_identical_in_any_order_of_rows(precision):
    rows, batches = some_rows(23), []

    def remember(batch: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        batches.append([row.tolist() for row in batch])
        return collate(batch)

    straight = compute_outputs(Bag(), rows.tokens, remember, precision, 60)
    order = np.random.default_rng(0).permutation(23)
    mixed = compute_outputs(Bag(), [rows.tokens[i] for i in order], remember, precision, 60)
    assert np.array_equal(mixed, straight[order])
    # A model may round otherwise in another company: the batches themselves are the same.
    half = len(batches) // 2
    assert half > 3
    assert batches[:half] == batches[half:]
    lengths = [len(row) for batch in batches[:half] for row in batch]
    assert lengths == sorted(lengths)


@pytest.mark.parametrize("most", [1, 25, 100, 10_000])
def test_compute_outputs_does_not_depend_on_max_tokens_in_fp32(most):
    rows = some_rows(23)
    reference = compute_outputs(Bag(), rows.tokens, collate, "fp32", 60)
    assert compute_outputs(Bag(), rows.tokens, collate, "fp32", most) == pytest.approx(reference, abs=1e-6)


def test_bf16_is_used_if_requested():
    rows = some_rows(9)
    exact, rough = (compute_outputs(Bag(), rows.tokens, collate, precision, 60) for precision in ("fp32", "bf16"))
    assert 1e-6 < np.abs(exact - rough).max() < 2e-2


def test_compute_outputs_of_no_rows_is_empty():
    assert len(compute_outputs(Bag(), [], collate, "fp32", 60)) == 0
    assert softmax(np.zeros((0, 3))).shape == (0, 3)


def test_equal_rows_go_through_the_module_once():
    rows, seen = some_rows(5).tokens, []

    def remember(batch: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        seen.extend(row.tobytes() for row in batch)
        return collate(batch)

    outputs = compute_outputs(Bag(), [*rows, *rows[::-1]], remember, "fp32", 40)
    assert len(seen) == len(set(seen)) == 5
    assert np.array_equal(outputs[:5], outputs[:4:-1])


def test_fp16_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="needs a GPU"):
        compute_outputs(Bag(), some_rows(2).tokens, collate, "fp16")


@pytest.mark.parametrize("most", [1, 7, 12, 30, 1_000])
def test_cut_by_tokens_groups_similar_lengths_and_keeps_the_limit(most: int):
    lengths = np.random.default_rng(0).integers(1, 13, 40).tolist()
    parts = cut_by_tokens(lengths, most)
    assert sorted(row for part in parts for row in part) == list(range(40))
    padded = [len(part) * max(lengths[row] for row in part) for part in parts]
    assert all(tokens <= most or len(part) == 1 for tokens, part in zip(padded, parts, strict=True))
    in_order = [lengths[row] for part in parts for row in part]
    assert in_order == sorted(in_order)
    # None is cut short: the next row would not have fitted.
    for part, after in pairwise(parts):
        assert (len(part) + 1) * lengths[after[0]] > most


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2])
def test_a_part_that_is_half_full_ends_before_it_pads_a_row_too_much(share: float):
    most, lengths = 60, np.random.default_rng(1).integers(1, 25, 200).tolist()
    parts = cut_by_tokens(lengths, most, share)
    assert sorted(row for part in parts for row in part) == list(range(200))
    for part in parts:
        shortest, longest, before = lengths[part[0]], lengths[part[-1]], lengths[part[-2]] if len(part) > 1 else 0
        assert longest - shortest <= share * longest or before * (len(part) - 1) < most / 2
    assert len(parts) > len(cut_by_tokens(lengths, most))


def test_rows_for_prediction_are_padded_less_than_in_the_fewest_parts():
    lengths = np.random.default_rng(2).integers(10, 257, 150).tolist()
    fewest, chosen = cut_by_tokens(lengths, 2_048), parts_for_prediction(lengths, 2_048)
    tokens = [sum(len(part) * lengths[part[-1]] for part in parts) for parts in (fewest, chosen)]
    assert tokens[1] < 0.99 * tokens[0]
    assert len(chosen) < 1.3 * len(fewest)


def test_cut_by_tokens_of_no_rows_is_empty():
    assert cut_by_tokens([], 10) == []


@pytest.mark.parametrize(("width", "expected"), [(0, 3), (2, 3), (5, 5)])
def test_rows_are_padded_to_the_longest_or_to_the_window(width: int, expected: int):
    batch = pad([np.array([4, 5, 6], np.int32), np.array([7], np.int32)], 9, width)
    assert batch["input_ids"].tolist() == [[4, 5, 6, *[9] * (expected - 3)], [7, *[9] * (expected - 1)]]
    assert batch["attention_mask"].sum(dim=1).tolist() == [3, 1]


def test_a_module_evaluates_after_its_outputs_were_computed_by_whatever():
    module = nn.Dropout(0.5).train()
    rows = [np.array([1, 2], dtype=np.int32)]
    compute_outputs(module, rows, lambda rows: {}, "fp32", compute=lambda batch: torch.zeros(1, 1))
    assert not module.training
