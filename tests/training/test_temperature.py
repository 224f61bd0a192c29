"""The epoch may be chosen by the loss after the best temperature, which predictions then use."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss as sklearn_log_loss

from pairrank.data.folds import hold_out
from pairrank.data.probabilities import softmax
from pairrank.evaluation.history import history_rows
from pairrank.models.base import Model, build, parameters_of
from pairrank.models.saving import load_model, save_model
from pairrank.training.fine_tuning import Rows, fine_tune
from pairrank.training.recipe import Recipe
from pairrank.training.temperature import FLATTEST, SHARPEST, fit_temperature, temperature_in
from tests.support.architectures import WINDOW
from tests.support.battles import arena_of_words
from tests.support.fine_tuning import FAST, Bag, collate, some_rows

RECIPE = Recipe(
    learning_rate=0.05, epochs=5, batch_size=4, hold_out=0.0, precision="fp32", choose_by="calibrated loss"
)


def drawn(temperature: float, n: int = 3_000) -> tuple[np.ndarray, np.ndarray]:
    """Return logits, and winners that are drawn from their softmax at a temperature."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(n, 3)) * 2
    proba = softmax(logits / temperature)
    return logits, (rng.random((n, 1)) > proba.cumsum(axis=1)).sum(axis=1)


def loss_at(logits: np.ndarray, winner: np.ndarray, temperature: float) -> float:
    return sklearn_log_loss(winner, softmax(logits / temperature), labels=[0, 1, 2])


# --- The temperature


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.5])
def test_the_temperature_of_the_winners_is_found(temperature: float):
    logits, winner = drawn(temperature)
    found = fit_temperature(logits, winner)
    assert found == pytest.approx(temperature, rel=0.06)
    grid = [loss_at(logits, winner, each) for each in np.geomspace(SHARPEST, FLATTEST, 41)]
    assert loss_at(logits, winner, found) <= min(grid) + 1e-12


@pytest.mark.parametrize(("temperature", "bound"), [(0.1, SHARPEST), (9.0, FLATTEST)])
def test_the_temperature_is_bounded(temperature: float, bound: float):
    assert fit_temperature(*drawn(temperature)) == bound


def test_the_temperature_is_that_of_the_kept_epoch():
    losses, temperatures = [1.1, 1.0, 1.0, 1.2], [0.9, 1.1, 1.3, 1.5]
    log = [{"loss": 3.0}] + [
        {"eval_calibrated_log_loss": loss, "eval_temperature": t}
        for loss, t in zip(losses, temperatures, strict=True)
    ]
    assert temperature_in(log, keep_best=True) == 1.1
    assert temperature_in(log, keep_best=False) == 1.5
    assert temperature_in([{"eval_log_loss": 1.0}], keep_best=True) == 1.0


# --- The choice


def train(folder: Path, recipe: Recipe, validation: Rows, report=None):
    module = Bag()
    return module, fine_tune(module, some_rows(16), validation, collate, recipe, folder / "checkpoints", 0, report)


def outputs(module: torch.nn.Module, rows: Rows) -> np.ndarray:
    with torch.no_grad():
        return module.eval()(**collate(rows.tokens)).double().numpy()


def noisy(n: int) -> Rows:
    """Held-out rows of which a third have another outcome, so that a confident model is overconfident."""
    rows = some_rows(n, seed=1)
    rows.targets[::3] = rows.targets[::3][:, [1, 2, 0]]
    return rows


def test_the_epoch_with_the_best_calibrated_loss_is_kept_with_its_temperature(tmp_path: Path):
    validation, reported = noisy(60), []
    winner = validation.targets.argmax(axis=1)
    recipe = replace(RECIPE, epochs=12)
    module, history = train(tmp_path / "calibrated", recipe, validation, lambda *step: reported.append(step))
    plain, plain_history = train(tmp_path / "plain", replace(recipe, choose_by="loss"), validation)
    logits = outputs(module, validation)
    assert history.temperature == pytest.approx(fit_temperature(logits, winner), rel=1e-4)
    best = min(loss for _, loss in reported)
    assert loss_at(logits, winner, history.temperature) == pytest.approx(best, abs=1e-6)
    # Both see the same epochs, and choose different ones.
    assert [row["Log Loss"] for row in history.rows] == [row["Log Loss"] for row in plain_history.rows]
    other = outputs(plain, validation)
    assert loss_at(other, winner, 1) < loss_at(logits, winner, 1)
    assert best < loss_at(other, winner, fit_temperature(other, winner)) - 1e-4
    assert (plain_history.temperature, len(reported)) == (1.0, 12)


