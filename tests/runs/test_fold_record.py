"""A fold's record: written and read back it is the same; an older or damaged one never stops a run."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pairrank.errors import UserError
from pairrank.evaluation.run_record import DataRecord, EncoderRecord
from pairrank.runs.fold_record import (
    VERSION,
    FoldRecord,
    FoldStart,
    read_fold_record,
    read_fold_start,
    summarise,
    write_fold_record,
    write_fold_start,
)

RECORD = FoldRecord(
    identity="i",
    test_hash="t",
    battles=30,
    log_loss=1.0,
    training_seconds=2.0,
    predict_seconds=3.0,
    swap_gap=0.1,
    peak_memory_mb=100.0,
    symmetric=True,
    report={"parameters": 4, "warnings": ["w"]},
    versions={"numpy": "2"},
    commit="c",
    flip_rate=0.3,
    extra=({"name": "more", "used": 1},),
)


def test_a_record_survives_writing_and_reading(tmp_path: Path):
    write_fold_record(RECORD, tmp_path)
    assert read_fold_record(tmp_path) == RECORD
    start = FoldStart("i", DataRecord("d", "h", 3))
    write_fold_start(start, tmp_path)
    assert read_fold_start(tmp_path) == start


def test_a_record_of_an_earlier_version_has_defaults_and_its_folds_still_add_up(tmp_path: Path):
    write_fold_record(RECORD, tmp_path)
    older = json.loads((tmp_path / "fold.json").read_text())
    for key in ("version", "flip_rate", "extra"):
        del older[key]
    (tmp_path / "fold.json").write_text(json.dumps(older))
    record = read_fold_record(tmp_path)
    assert record is not None
    assert (record.flip_rate, record.extra) == (None, ())
    assert summarise([RECORD, record])["flip_rate"] is None
    assert summarise([RECORD, record])["swap_gap"] == pytest.approx(0.1)


@pytest.mark.parametrize("content", [None, "{", "[]", json.dumps({"identity": "i"}), json.dumps({"identity": 3})])
def test_a_missing_or_damaged_record_is_none(tmp_path: Path, content: str | None):
    if content is not None:
        (tmp_path / "fold.json").write_text(content)
    assert read_fold_record(tmp_path) is None


def test_a_record_of_a_newer_version_is_refused_and_not_overwritten(tmp_path: Path):
    (tmp_path / "fold.json").write_text(json.dumps({"version": VERSION + 1}))
    with pytest.raises(UserError, match="newer pairrank"):
        read_fold_record(tmp_path)


def test_folds_add_up_over_battles():
    other = replace(
        RECORD,
        battles=10,
        swap_gap=0.5,
        predict_seconds=1.0,
        peak_memory_mb=50.0,
        commit="d",
        report={"encoder": {"name": "e", "sha256": "s"}},
    )
    summary = summarise([other, RECORD])
    assert summary["swap_gap"] == pytest.approx((0.5 * 10 + 0.1 * 30) / 40)
    assert summary["training_seconds"] == 4.0
    assert summary["battles_per_second"] == 10.0
    assert summary["peak_memory_mb"] == 100.0
    assert summary["commit"] == "c, d"
    assert summary["encoder"] == EncoderRecord("e", "s")
    assert summary["warnings"] == ("w",)


@pytest.mark.parametrize(
    "report",
    [
        {"encoder": {"foo": 1}},
        {"warnings": 5},
        {"history": [5]},
        {"tokens": {"kept": 3, "of": {}}},
        {"parameters": "many"},
        {"lost_a_side": None},
    ],
)
def test_a_record_with_a_foreign_report_is_damaged(tmp_path: Path, report: dict[str, object]):
    write_fold_record(replace(RECORD, report=report), tmp_path)
    assert read_fold_record(tmp_path) is None
