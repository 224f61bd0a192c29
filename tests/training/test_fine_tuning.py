import csv
import json
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from sklearn.metrics import log_loss as sklearn_log_loss
from torch import nn
from torch.utils.data import BatchSampler

from pairrank import progress
from pairrank.data.battles import Battles
from pairrank.errors import UserError
from pairrank.evaluation.history import HISTORY, history_rows, read_history, write_history
from pairrank.nested import from_mapping
from pairrank.training import fine_tuning
from pairrank.training.fine_tuning import Rows, TrainingHistory, fine_tune
from pairrank.training.recipe import Recipe, make_targets
from pairrank.training.trainer import MARK, EpochSampler, MarkComplete, latest_checkpoint
from tests.support.fine_tuning import FAST, Bag, Killed, Mortal, collate, some_rows

RECIPE = Recipe(learning_rate=0.01, epochs=3, batch_size=4, hold_out=0.0, precision="fp32")
MEASURED = ("Step", "Training Loss", "Validation Loss", "Accuracy", "Log Loss")
"""The columns of a history that do not depend on the clock."""


def train(folder: Path, recipe: Recipe = RECIPE, validation: Rows | None = None, dropout: float = 0.0, n: int = 16):
    module = Bag(dropout)
    return module, fine_tune(module, some_rows(n), validation, collate, recipe, folder / "checkpoints")


def same_weights(left: nn.Module, right: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left.parameters(), right.parameters(), strict=True))


def measured(history: TrainingHistory) -> list[tuple]:
    return [tuple(row[name] for name in MEASURED) for row in history.rows]


# --- Targets


def test_make_targets_is_one_hot_and_label_smoothing_spreads_over_all_three(battles: Battles):
    battles = battles.take(np.array([0, 2, 3]))  # A, B, tie
    assert make_targets(battles).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    # 0.3 of each target is spread: 0.7 + 0.1 and 0.1.
    assert make_targets(battles, label_smoothing=0.3) == pytest.approx(np.eye(3) * 0.7 + 0.1)


def test_soft_targets_are_used_only_if_requested_and_present(battles: Battles):
    assert make_targets(battles)[0].tolist() == [1, 0, 0]
    assert make_targets(battles, soft=True)[0].tolist() == [0.7, 0.1, 0.2]
    assert make_targets(battles, soft=True, label_smoothing=0.3)[0] == pytest.approx([0.59, 0.17, 0.24])
    assert make_targets(replace(battles, soft=None), soft=True)[0].tolist() == [1, 0, 0]
    assert make_targets(replace(battles, winner=None), soft=True)[0].tolist() == [0.7, 0.1, 0.2]
    with pytest.raises(UserError, match="have no winners"):
        make_targets(replace(battles, winner=None))


# --- Recipe


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", -1e-5),
        ("epochs", 0),
        ("batch_size", 0),
        ("accumulation", 0),
        ("tokens_at_once", -1),
        ("weight_decay", -0.1),
        ("head_rate", 0.0),
        ("layer_decay", 1.1),
        ("layer_decay", 0.0),
        ("frozen_layers", -1),
        ("warmup", 1.0),
        ("label_smoothing", 1.1),
        ("hold_out", 1.0),
        ("patience", -1),
    ],
)
def test_a_recipe_value_out_of_bounds_is_refused_by_name(name, value):
    with pytest.raises(UserError, match=rf"training: {name} = {value}: expected"):
        from_mapping(Recipe, {name: value}, "training")


# --- Precision


def test_fp16_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="needs a GPU"):
        train(tmp_path, replace(RECIPE, precision="fp16"))


# --- Steps


