"""Extra battles may be learned before the others, in a training of their own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pairrank.data.battles import Battles, concatenate, object_array
from pairrank.training import fine_tuning
from pairrank.training.fine_tuning import Rows, TrainingHistory, fine_tune, fine_tune_battles
from pairrank.training.recipe import Recipe, make_targets
from tests.support.battles import arena_of_words
from tests.support.fine_tuning import Bag, Killed, Mortal, collate

RECIPE = Recipe(
    learning_rate=0.02, epochs=2, extra_epochs=3, batch_size=4, hold_out=0.2, precision="fp32", patience=1
)


def mixed(own: int = 16, extra: int = 12, teaches: str = "margin") -> Battles:
    """Battles of the data, followed by others that teach one head."""
    first, second = arena_of_words(own), arena_of_words(extra, seed=9)
    parts = [
        replace(part, is_extra=np.full(len(part), i == 1), teaches=object_array([what] * len(part)))
        for i, (part, what) in enumerate(((first, "both"), (second, teaches)))
    ]
    ids = [object_array([f"{name}{i}" for i in range(len(part))]) for name, part in zip("ae", parts, strict=True)]
    return concatenate([replace(part, id=names) for part, names in zip(parts, ids, strict=True)])


def tokens(battles: Battles) -> list[np.ndarray]:
    """Return a few numbers per battle that depend on its texts."""
    return [
        np.array([len(a[0]) % 12, len(b[0]) % 12, len(p[0]) % 12], dtype=np.int32)
        for a, b, p in zip(battles.response_a, battles.response_b, battles.prompt, strict=True)
    ]


def train(module: Bag, folder: Path | None, recipe: Recipe = RECIPE, battles: Battles | None = None):
    return fine_tune_battles(
        module, mixed() if battles is None else battles, tokens, collate, recipe, folder, seed=3
    )


def same(left: Bag, right: Bag) -> bool:
    return all(torch.equal(*pair) for pair in zip(left.parameters(), right.parameters(), strict=True))


def test_the_extra_battles_come_first_and_alone(monkeypatch: pytest.MonkeyPatch):
    calls = []

    def spied(module, rows, validation, collate, recipe, folder, seed=0, report=None) -> TrainingHistory:
        calls.append((rows, validation, recipe.epochs, folder))
        return TrainingHistory()

    monkeypatch.setattr(fine_tuning, "fine_tune", spied)
    read = lambda part: part.id.tolist()  # noqa: E731
    fine_tune_battles(Bag(), mixed(), read, collate, RECIPE, Path("folder"))
    (extra, none, first, one), (own, validation, second, other) = calls
    assert {name[0] for name in extra.tokens} == {"e"}
    assert {name[0] for name in (*own.tokens, *validation.tokens)} == {"a"}
    assert sorted((*own.tokens, *validation.tokens)) == sorted(f"a{i}" for i in range(16))
    assert (none, first, second) == (None, 3, 2)
    assert extra.heads.tolist() == [[1.0, 0.0]] * len(extra.tokens)
    assert own.heads is None
    assert one.is_relative_to(other)
    assert one != other


def test_it_equals_two_trainings_one_after_the_other(tmp_path: Path):
    module, battles = Bag(0.5), mixed()
    train(module, tmp_path / "one", replace(RECIPE, hold_out=0.0))
    expected = Bag(0.5)
    for extra, epochs in ((True, 3), (False, 2)):
        part = battles.take(battles.is_extra == extra)
        heads = np.array([[1.0, 0.0]] * len(part)) if extra else None
        rows = Rows(tokens(part), make_targets(part), heads)
        fine_tune(expected, rows, None, collate, replace(RECIPE, epochs=epochs), tmp_path / f"{extra}", 3)
    assert same(module, expected)


def test_without_extra_epochs_or_extra_battles_the_training_is_the_usual_one(tmp_path: Path):
    alone = mixed().take(slice(16))
    for battles, other in ((mixed(), 0), (alone, 3)):
        usual, module = Bag(), Bag()
        train(usual, None, replace(RECIPE, extra_epochs=0), battles)
        train(module, None, replace(RECIPE, extra_epochs=other), battles)
        assert same(usual, module)
    warm, mixed_in = Bag(), Bag()
    train(warm, None)
    train(mixed_in, None, replace(RECIPE, extra_epochs=0))
    assert not same(warm, mixed_in)


@pytest.mark.parametrize("batches", [1, 4, 9, 10, 13])
def test_a_training_that_is_killed_and_resumed_ends_like_one_that_was_not(tmp_path: Path, batches: int):
    """Three epochs of 3 batches on extra battles, then two of 4 on the others, without a hold-out."""
    recipe = replace(RECIPE, hold_out=0.0)
    whole = Mortal(3 * 3 + 2 * 4)
    train(whole, tmp_path / "whole", recipe)
    assert whole.left == 0
    with pytest.raises(Killed):
        train(Mortal(batches), tmp_path / "killed", recipe)
    torch.manual_seed(batches)
    done = 3 * (batches // 3) if batches < 9 else 9 + 4 * ((batches - 9) // 4)
    resumed = Mortal(17 - done)
    train(resumed, tmp_path / "killed", recipe)
    assert resumed.left == 0
    assert same(resumed, whole)
