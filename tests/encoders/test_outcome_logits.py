"""What a language model reads equals what transformers compute for each order, and is read once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from pairrank.data.battles import Battles, concatenate, object_array
from pairrank.encoders import outcome_logits
from pairrank.encoders.catalogue import Encoder
from pairrank.encoders.judge_windows import judge_template, judge_texts, outcome_tokens
from pairrank.encoders.outcome_logits import OutcomeModel, OutcomeReader
from pairrank.vector_cache import VectorCache
from tests.support.battles import arena_of_words, plain_battles
from tests.support.language_models import CHAT, ROOM, write_language_model, write_recurrent_model
from tests.support.runs import complaint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("qwen"), "qwen2", CHAT)


@pytest.fixture
def cache(tmp_path: Path) -> VectorCache:
    return VectorCache(tmp_path / "vectors.sqlite")


def reader(folder: Path, cache: VectorCache | None = None, **changes) -> OutcomeReader:
    plain = OutcomeReader(Encoder("tiny", folder, "0" * 64), ROOM, precision="fp32", cache=cache)
    return replace(plain, **changes)


def battles(n: int = 9) -> Battles:
    long = plain_battles(("why " * 99, "good " * 99, "bad"), ("", "", "red"))
    both = concatenate([arena_of_words(n - 2, seed=3), long])
    return replace(both, id=object_array([str(i) for i in range(n)]))


def read_blocks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of battles in each block that is read from now on."""
    seen: list[int] = []
    inner = OutcomeReader._read

    def counting(self, texts):
        seen.append(len(texts))
        return inner(self, texts)

    monkeypatch.setattr(OutcomeReader, "_read", counting)
    return seen


@pytest.fixture(scope="module")
def recurrent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recurrent_model(tmp_path_factory.mktemp("mamba"), "mamba")


@pytest.mark.parametrize("kind", ["folder", "recurrent"])
@torch.no_grad()
def test_probabilities_are_the_geometric_mean_of_both_orders_as_transformers_compute_them(
    request: pytest.FixtureRequest, kind: str
):
    folder = request.getfixturevalue(kind)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    template = judge_template(tokenizer)
    words = list(outcome_tokens(tokenizer, template))
    asked = battles()
    found = reader(folder).read(asked)
    for row, text in enumerate(judge_texts(asked, tokenizer, template, ROOM)):
        orders = [
            model(input_ids=torch.from_numpy(template.row(text.prompt, *pair)).long()[None]).logits[0, -1, words]
            for pair in ((text.a, text.b), (text.b, text.a))
        ]
        straight, swapped = (logits.double().softmax(0) for logits in orders)
        mean = (straight * swapped[[1, 0, 2]]).sqrt()
        assert found.proba[row] == pytest.approx((mean / mean.sum()).numpy(), abs=1e-6)
    assert found.proba.std(axis=0).min() > 1e-3
    assert found.coverage.cut.tolist() == [False] * 7 + [True, False]


def test_swapped_battles_are_read_as_the_same_and_give_exactly_the_swapped_results(
    folder: Path, cache, monkeypatch
):
    for precision in ("fp32", "bf16"):
        found = reader(folder, cache, precision=precision).read(battles())
        seen = read_blocks(monkeypatch)
        swapped = reader(folder, cache, precision=precision).read(battles().swap())
        assert seen == []
        assert np.array_equal(swapped.proba[:, [1, 0, 2]], found.proba)
        kept, other = found.coverage.kept, swapped.coverage.kept
        assert (kept["response_a"], kept["response_b"]) == (other["response_b"], other["response_a"])
        assert np.array_equal(
            reader(folder, precision=precision).read(battles().swap()).proba[:, [1, 0, 2]], found.proba
        )


def test_the_order_of_the_battles_does_not_change_any_digit(folder: Path, monkeypatch):
    monkeypatch.setattr(outcome_logits, "BLOCK", 4)
    order = np.random.default_rng(0).permutation(9)
    found = reader(folder, precision="bf16").read(battles()).proba
    assert np.array_equal(reader(folder, precision="bf16").read(battles().take(order)).proba, found[order])


def test_cached_battles_are_not_read_and_no_model_is_loaded(folder: Path, cache: VectorCache, monkeypatch):
    first = reader(folder, cache).read(battles())
    monkeypatch.setattr(OutcomeReader, "_model", property(lambda _: pytest.fail("a model was loaded")))
    again = reader(folder, cache).read(battles().take(slice(None, None, -1)))
    assert np.array_equal(again.proba[::-1], first.proba)
    assert again.coverage.kept == first.coverage.kept


def test_an_interrupted_reading_that_is_repeated_gives_the_same(folder: Path, cache: VectorCache, monkeypatch):
    monkeypatch.setattr(outcome_logits, "BLOCK", 4)
    undisturbed = reader(folder).read(battles())
    inner, calls = OutcomeReader._read, []

    def interrupted(self, texts):
        calls.append(len(texts))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return inner(self, texts)

    monkeypatch.setattr(OutcomeReader, "_read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        reader(folder, cache).read(battles())
    assert cache.size()[0] == 4
    repeated = reader(folder, cache).read(battles())
    assert calls == [4, 4, 4, 1]
    assert np.array_equal(repeated.proba, undisturbed.proba)


def test_a_block_is_read_whole_and_known_numbers_are_kept(folder: Path, cache: VectorCache, monkeypatch):
    few = reader(folder, cache).read(battles().take(slice(0, 2)))
    seen = read_blocks(monkeypatch)
    every = reader(folder, cache).read(battles())
    assert seen == [9]
    assert np.array_equal(every.proba[:2], few.proba)
    assert np.array_equal(reader(folder, cache).read(battles()).proba, every.proba)


def test_each_distinct_battle_is_read_once(folder: Path, monkeypatch):
    seen = read_blocks(monkeypatch)
    asked = battles()
    twice = concatenate([asked, replace(asked.swap(), id=object_array([f"again {i}" for i in range(9)]))])
    reader(folder).read(twice)
    assert seen == [9]


def test_every_setting_that_changes_a_result_makes_another_cache_entry(folder: Path, cache: VectorCache, tmp_path):
    plain = reader(folder, cache).read(battles(3))
    changes = (
        {"max_tokens": 200},
        {"budget": "head+tail"},
        {"template": "plain"},
        {"precision": "bf16"},
        {"bits": 16},
        {"encoder": Encoder("tiny", folder, "1" * 64)},
        {"encoder": Encoder("tiny", write_language_model(tmp_path / "other", "qwen2", CHAT + " "), "0" * 64)},
    )
    for i, change in enumerate(changes):
        reader(folder, cache, **change).read(battles(3))
        assert cache.size()[0] == 3 * (i + 2), change
    assert np.array_equal(reader(folder, cache).read(battles(3)).proba, plain.proba)


def test_no_logits_of_the_vocabulary_are_computed(folder: Path):
    model = OutcomeModel(Encoder("tiny", folder, ""), ROOM, "auto", {"dtype": torch.float32})
    vocabulary = len(model.tokenizer)
    assert not [part for part in model.modules() if isinstance(part, nn.Linear) and part.out_features >= vocabulary]
    assert model.words.weight.shape[0] == 3


def test_no_battles_are_read_as_none(folder: Path):
    found = reader(folder).read(battles().take(slice(0)))
    assert found.proba.shape == (0, 3)


def test_a_template_that_fails_is_one_message(tmp_path: Path):
    folder = write_language_model(tmp_path, "qwen2", "{% if %}")
    assert "its chat template fails" in complaint(lambda: reader(folder).read(battles()))