@pytest.mark.parametrize("weights", [False, True])
def test_a_batch_in_parts_gives_the_step_of_the_whole_batch(tmp_path: Path, weights: bool):
    """Battles count alike in it, however unequal the parts that their lengths make."""
    rows = some_rows(12)
    if weights:
        rows = Rows(rows.tokens, rows.targets * np.linspace(0.2, 1, 12)[:, None])
    stepped, seen = {}, {}
    for most in (1, 25, 10_000):
        module = Bag()
        sizes = seen[most] = []
        module.register_forward_hook(lambda module, given, made, sizes=sizes: sizes.append(len(made)))
        recipe = replace(RECIPE, epochs=6, batch_size=12, tokens_at_once=most)
        fine_tune(module, rows, None, collate, recipe, tmp_path / str(most))
        stepped[most] = module
    assert seen[10_000] == [12] * 6
    assert seen[1] == [1] * 72
    assert len(set(seen[25])) > 1
    for most in (1, 25):
        for one, whole in zip(stepped[most].parameters(), stepped[10_000].parameters(), strict=True):
            assert one.detach().numpy() == pytest.approx(whole.detach().numpy(), abs=2e-5)


@pytest.mark.parametrize("grouped", [0, 8])
def test_the_order_of_rows_depends_on_seed_and_epoch_only(grouped: int):
    lengths = np.random.default_rng(0).integers(1, 50, 64).tolist()
    ours, theirs, other = (EpochSampler(lengths, grouped, seed) for seed in (3, 3, 4))
    for epoch in range(3):
        for order in (ours, theirs, other):
            order.set_epoch(epoch)
        first = list(ours)
        torch.rand(17)  # one process draws more dropout than the other
        assert list(theirs) == first
        assert sorted(first) == list(range(64))
        assert list(other) != first
        ours.set_epoch(epoch + 1)
        assert list(ours) != first
        # Two processes take every other batch of four: all rows between them, none twice.
        shards = [
            [row for batch in BatchSamplerShard(BatchSampler(theirs, 4, False), 2, rank) for row in batch]
            for rank in (0, 1)
        ]
        assert sorted(shards[0] + shards[1]) == list(range(64))
        if grouped:
            widths = [np.ptp([lengths[row] for row in first[start : start + 8]]) for start in range(0, 64, 8)]
            assert np.mean(widths) < 30  # 37 by chance


def test_every_epoch_has_another_order(tmp_path: Path):
    batches = []

    def remember(rows):
        batches.append([row.tobytes() for row in rows])
        return collate(rows)

    rows = some_rows(24)
    fine_tune(Bag(), rows, None, remember, replace(RECIPE, epochs=3), tmp_path)
    epochs = [list(chain(*batches[start : start + 6])) for start in (0, 6, 12)]
    assert len(batches) == 18
    assert all(sorted(epoch) == sorted(row.tobytes() for row in rows.tokens) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_a_fine_tuning_that_processes_cannot_share_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="Run it without torchrun"):
        train(tmp_path)
    monkeypatch.setattr("pairrank.distributed.in_collective", lambda: True)
    with pytest.raises(UserError, match=r"batch_size = 5.*2 processes.*training\.batch_size=6"):
        train(tmp_path, replace(RECIPE, batch_size=5))


