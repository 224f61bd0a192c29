import copy
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pairrank.models.base import build
from pairrank.models.heads.neural import HEADS, ScoreHead, as_sides, build_head, own_head, scores_as_sides
from tests.support.runs import complaint

BATCHES = st.tuples(st.integers(1, 9), st.integers(1, 6), st.integers(0, 4), st.integers(0, 2**31 - 1))
"""Battles, width of a side, width of what both share, seed."""


def drawn(battles: int, width: int, shared: int, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(battles, size, generator=generator) * 3 for size in (width, width, shared)]


@given(BATCHES)
@settings(deadline=None)
def test_the_difference_head_is_odd_in_its_margin_and_even_in_its_tie_to_the_last_bit(shape):
    a, b, shared = drawn(*shape)
    head = build_head("difference", shape[1], shape[2], 7, 0.3, shape[3]).eval()
    straight, swapped = head(a, b, shared), head(b, a, shared)
    assert torch.equal(straight[:, [1, 0, 2]], swapped)
    assert torch.equal(straight[:, 0], -straight[:, 1])


def test_the_concat_head_is_not_symmetric():
    a, b, shared = drawn(5, 4, 0, 0)
    head = build_head("concat", 4, 0, 7, 0.0, 0).eval()
    assert (head(a, b, shared)[:, [1, 0, 2]] - head(b, a, shared)).abs().max() > 1e-3


def test_equal_sides_have_no_margin_but_may_tie():
    a, _, shared = drawn(5, 4, 2, 0)
    logits = build_head("difference", 4, 2, 7, 0.0, 0)(a, a, shared)
    assert torch.equal(logits[:, :2], torch.zeros(5, 2))
    assert logits[:, 2].abs().min() > 0


def test_the_difference_head_distinguishes_the_larger_side():
    a, b, shared = drawn(64, 1, 0, 0)
    head = build_head("difference", 1, 0, 8, 0.0, 0)
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.03)
    labels = (a < b).long()[:, 0]
    for _ in range(100):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(head(a, b, shared), labels).backward()
        optimizer.step()
    assert (head(a, b, shared)[:, :2].argmax(dim=1) == labels).float().mean() > 0.95


@pytest.mark.parametrize("kind", HEADS)
def test_every_parameter_of_a_head_has_a_gradient(kind: str):
    a, b, shared = drawn(6, 4, 3, 1)
    head = build_head(kind, 4, 3, 7, 0.0, 0)
    torch.nn.functional.cross_entropy(head(a, b, shared), torch.tensor([0, 1, 2, 0, 1, 2])).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("kind", HEADS)
def test_dropout_masks_the_same_numbers_of_both_sides(kind: str):
    # Equal sides stay equal under one mask: the difference head then has no margin, in training too.
    a, _, shared = drawn(6, 40, 0, 1)
    head = build_head("difference", 40, 0, 7, 0.5, 0).train()
    assert torch.equal(head(a, a, shared)[:, 0], torch.zeros(6))
    first, second = (copy.deepcopy(build_head(kind, 40, 0, 7, 0.5, 0)).train()(a, a, shared) for _ in range(2))
    assert not torch.equal(first, second)


