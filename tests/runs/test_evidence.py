"""The evidence that corrects a prediction comes from the other folds, and a run says whether it was used."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pairrank.data.battles import Battles, object_array
from pairrank.data.folder import DataFolder
from pairrank.data.folds import assign_folds
from pairrank.data.predictions import read_predictions
from pairrank.data.reading import read_battles
from pairrank.data.writing import write_battles
from pairrank.features.evidence import PSEUDO_BATTLES, count_evidence
from pairrank.models import corrected
from pairrank.runs.cross_validation import cross_validate
from pairrank.runs.experiment_files import load_experiment
from pairrank.runs.fold_models import load_fold_models
from pairrank.runs.resolution import resolve_run
from pairrank.runs.run import Run, is_reusable
from tests.support.battles import tiny_battles

IDENTICAL = 10


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    """Battles of which some have identical answers and any winner."""
    folder = tmp_path_factory.mktemp("identical")
    write_battles(with_identical(tiny_battles(60)), folder / "train.csv")
    write_battles(with_identical(tiny_battles(12, first=900, word="new", labelled=False)), folder / "test.csv")
    return DataFolder(folder)


def with_identical(battles: Battles) -> Battles:
    rows = np.arange(len(battles)) < IDENTICAL
    pairs = zip(battles.response_a, battles.response_b, rows, strict=True)
    return replace(battles, response_b=object_array([a if same else b for a, b, same in pairs]))


@pytest.fixture(scope="module")
def runs(data: DataFolder, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Run]:
    """The same experiment with and without evidence, in one folder."""
    home = tmp_path_factory.mktemp("runs")
    found = {used: resolve_run(load_experiment("lengths", evidence=used), data, home) for used in (True, False)}
    for run in found.values():
        cross_validate(run)
    return found


def test_a_battle_is_corrected_by_the_votes_of_the_other_folds(data: DataFolder, runs: dict[bool, Run]) -> None:
    train, fold = data.train, assign_folds(data.train, 5)
    corrected, plain = (
        read_predictions(runs[used].folder / "oof.csv").align(train.id, "").proba for used in (True, False)
    )
    assert corrected[IDENTICAL:].tobytes() == plain[IDENTICAL:].tobytes()
    for row in range(IDENTICAL):
        others = train.labels[:IDENTICAL][fold[:IDENTICAL] != fold[row]]
        ties = (others == 2).sum()
        expected = (ties + PSEUDO_BATTLES * plain[row, 2]) / (len(others) + PSEUDO_BATTLES)
        assert corrected[row, 2] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("is_leaky", [False, True])
def test_scored_winners_that_the_evidence_counts_would_be_found_out(
    data: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_leaky: bool
) -> None:
    """Planted: the evidence of a fold counts all battles, so that predictions depend on the scored winners."""
    found = []
    folds = assign_folds(data.train, 5)
    fold = int(folds[0])  # of the first battle with identical answers
    for winner in (0, 2):
        battles = replace(data.train, winner=np.where(folds == fold, winner, data.train.labels))
        write_battles(battles, tmp_path / str(winner) / "train.csv")
        source = DataFolder(tmp_path / str(winner))
        if is_leaky:
            monkeypatch.setattr(corrected, "count_evidence", lambda train, all_=battles: count_evidence(all_))
        run = resolve_run(load_experiment("lengths"), source, tmp_path / f"runs-{winner}")
        cross_validate(run, [fold])
        found.append(read_predictions(run.folder / "oof.csv").proba)
    assert (found[0].tobytes() == found[1].tobytes()) is not is_leaky


def test_new_battles_are_corrected_too(data: DataFolder, runs: dict[bool, Run]) -> None:
    test = read_battles(data.path / "test.csv")
    found = {used: load_fold_models(run.folder).predict(test).proba for used, run in runs.items()}
    assert np.abs(found[True][:IDENTICAL] - found[False][:IDENTICAL]).max() > 0.01
    assert found[True][IDENTICAL:] == pytest.approx(found[False][IDENTICAL:], abs=1e-12)


def test_a_run_without_evidence_has_a_name_and_is_not_taken_for_one_with_it(
    data: DataFolder, runs: dict[bool, Run], tmp_path: Path
) -> None:
    assert runs[False].folder.name == "lengths+evidence=false"
    assert all(map(is_reusable, runs.values()))
    # As if the two were in one folder.
    assert not is_reusable(replace(runs[True], folder=runs[False].folder))
    assert not is_reusable(replace(runs[False], folder=runs[True].folder))


def test_inputs_are_without_evidence_where_the_experiment_is(data: DataFolder, tmp_path: Path) -> None:
    run = resolve_run(load_experiment("ensemble-fast", evidence=False), data, tmp_path)
    assert {each.experiment.evidence for each in run.inputs} == {False}
    assert all(each.folder.name.endswith("evidence=false") for each in run.inputs)


@pytest.mark.parametrize("model", ['name = "pool"', 'name = "gbdt"\nlearner = "multinomial"\ngroups = ["length"]'])
def test_votes_on_identical_answers_count_once_in_an_experiment_with_inputs(
    data: DataFolder, runs: dict[bool, Run], tmp_path: Path, model: str
) -> None:
    """On identical answers the inputs are corrected already, and a model of inputs keeps what they say."""
    file = tmp_path / f"{'pooled' if 'pool' in model else 'stacked'}.toml"
    file.write_text(f'inputs = ["lengths"]\n[model]\n{model}\n')
    run = resolve_run(load_experiment(str(file)), data, runs[True].folder.parent)
    cross_validate(run)
    combined, single = (
        read_predictions(each.folder / "oof.csv").align(data.train.id, "").proba for each in (run, runs[True])
    )
    assert combined[:IDENTICAL] == pytest.approx(single[:IDENTICAL], abs=1e-8)
    others = np.abs(combined - single)[IDENTICAL:].max()
    assert others < 1e-8 if "pool" in model else others > 1e-3