def first_step(folder: Path, recipe: Recipe, rows: Rows) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The gradients a training of one step has at its end, and the weights after it."""
    module = Bag()
    seen: dict[str, torch.Tensor] = {}
    for name, parameter in module.named_parameters():
        parameter.register_post_accumulate_grad_hook(lambda p, name=name: seen.update({name: p.grad.clone()}))
    fine_tune(module, rows, None, collate, recipe, folder)
    return [seen[name] for name, _ in module.named_parameters()], list(module.parameters())


def test_two_accumulated_batches_of_four_give_the_step_of_one_batch_of_eight(tmp_path: Path):
    rows = some_rows(8)
    whole = first_step(tmp_path / "8", replace(RECIPE, epochs=1, batch_size=8), rows)
    halves = first_step(tmp_path / "4", replace(RECIPE, epochs=1, batch_size=4, accumulation=2), rows)
    # Adam's first step is nearly blind to the gradients' scale, so the gradients are compared as well.
    torch.testing.assert_close(halves[0], whole[0], atol=1e-7, rtol=1e-5)
    torch.testing.assert_close(halves[1], whole[1], atol=1e-5, rtol=1e-5)


def test_a_step_follows_the_mean_cross_entropy_of_soft_targets(tmp_path: Path):
    rows = some_rows(8)
    rows.targets[:] = 0.6 * rows.targets + 0.4 * np.array([0.5, 0.3, 0.2])
    module = Bag()
    log_proba = torch.log_softmax(module(**collate(rows.tokens)), dim=1)
    (-(torch.tensor(rows.targets).float() * log_proba).sum(1).mean()).backward()
    recipe = replace(RECIPE, epochs=1, batch_size=8, label_smoothing=0.9)  # applied by `make_targets`, not here
    seen, _ = first_step(tmp_path, recipe, rows)
    torch.testing.assert_close(seen, [p.grad for p in module.parameters()], atol=1e-7, rtol=1e-5)


def test_ties_that_train_the_margin_alone_change_no_weight(tmp_path: Path):
    ties = replace(some_rows(8), targets=np.eye(3)[[2] * 8])
    recipe = replace(FAST, epochs=3, weight_decay=0.0)
    moved = {}
    for part in ("both", "margin"):
        rows = replace(ties, heads=None if part == "both" else np.array([[1.0, 0.0]] * 8))
        module = Bag()
        before = [parameter.clone() for parameter in module.parameters()]
        fine_tune(module, rows, None, collate, recipe, tmp_path / part)
        pairs = zip(before, module.parameters(), strict=True)
        moved[part] = max(float((old - new).abs().max().detach()) for old, new in pairs)
    assert moved["both"] > 1e-4
    assert moved["margin"] == 0


def test_a_rate_of_zero_leaves_the_weights_and_only_checkpoints(tmp_path: Path):
    module, history = train(tmp_path, replace(RECIPE, learning_rate=0))
    assert same_weights(module, Bag())
    assert len(history.rows) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]


@pytest.mark.parametrize("grouped", [True, False])
def test_the_recipe_reaches_the_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grouped):
    seen = []

    class Stop(Exception):  # noqa: N818
        pass

    def keep(_, order, *, args, **__):
        seen.append((args, order))
        raise Stop

    monkeypatch.setattr(fine_tuning, "BattleTrainer", keep)
    recipe = replace(
        RECIPE, warmup=0.3, weight_decay=0.07, precision="bf16", accumulation=2, group_by_length=grouped, epochs=5
    )
    with pytest.raises(Stop):
        train(tmp_path, recipe)
    ((made, order),) = seen
    assert (made.warmup_steps, made.weight_decay, made.bf16, made.fp16) == (0.3, 0.07, True, False)
    assert (made.gradient_accumulation_steps, made.num_train_epochs, made.learning_rate) == (2, 5, 0.01)
    assert made.per_device_train_batch_size == RECIPE.batch_size
    assert order.grouped == (2 * RECIPE.batch_size if grouped else 0)


def test_a_training_without_battles_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="no battles to learn from"):
        train(tmp_path, n=0)


def test_a_training_that_diverges_raises_an_error(tmp_path: Path):
    with pytest.raises(UserError, match="training diverged"):
        train(tmp_path, replace(RECIPE, learning_rate=1e38), some_rows(4))


# --- History, best epoch, patience


def held_out_loss(module: nn.Module, rows: Rows) -> float:
    with torch.no_grad():
        proba = torch.softmax(module.eval()(**collate(rows.tokens)).double(), dim=1)
    return sklearn_log_loss(rows.targets.argmax(axis=1), proba.numpy(), labels=[0, 1, 2])


CONTRARY = replace(RECIPE, epochs=5, learning_rate=0.05)
"""Against held-out rows with other outcomes every epoch is worse than the one before."""


def test_the_history_has_the_notebooks_columns_and_correct_numbers(tmp_path: Path):
    validation = some_rows(6, seed=1)
    module, history = train(tmp_path, replace(RECIPE, keep_best=False), validation)
    columns = "Step|Training Loss|Validation Loss|Accuracy|Log Loss|Runtime|Samples Per Second|Steps Per Second"
    assert [list(row) for row in history.rows] == 3 * [columns.split("|")]
    assert [row["Step"] for row in history.rows] == [4, 8, 12]
    last = history.rows[-1]
    assert last["Log Loss"] == pytest.approx(held_out_loss(module, validation), abs=1e-6)
    assert last["Validation Loss"] == pytest.approx(last["Log Loss"], abs=1e-6)
    with torch.no_grad():
        hits = module(**collate(validation.tokens)).argmax(1).numpy() == validation.targets.argmax(axis=1)
    assert last["Accuracy"] == pytest.approx(hits.mean())
    assert history.rows[0]["Training Loss"] > history.rows[-1]["Training Loss"]


def test_fine_tune_reports_the_log_loss_of_every_epoch_and_learns_the_same(tmp_path: Path):
    validation, reported = some_rows(6, seed=1), []
    alone, history = train(tmp_path / "alone", RECIPE, validation)
    module = Bag(0.0)
    fine_tune(
        module,
        some_rows(16),
        validation,
        collate,
        RECIPE,
        tmp_path / "w",
        report=lambda *step: reported.append(step),
    )
    assert reported == [(epoch, row["Log Loss"]) for epoch, row in enumerate(history.rows, start=1)]
    assert same_weights(alone, module)


def test_an_exception_in_the_report_ends_the_training(tmp_path: Path):
    def enough(epoch, loss):
        if epoch == 2:
            raise StopIteration

    with pytest.raises(StopIteration):
        fine_tune(Bag(0.0), some_rows(16), some_rows(6, seed=1), collate, RECIPE, tmp_path, report=enough)
    # What it has is kept: the same training, unwatched, ends as one that was never ended.
    module = Bag(0.0)
    fine_tune(module, some_rows(16), some_rows(6, seed=1), collate, RECIPE, tmp_path)
    whole, _ = train(tmp_path / "whole", RECIPE, some_rows(6, seed=1))
    assert same_weights(whole, module)


def test_without_held_out_rows_the_history_has_only_the_training_loss(tmp_path: Path):
    _, history = train(tmp_path)
    assert {name for row in history.rows for name, value in row.items() if value is not None} == {
        "Step",
        "Training Loss",
    }
    assert history.warnings == []


def test_keep_best_decides_between_the_best_and_the_last_epoch(tmp_path: Path):
    validation = some_rows(9, seed=1, shift=1)
    best, history = train(tmp_path, CONTRARY, validation)
    losses = [row["Log Loss"] for row in history.rows]
    assert losses == sorted(losses)
    assert losses[0] < losses[-1] - 0.1
    assert held_out_loss(best, validation) == pytest.approx(losses[0], abs=1e-6)
    last, _ = train(tmp_path, replace(CONTRARY, keep_best=False), validation)
    assert held_out_loss(last, validation) == pytest.approx(losses[-1], abs=1e-6)


@pytest.mark.parametrize("keep_best", [True, False])
@pytest.mark.parametrize(("patience", "epochs"), [(0, 5), (1, 2), (3, 4), (9, 5)])
def test_patience_counts_the_epochs_after_the_best(tmp_path: Path, patience, epochs, keep_best):
    recipe = replace(CONTRARY, patience=patience, keep_best=keep_best)
    _, history = train(tmp_path, recipe, some_rows(9, seed=1, shift=1))
    assert len(history.rows) == epochs


def test_a_training_that_never_beats_the_prior_is_warned_of(tmp_path: Path):
    validation = some_rows(30, seed=1)
    _, history = train(tmp_path, replace(RECIPE, learning_rate=0), validation, n=30)
    [warning] = history.warnings
    frequencies = np.tile(some_rows(30).targets.mean(axis=0), (30, 1))
    prior = sklearn_log_loss(validation.targets.argmax(axis=1), frequencies, labels=[0, 1, 2])
    assert warning.startswith("stuck at the prior")
    assert f"outcome frequencies alone give {prior:.4f}" in warning


def test_shuffled_labels_are_warned_of_and_a_successful_training_is_not(tmp_path: Path):
    shuffled, recipe = some_rows(32), replace(RECIPE, learning_rate=0.1, epochs=3)
    validation = some_rows(100, seed=1)
    shuffled.targets[:] = shuffled.targets[np.random.default_rng(0).permutation(32)]
    history = fine_tune(Bag(), shuffled, validation, collate, recipe, tmp_path / "shuffled")
    assert len(history.warnings) == 1
    assert fine_tune(Bag(), some_rows(32), validation, collate, recipe, tmp_path / "sound").warnings == []


def test_a_log_becomes_rows_by_step():
    log = [
        {"step": 4, "epoch": 1.0, "loss": 1.1, "grad_norm": 3.0, "learning_rate": 0.1},
        {
            "step": 4,
            "epoch": 1.0,
            "eval_loss": 1.05,
            "eval_accuracy": 0.5,
            "eval_log_loss": 1.04,
            "eval_runtime": 2.0,
        },
        {"step": 8, "epoch": 2.0, "loss": 0.9},
        {"step": 8, "epoch": 2.0, "train_runtime": 7.0, "train_loss": 1.0},
    ]
    rows = history_rows(log)
    assert [tuple(row) for row in rows] == [HISTORY, HISTORY]
    assert [tuple(row.values()) for row in rows] == [
        (4, 1.1, 1.05, 0.5, 1.04, 2.0, None, None),
        (8, 0.9, None, None, None, None, None, None),
    ]


def test_a_history_is_written_with_its_folds(tmp_path: Path):
    _, history = train(tmp_path, validation=some_rows(4))
    unwatched = [dict.fromkeys(HISTORY) | {"Step": 5, "Training Loss": 1.0}]
    rows = [{"Fold": 0, **row} for row in history.rows] + [{"Fold": 3, **row} for row in unwatched]
    write_history(rows, tmp_path / "history.csv")
    with (tmp_path / "history.csv").open(newline="", encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert [row["Fold"] for row in written] == ["0", "0", "0", "3"]
    assert float(written[1]["Log Loss"]) == history.rows[1]["Log Loss"]
    assert written[3]["Log Loss"] == ""
    assert read_history(tmp_path / "history.csv") == [pytest.approx(row) for row in rows]
    assert read_history(tmp_path / "none.csv") == []
    (tmp_path / "history.csv").write_text("Fold,Step\n1,2\n")
    assert read_history(tmp_path / "history.csv") == []


# --- Interruption


LONG = replace(RECIPE, epochs=4, learning_rate=0.05, group_by_length=True)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, TrainingHistory]:
    return train(tmp_path_factory.mktemp("whole"), LONG, some_rows(9, seed=1), dropout=0.5)


@pytest.mark.parametrize("batches", [2, 4, 6, 15])
def test_a_resumed_training_ends_like_an_uninterrupted_one(tmp_path: Path, uninterrupted, batches):
    module, history = uninterrupted
    validation, folder = some_rows(9, seed=1), tmp_path / "checkpoints"
    with pytest.raises(Killed):
        fine_tune(Mortal(batches), some_rows(16), validation, collate, LONG, folder)
    # The number of batches per epoch is 4: whole epochs before the death are not done again.
    assert len(list(folder.glob(f"checkpoint-*/{MARK}"))) == min(2, batches // 4)
    counted = Mortal(16 - 4 * (batches // 4))
    torch.manual_seed(batches)  # a new process has another state of chance
    resumed = fine_tune(counted, some_rows(16), validation, collate, LONG, folder)
    assert counted.left == 0
    assert same_weights(counted, module)
    assert measured(resumed) == measured(history)
    # What the caller has not removed yet ends the same training at once: no batch is learned again.
    finished = Mortal(0)
    assert measured(fine_tune(finished, some_rows(16), validation, collate, LONG, folder)) == measured(history)
    assert same_weights(finished, module)


def test_without_a_terminal_the_steps_of_a_resumed_training_are_logged(tmp_path: Path, monkeypatch, caplog):
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    with pytest.raises(Killed):
        train_with(Mortal(6), tmp_path)
    caplog.clear()
    caplog.set_level("INFO", logger="pairrank.progress")
    train_with(Bag(0.0), tmp_path)
    steps = [message.partition(",")[2] for message in caplog.messages if message.startswith("training, steps")]
    # Four batches per epoch and four epochs: the first epoch was saved, and nothing remains after the last step.
    assert [step.split(" done")[0] for step in steps] == [f" steps: {done} of 16" for done in range(5, 16)]


def train_with(module: nn.Module, folder: Path) -> None:
    fine_tune(module, some_rows(16), None, collate, LONG, folder / "checkpoints")


def test_dropout_was_on_so_that_the_test_above_is_not_vacuous(tmp_path: Path, uninterrupted):
    other, _ = train(tmp_path / "other", LONG, some_rows(9, seed=1), dropout=0.0)
    assert not same_weights(other, uninterrupted[0])


def test_an_incomplete_checkpoint_is_ignored(tmp_path: Path, uninterrupted, monkeypatch: pytest.MonkeyPatch):
    validation, folder = some_rows(9, seed=1), tmp_path / "checkpoints"
    mark = MarkComplete.on_save

    def die_while_writing(self, args, state, control, **rest) -> None:
        if state.global_step == 8:
            (folder / "checkpoint-8" / "model.safetensors").write_bytes(b"half")
            raise Killed
        mark(self, args, state, control, **rest)

    with monkeypatch.context() as patch:
        patch.setattr(MarkComplete, "on_save", die_while_writing)
        with pytest.raises(Killed):
            fine_tune(Bag(0.5), some_rows(16), validation, collate, LONG, folder)
    assert {path.name for path in folder.glob("checkpoint-*")} == {"checkpoint-4", "checkpoint-8"}
    counted = Mortal(12)
    history = fine_tune(counted, some_rows(16), validation, collate, LONG, folder)
    assert counted.left == 0
    assert same_weights(counted, uninterrupted[0])
    assert measured(history) == measured(uninterrupted[1])


@pytest.mark.parametrize(("keep_best", "batches"), [(True, 6), (True, 8), (False, 9)])
def test_patience_survives_an_interruption(tmp_path: Path, keep_best, batches, monkeypatch: pytest.MonkeyPatch):
    """Patience 2 and a best first epoch stop it after 3 epochs of 4 batches, wherever it died before."""
    recipe, validation = replace(CONTRARY, patience=2, keep_best=keep_best), some_rows(9, seed=1, shift=1)
    module, history = train(tmp_path / "whole", recipe, validation)
    assert len(history.rows) == 3
    folder = tmp_path / "checkpoints"

    def die(*_: object, **__: object) -> None:
        raise Killed

    first = Bag()
    counter = iter(range(100))
    first.register_forward_pre_hook(lambda m, _: die() if m.training and next(counter) == batches else None)
    with pytest.raises(Killed):
        fine_tune(first, some_rows(16), validation, collate, recipe, folder)
    # And once more, when the decision to stop is written down and the checkpoints are about to go.
    with monkeypatch.context() as patch:
        patch.setattr(fine_tuning, "warn_if_stuck", die)
        with pytest.raises(Killed):
            fine_tune(Bag(), some_rows(16), validation, collate, recipe, folder)
    assert (folder / "checkpoint-12" / MARK).is_file()
    resumed = Bag()
    again = fine_tune(resumed, some_rows(16), validation, collate, recipe, folder)
    assert measured(again) == measured(history)
    assert same_weights(resumed, module)


DAMAGE = {"emptied": lambda content: b"", "altered": lambda content: content[:-1] + bytes([content[-1] ^ 1])}


@pytest.mark.parametrize(
    ("which", "name", "damage"),
    [
        ("newest", "model.safetensors", "emptied"),
        ("newest", "optimizer.pt", "altered"),
        ("newest", "rng_state.pth", "emptied"),
        ("newest", "trainer_state.json", "altered"),
        ("newest", MARK, "emptied"),
        ("best", "model.safetensors", "altered"),
        ("all", "optimizer.pt", "emptied"),
    ],
)
def test_a_damaged_checkpoint_is_not_resumed_from(tmp_path: Path, which: str, name: str, damage: str):
    recipe, validation = replace(CONTRARY, epochs=4, patience=0), some_rows(9, seed=1, shift=1)
    module, history = train(tmp_path / "whole", recipe, validation, dropout=0.5)
    folder = tmp_path / "checkpoints"
    with pytest.raises(Killed):
        fine_tune(Mortal(14), some_rows(16), validation, collate, recipe, folder)
    checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda each: int(each.name.split("-")[1]))
    assert [each.name for each in checkpoints] == ["checkpoint-4", "checkpoint-12"]  # the best and the newest
    chosen = {"newest": checkpoints[1:], "best": checkpoints[:1], "all": checkpoints}[which]
    for file in [each / name for each in chosen]:
        file.write_bytes(DAMAGE[damage](file.read_bytes()))
    resumed = Mortal(99)
    again = fine_tune(resumed, some_rows(16), validation, collate, recipe, folder)
    assert measured(again) == measured(history)
    assert same_weights(resumed, module)


def test_a_checkpoint_with_a_file_that_was_not_saved_is_not_resumed_from(tmp_path: Path):
    """The Trainer would load it."""
    with pytest.raises(Killed):
        fine_tune(Mortal(6), some_rows(16), None, collate, LONG, tmp_path)
    assert latest_checkpoint(tmp_path) == tmp_path / "checkpoint-4"
    (tmp_path / "checkpoint-4" / "scaler.pt").write_bytes(b"planted")
    assert latest_checkpoint(tmp_path) is None


def test_the_best_checkpoint_is_found_after_the_folder_was_moved(tmp_path: Path):
    recipe, validation = replace(CONTRARY, epochs=4, patience=0), some_rows(9, seed=1, shift=1)
    module, _ = train(tmp_path / "whole", recipe, validation, dropout=0.5)
    with pytest.raises(Killed):
        fine_tune(Mortal(14), some_rows(16), validation, collate, recipe, tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    resumed = Mortal(99)
    fine_tune(resumed, some_rows(16), validation, collate, recipe, tmp_path / "there")
    assert same_weights(resumed, module)


def test_nothing_is_unpickled_on_resuming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "checkpoints"
    with pytest.raises(Killed):
        fine_tune(Mortal(6), some_rows(16), None, collate, LONG, folder)
    load, flags = torch.load, []
    monkeypatch.setattr(torch, "load", lambda *a, **o: (flags.append(o.get("weights_only")), load(*a, **o))[1])
    fine_tune(Mortal(99), some_rows(16), None, collate, LONG, folder)
    assert flags
    assert set(flags) == {True}


def test_the_checkpoint_log_contains_only_the_epochs_done_so_far(tmp_path: Path):
    """The state a resume starts from is readable JSON with the epochs done so far."""
    with pytest.raises(Killed):
        fine_tune(Mortal(6), some_rows(16), some_rows(4), collate, LONG, tmp_path / "checkpoints")
    state = json.loads((tmp_path / "checkpoints" / "checkpoint-4" / "trainer_state.json").read_text())
    assert state["epoch"] == 1.0
    assert len(history_rows(state["log_history"])) == 1