def test_patience_counts_from_the_best_calibrated_loss(tmp_path: Path):
    validation, losses = noisy(60), []
    train(tmp_path / "all", replace(RECIPE, epochs=12), validation, lambda _, loss: losses.append(loss))
    epochs = next(i + 1 for i in range(12) if i - int(np.argmin(losses[: i + 1])) >= 2)
    _, history = train(tmp_path / "few", replace(RECIPE, epochs=12, patience=2), validation)
    assert len(history.rows) == epochs < 12


def test_the_temperature_survives_an_interruption(tmp_path: Path):
    validation = noisy(60)
    module, history = train(tmp_path / "whole", RECIPE, validation)

    def die(epoch: int, loss: float) -> None:
        if epoch == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", RECIPE, validation, die)
    resumed, again = train(tmp_path / "killed", RECIPE, validation)
    assert again.temperature == history.temperature != 1
    assert all(torch.equal(*pair) for pair in zip(module.parameters(), resumed.parameters(), strict=True))


def test_the_log_of_a_choice_by_the_loss_is_as_before(tmp_path: Path):
    module = Bag()
    fine_tune(module, some_rows(16), noisy(9), collate, replace(RECIPE, choose_by="loss"), tmp_path)
    state = (tmp_path / "checkpoint-20" / "trainer_state.json").read_text()
    assert "eval_log_loss" in state
    assert "temperature" not in state
    assert "calibrated" not in state
    assert history_rows([]) == []


# --- Models


def fitted(kind: str, encoder: Path, **options) -> tuple[Model, np.ndarray]:
    """Return a model that chooses by the calibrated loss, and its predictions without the temperature."""
    recipe = replace(FAST, hold_out=0.3, choose_by="calibrated loss")
    model = build(kind, encoder=[str(encoder)], max_tokens=WINDOW, **options)
    model.training = recipe
    model.fit(arena_of_words(40))
    temperature, model.temperature_ = model.temperature_, 1.0
    plain = model.predict_proba(arena_of_words(9, seed=2))
    model.temperature_ = temperature
    return model, plain


@pytest.mark.parametrize("kind", ["siamese", "baseline"])
def test_predictions_use_the_temperature_which_is_saved(kind: str, tiny_bert: Path, tmp_path: Path):
    model, plain = fitted(kind, tiny_bert)
    unseen = arena_of_words(9, seed=2)
    proba = model.predict_proba(unseen)
    assert model.report()["temperature"] == model.temperature_ != 1
    assert proba == pytest.approx(softmax(np.log(plain) / model.temperature_), abs=1e-6)
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert parameters_of(loaded) == parameters_of(model)
    assert np.array_equal(loaded.predict_proba(unseen), proba)


def test_the_temperature_is_fitted_on_held_out_training_prompts(tiny_bert: Path):
    model, _ = fitted("siamese", tiny_bert)
    battles = arena_of_words(40)
    held = battles.take(hold_out(battles, 0.3, salt="watch"))
    temperature, model.temperature_ = model.temperature_, 1.0
    logits = np.log(model.predict_proba(held))
    assert temperature == pytest.approx(fit_temperature(logits, held.labels), rel=1e-3)


def test_folds_that_share_an_encoder_exchange_their_temperatures(tiny_bert: Path, tmp_path: Path):
    models = []
    for fold, seed in enumerate((0, 1)):
        model, _ = fitted("siamese", tiny_bert, adapter={"rank": 2}, seed=seed)
        save_model(model, tmp_path / f"fold{fold}")
        models.append(model)
    loaded, unseen = load_model(tmp_path / "fold0"), arena_of_words(9, seed=2)
    assert models[0].temperature_ != models[1].temperature_
    for fold in (1, 0):
        loaded.set_trained_weights(loaded.read_trained_weights(tmp_path / f"fold{fold}"))
        assert loaded.temperature_ == models[fold].temperature_
        assert loaded.predict_proba(unseen) == pytest.approx(models[fold].predict_proba(unseen), abs=1e-6)
    merged = load_model(tmp_path / "fold0").load_merged(tmp_path / "fold0")
    assert merged.temperature_ == models[0].temperature_


def test_a_second_training_forgets_the_temperature_of_the_first(tiny_bert: Path):
    model, _ = fitted("siamese", tiny_bert)
    model.training = replace(FAST, epochs=1)
    assert model.fit(arena_of_words(16)).temperature_ == 1.0
