"""A record is what its file holds: written and read back it is the same, and a foreign file is refused by name."""

import json
import pickle
from dataclasses import fields, replace
from pathlib import Path

import pytest

from pairrank.errors import UserError
from pairrank.evaluation.run_record import (
    VERSION,
    DataRecord,
    EncoderRecord,
    OwnCost,
    RunRecord,
    find_run_record,
    newer_version,
    read_run_record,
    record_from_json,
    record_to_json,
    write_run_record,
)

EXPERIMENT = {"name": "x", "model": {"name": "prior", "seed": 3}, "split": {"folds": 5, "salt": ""}}
OLDEST = {
    "label": "x",
    "experiment": EXPERIMENT,
    "data": {"name": "d", "hash": "h", "battles": 7},
    "folds": [0, 1],
    "identity": "i",
}
"""What every version has written."""

FULL = RunRecord(
    label="x",
    experiment=EXPERIMENT,
    data=DataRecord("d", "h", 7),
    folds=(0, 1, 2, 3, 4),
    identity="i",
    predictions="p",
    inputs={"y": "q"},
    log_loss=1.0,
    accuracy=0.5,
    tuned_on=(0, 1),
    chosen={"0": {"penalty": 2.0}},
    history=({"Fold": 0.0, "Step": 3.0, "Log Loss": None},),
    symmetric=True,
    swap_gap=0.1,
    flip_rate=0.2,
    training_seconds=3.0,
    battles_per_second=4.0,
    peak_memory_mb=5.0,
    parameters=6,
    encoder=EncoderRecord("e", "s"),
    device="CPU",
    commit="c",
    versions={"numpy": "2"},
    warnings=("w",),
    extra=([{"name": "more", "used": 3}],),
    kept={"prompt": 0.5, "response_a": 1.0, "response_b": 1.0},
    lost_a_side=2,
    alone=OwnCost(1.0, 2),
    test_predictions="t",
)


def complaint(values: object) -> str:
    with pytest.raises(UserError) as caught:
        record_from_json(values, "runs/x/metrics.json")  # type: ignore[arg-type]
    return str(caught.value)


def test_every_field_survives_writing_and_reading(tmp_path: Path):
    assert all(getattr(FULL, f.name) not in (None, (), {}) for f in fields(RunRecord))
    write_run_record(FULL, tmp_path)
    assert read_run_record(tmp_path) == FULL
    assert json.loads((tmp_path / "metrics.json").read_text())["version"] == VERSION


def test_what_is_empty_is_not_written_where_older_readers_do_not_expect_it():
    plain = record_to_json(
        replace(FULL, tuned_on=(), chosen=None, history=(), extra=(), kept=None, lost_a_side=None)
    )
    assert not {"tuned_on", "chosen", "history", "extra", "kept", "lost_a_side"} & plain.keys()
    assert record_to_json(replace(FULL, lost_a_side=0))["lost_a_side"] == 0


def test_an_older_file_is_read_with_defaults_and_unknown_keys_are_skipped():
    record = record_from_json(OLDEST | {"of_a_later_version": 1})
    assert (record.flip_rate, record.inputs, record.warnings, record.encoder) == (None, {}, (), None)
    assert not record.is_complete
    assert record.is_submittable


@pytest.mark.parametrize("missing", OLDEST)
def test_a_file_that_lacks_what_every_version_has_written_is_refused(missing: str):
    message = complaint({key: value for key, value in OLDEST.items() if key != missing})
    assert "runs/x/metrics.json" in message
    assert f"{missing} is missing" in message


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"folds": ["0"]}, "folds = ['0']"),
        ({"experiment": {}}, "a table model with a name"),
        ({"experiment": {"model": {"name": "x"}}}, "a table split with a number of folds"),
        ({"experiment": EXPERIMENT | {"split": {"folds": 5, "limit": "all"}}}, "a whole number as limit"),
        ({"experiment": EXPERIMENT | {"model": {"name": "prior", "seed": "3"}}}, "a whole number as seed"),
        ({"experiment": EXPERIMENT | {"about": 3}}, "a description (about)"),
        ({"kept": {"prompt": 1.0}}, "tokens kept of prompt, response_a, response_b"),
        ({"history": [{"Fold": 0.0, "Step": None}]}, "Fold and Step in every row"),
        ({"experiment": 3}, "experiment = 3"),
        ({"data": {"name": "d"}}, "hash is missing"),
        ({"data": None}, "data = None"),
        ({"version": VERSION + 1}, "newer pairrank"),
        ({"version": "1"}, "format version '1'"),
        ({"log_loss": "low"}, "log_loss = 'low'"),
        ({"training_seconds": 10**400}, "a finite number"),
        *(
            ({"label": name}, "is not the name of a run")
            for name in ("\ud800", "x\0y", "../x", "/x", "a/b", "a\\b", "..", ".x", "", " ", "a\nb", "history")
        ),
        ({"inputs": {"../../x": None}}, "'../../x' is not the name of a run"),
        ({"inputs": {OLDEST["label"]: None}}, "names itself as an input"),
        ({"folds": []}, "one or more trained folds from 0 to 4"),
        ({"folds": [0, 0]}, "each once"),
        ({"folds": [5]}, "trained folds from 0 to 4"),
        ({"folds": [-1]}, "trained folds from 0 to 4"),
        ({"experiment": EXPERIMENT | {"split": {"folds": 10**12}}}, "2 to 10,000 folds"),
        ({"experiment": EXPERIMENT | {"split": {"folds": 0}}, "folds": []}, "2 to 10,000 folds"),
    ],
)
def test_a_foreign_file_is_refused_with_what_was_found(change: dict[str, object], found: str):
    assert found in complaint(OLDEST | change)


def test_the_error_for_a_newer_version_can_be_sent_to_another_process():
    error = newer_version("metrics.json", 9, VERSION)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301  # its own


@pytest.mark.parametrize("content", [None, "{", "[]", json.dumps({"label": "x"})])
def test_a_missing_or_damaged_file_is_one_message_and_no_record(tmp_path: Path, content: str | None):
    if content is not None:
        (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(UserError, match=r"metrics\.json"):
        read_run_record(tmp_path)
    assert find_run_record(tmp_path) is None