def test_the_seed_draws_the_weights_and_leaves_the_global_random_state():
    before = torch.get_rng_state()
    one, same, other = (build_head("concat", 3, 0, 5, 0.0, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(torch.get_rng_state(), before)


@given(BATCHES)
@settings(deadline=None)
def test_swapping_what_goes_into_the_sides_swaps_the_sides(shape):
    a, b, _ = drawn(*shape)
    prompt, lengths = a + b, torch.stack([a.sum(1), b.sum(1)], dim=1)
    one, other, shared = as_sides(a, b, prompt, lengths)
    swapped_one, swapped_other, swapped_shared = as_sides(b, a, prompt, lengths.flip(1))
    assert torch.equal(one, swapped_other)
    assert torch.equal(other, swapped_one)
    assert torch.equal(shared, swapped_shared)
    assert one.shape == (shape[0], 2 * shape[1] + 1)


def test_the_scale_of_an_encoders_vectors_makes_no_difference():
    a, b, _ = drawn(4, 16, 0, 0)
    small, large = as_sides(a, b, a, None), as_sides(1_000 * a, 1_000 * b, 1_000 * a, None)
    for x, y in zip(small, large, strict=True):
        assert torch.allclose(x, y, atol=1e-3)


# --- The head of scores


def score_head(width: int, seed: int = 0) -> ScoreHead:
    """Return a head whose weights are not those it begins with."""
    generator = torch.Generator().manual_seed(seed)
    head = ScoreHead(width)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return head


@given(BATCHES)
@settings(deadline=None)
def test_the_head_of_scores_is_odd_in_its_margin_and_even_in_its_tie_to_the_last_bit(shape):
    a, b, shared = drawn(*shape)
    head = score_head(shape[1], shape[3])
    straight, swapped = head(a, b, shared), head(b, a, shared)
    assert torch.equal(straight[:, [1, 0, 2]], swapped)
    assert torch.equal(straight[:, 0], -straight[:, 1])
    assert ScoreHead.symmetric


@pytest.mark.parametrize("with_lengths", [False, True])
def test_a_new_head_of_scores_is_the_bradley_terry_model_of_the_scores(with_lengths: bool):
    """The logit of A among decided battles, 2m, is the difference of the scores; a tie is less likely far apart.

    The lengths have no effect yet. At equal scores all three logits are 0.
    """
    a, b = torch.tensor([[3.0], [-1.0], [2.0]]), torch.tensor([[1.0], [4.0], [2.0]])
    lengths = torch.tensor([[9.0, 1.0], [1.0, 9.0], [9.0, 1.0]]) if with_lengths else None
    logits = ScoreHead(1 + with_lengths)(*scores_as_sides(a, b, lengths))
    log2 = torch.log(torch.tensor(2.0)).item()
    expected = torch.tensor([[1.0, -1.0, -log2], [-2.5, 2.5, -2.5 * log2], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize("width", [1, 2])
def test_every_parameter_of_the_head_of_scores_has_a_gradient_from_the_start(width: int):
    a, b, shared = drawn(6, width, 0, 1)
    head = ScoreHead(width)
    torch.nn.functional.cross_entropy(head(a, b, shared), torch.tensor([0, 1, 2, 0, 1, 2])).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_the_head_of_scores_learns_temperature_and_ties():
    """Votes of Davidson's model with a temperature of 2 on scores with a unit of 4."""
    generator = torch.Generator().manual_seed(0)
    scores = 4 * torch.randn(3_000, 2, generator=generator)
    margin = (scores[:, 0] - scores[:, 1]) / 4
    truth = torch.softmax(torch.stack([margin, -margin, torch.full_like(margin, 0.3)], dim=1), dim=1)
    winner = torch.multinomial(truth, 1, generator=generator)[:, 0]
    head, sides = ScoreHead(), scores_as_sides(scores[:, :1], scores[:, 1:], None)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(head(*sides), winner).backward()
        optimizer.step()
    assert head.log_scale.exp().item() == pytest.approx(0.5, rel=0.1)
    assert (torch.softmax(head(*sides), dim=1) - truth).abs().mean() < 0.02


OWN = """
from pairrank.models.heads.neural import ConcatHead, DifferenceHead


class Halved(DifferenceHead):
    def forward(self, a, b, shared):
        return super().forward(a, b, shared) / 2


class Plain:
    symmetric = True
"""


def test_a_head_of_ones_own_is_built_with_the_same_weights(tmp_path: Path):
    (tmp_path / "mine.py").write_text(OWN)
    assert own_head("./mine.py", tmp_path) == "mine.py:Halved"
    own, plain = (build_head(kind, 4, 2, 7, 0.0, seed=0).eval() for kind in ("mine.py:Halved", "difference"))
    a, b, shared = torch.randn(5, 4), torch.randn(5, 4), torch.randn(5, 2)
    assert torch.equal(own(a, b, shared), plain(a, b, shared) / 2)
    assert build("siamese", head="mine.py:Halved").symmetric
    for name, words in (
        ("mine.py:Plain", "expected a torch.nn.Module"),
        ("diference", "Did you mean 'difference'?"),
    ):
        assert words in complaint(lambda name=name: build("siamese", head=name))
    assert "--plugin" in complaint(lambda: build("siamese", head="other.py:Halved"))
