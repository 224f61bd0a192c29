"""Winners that nothing explains teach nobody anything: whoever beats the prior on them has seen them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pairrank.data.folder import DataFolder
from pairrank.data.folds import prompt_keys
from pairrank.data.predictions import read_predictions
from pairrank.data.reading import read_battles
from pairrank.data.simulation import write_arena
from pairrank.data.writing import write_battles
from pairrank.evaluation.intervals import Difference, paired_difference
from pairrank.evaluation.scoring import battle_losses
from pairrank.features import model_strengths
from pairrank.runs import cross_validation
from pairrank.runs.cross_validation import cross_validate
from pairrank.runs.experiment_files import load_experiment
from pairrank.runs.resolution import resolve_run

CHEAP = [
    "lengths",
    "structure",
    "kernel",
    "sparse",
    "identity",
    "stack",
    "stack-lightgbm",
    "stack-identity",
    "ensemble-fast",
]
"""Every shipped experiment that trains in seconds."""


@pytest.fixture(scope="module")
def shuffled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulated battles whose winners were dealt out anew."""
    folder = tmp_path_factory.mktemp("shuffled")
    write_arena(folder, 300, 10, seed=3)
    battles = read_battles(folder / "train.csv")
    rng = np.random.default_rng(1)
    write_battles(replace(battles, winner=rng.permutation(battles.labels)), folder / "train.csv")
    return folder


def against_the_prior(name: str, folder: Path, home: Path) -> Difference:
    data = DataFolder(folder)
    losses = []
    for each in (name, "prior"):
        run = resolve_run(load_experiment(each), data, home)
        cross_validate(run)
        losses.append(battle_losses(read_predictions(run.folder / "oof.csv").proba, data.train.labels))
    return paired_difference(*losses, prompt_keys(data.train))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs of all experiments are kept, so that inputs are made once."""
    return tmp_path_factory.mktemp("runs")


@pytest.mark.slow
@pytest.mark.parametrize("name", CHEAP)
def test_no_experiment_beats_the_prior_where_winners_are_shuffled(name: str, shuffled: Path, home: Path):
    assert against_the_prior(name, shuffled, home).high > 0


@pytest.mark.slow
def test_strengths_from_all_rows_would_be_found_out(
    shuffled: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Planted: the strengths of every fold are fitted on all battles, those that are scored included."""
    honest = against_the_prior("stack-identity", shuffled, home)
    everything = DataFolder(shuffled).train
    fit = model_strengths.fit_ratings
    monkeypatch.setattr(model_strengths, "fit_ratings", lambda train, penalty: fit(everything, penalty))
    planted = against_the_prior("stack-identity", shuffled, tmp_path)
    assert planted.mean < honest.mean - 0.02


@pytest.mark.slow
def test_a_training_set_that_holds_the_scored_fold_would_be_found_out(
    shuffled: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Planted: every fold's model learns from all battles. Whatever can learn at all shows it."""
    names = ("structure", "kernel", "sparse")
    honest = {name: against_the_prior(name, shuffled, home) for name in names}
    monkeypatch.setattr(cross_validation, "training_battles", lambda run, fold: (run.train, []))
    for name in names:
        planted = against_the_prior(name, shuffled, tmp_path)
        assert planted.high < 0
        assert planted.mean < honest[name].mean - 0.02
