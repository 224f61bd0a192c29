"""Runs and published files become entries only with the results that belong to their predictions."""

from dataclasses import replace

import numpy as np
import pytest

from pairrank.data.folder import DataFolder
from pairrank.errors import UserError
from pairrank.evaluation.entries import Entry, entered_in, entries_in, publish, published_entries
from pairrank.evaluation.leaderboard import build_leaderboard
from pairrank.evaluation.leaderboard_table import markdown
from pairrank.runs.cross_validation import cross_validate
from pairrank.runs.experiment_files import load_experiment
from pairrank.runs.resolution import resolve_run
from tests.support.battles import tiny_battles, write_folder
from tests.support.entered import entered
from tests.support.entries import BATTLES, entry, plain_losses, some_predictions, some_record


@pytest.fixture
def runs(tmp_path):
    """Two finished runs of the prior on a tiny folder."""
    data = DataFolder(write_folder(tmp_path / "data", n=60))
    for changes in ([], ["smoothing=50"]):
        cross_validate(resolve_run(load_experiment("prior", changes), data, tmp_path / "runs"))
    return tmp_path / "runs"


def test_entries_in_returns_runs_with_their_records(runs):
    plain, smooth = entries_in(runs, BATTLES)
    assert (plain.label, smooth.label) == ("prior", "prior+smoothing=50")
    assert plain.record.log_loss == pytest.approx(plain_losses(plain.predictions).mean(), abs=1e-8)
    assert plain.test is not None
    assert entries_in(runs, tiny_battles(10)) == []


def test_a_record_of_other_predictions_is_left_out(runs, caplog):
    """Otherwise the table would show results of another configuration."""
    metrics = runs / "prior+smoothing=50" / "metrics.json"
    sound = metrics.read_bytes()
    metrics.write_bytes((runs / "prior" / "metrics.json").read_bytes())
    assert [e.label for e in entries_in(runs, BATTLES)] == ["prior"]
    assert "belong to other predictions" in caplog.messages[0]
    metrics.write_bytes(sound)
    (runs / "prior" / "oof.csv").write_bytes((runs / "prior+smoothing=50" / "oof.csv").read_bytes())
    assert [e.label for e in entries_in(runs, BATTLES)] == ["prior+smoothing=50"]
    metrics.write_text("{")
    caplog.clear()
    assert entries_in(runs, BATTLES) == []
    assert len(caplog.messages) == 2


def test_a_run_on_other_battles_with_the_same_ids_is_left_out(runs, caplog):
    others = replace(BATTLES, winner=np.roll(BATTLES.labels, 1))
    assert entries_in(runs, others) == []
    assert all("other battles" in line for line in caplog.messages)
    assert len(caplog.messages) == 2


def test_a_renamed_run_is_labelled_with_both_names(runs):
    (runs / "prior").rename(runs / "old")
    (runs / "prior+smoothing=50").rename(runs / "prior")
    assert {e.label for e in entries_in(runs, BATTLES)} == {"old (prior)", "prior (prior+smoothing=50)"}


def test_published_entries_give_the_same_table(tmp_path):
    entries = [
        entry("prior", 0),
        entry("part+seed=1", 1, slice(30), folds=[0]),
        Entry("book", some_predictions(2)),
    ]
    entries[0] = Entry("prior", entries[0].predictions, entries[0].record, some_predictions(5))
    entries[1] = Entry(entries[1].label, entries[1].predictions, entries[1].record, some_predictions(6))
    publish(tmp_path, "d", entries)
    again = published_entries(tmp_path, "d", BATTLES)
    first = markdown(build_leaderboard("d", BATTLES, published_entries(tmp_path, "d", BATTLES), ["prior"]))
    assert first == markdown(build_leaderboard("d", BATTLES, entries, ["prior"]))
    # Only a complete run has a submission.
    assert [file.name for file in (tmp_path / "submissions" / "d").iterdir()] == ["prior.csv"]
    # Publishing the published files again changes nothing.
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    publish(tmp_path, "d", again)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
    (tmp_path / "predictions" / "d" / ".7.prior.csv").write_text("half-written")
    assert len(published_entries(tmp_path, "d", BATTLES)) == 3


def test_published_results_are_never_combined_with_other_predictions(tmp_path):
    publish(
        tmp_path,
        "d",
        [Entry("x", some_predictions(0), some_record("x", some_predictions(0)), some_predictions(5))],
    )
    publish(tmp_path, "d", [Entry("x", some_predictions(1))])
    (found,) = published_entries(tmp_path, "d", BATTLES)
    assert (found.record, found.test) == (None, None)
    publish(tmp_path, "d", [entry("x", 0)])
    some_predictions(1).write(tmp_path / "predictions" / "d" / "x.csv")
    with pytest.raises(UserError, match=r"x\.csv: the recorded results belong to other predictions"):
        published_entries(tmp_path, "d", BATTLES)


def test_results_published_for_other_battles_are_refused(tmp_path):
    publish(tmp_path, "d", [entry("prior")])
    with pytest.raises(UserError, match="other battles"):
        published_entries(tmp_path, "d", replace(BATTLES, winner=np.roll(BATTLES.labels, 1)))


def test_the_published_table_is_rebuilt_from_its_files_with_entries_made_elsewhere(tmp_path):
    made = [
        entered(tmp_path / "runs/entries", "judge"),
        entered(tmp_path / "runs/entries", "part", 8, 40, trained_on=None),
    ]
    entries = [entry("prior", 0), *made]
    publish(tmp_path / "site", "d", entries)
    first = build_leaderboard("d", BATTLES, entries)
    again = published_entries(tmp_path / "site", "d", BATTLES)
    table = markdown(build_leaderboard("d", BATTLES, again))
    assert table == markdown(first)
    assert "| judge | declared data |" in table
    assert "| part | undeclared data |" in table
    assert (
        "judge: made elsewhere by Ada (https://example.org/judge). A judge, prompted. Training data: no votes."
        in table
    )
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()}
    publish(
        tmp_path / "site", "d", [each for each in again if each.manifest]
    )  # unchanged files are not written again
    kept = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()}
    assert kept == before


def test_a_published_entry_is_that_of_its_last_maker(tmp_path):
    made = entered(tmp_path / "entries", "x")
    publish(tmp_path / "site", "d", [entry("x", 0)])
    publish(tmp_path / "site", "d", [made])
    assert [(each.record, each.manifest) for each in published_entries(tmp_path / "site", "d", BATTLES)] == [
        (None, made.manifest)
    ]
    publish(tmp_path / "site", "d", [entry("x", 0)])
    (found,) = published_entries(tmp_path / "site", "d", BATTLES)
    assert (found.record.label, found.manifest) == ("x", None)
    assert not (tmp_path / "site/entries/d/x").exists()


def test_a_damaged_entry_is_left_out_beside_the_runs_and_refused_among_published_ones(tmp_path, caplog):
    for folder in ("entries", "site/entries/d"):
        entered(tmp_path / folder, "sound")
        entered(tmp_path / folder, "broken")
        (tmp_path / folder / "broken/entry.json").unlink()
    assert [each.label for each in entered_in(tmp_path, BATTLES)] == ["sound"]
    assert "Left out" in caplog.messages[0]
    with pytest.raises(UserError, match=r"broken.entry\.json: missing"):
        published_entries(tmp_path / "site", "d", BATTLES)


def test_an_entry_with_the_name_of_a_run_is_left_out(tmp_path, caplog):
    entered(tmp_path / "entries", "prior")
    assert entered_in(tmp_path, BATTLES, ["prior"]) == []
    assert "a run has this name" in caplog.messages[0]
