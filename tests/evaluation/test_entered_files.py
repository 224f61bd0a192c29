"""A file of any kind is read for an entry, and all its faults are reported at once."""

import json

import numpy as np
import pytest

from pairrank.evaluation.entered_files import read_entered_file
from tests.support.entries import BATTLES, some_predictions
from tests.support.runs import complaint

HEADER = "id,winner_model_a,winner_model_b,winner_tie"


def lines_of(predictions):
    return [
        ",".join([name, *map(repr, row)])
        for name, row in zip(predictions.id, predictions.proba.tolist(), strict=True)
    ]


def test_csv_and_json_lines_give_the_same_predictions(tmp_path):
    predictions = some_predictions(0)
    (tmp_path / "p.csv").write_text("\n".join([HEADER, *lines_of(predictions)]))
    rows = [
        dict(zip(HEADER.split(","), [n, *p], strict=True))
        for n, p in zip(predictions.id, predictions.proba.tolist(), strict=True)
    ]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for name in ("p.csv", "p.jsonl"):
        read, fitted = read_entered_file(tmp_path / name, BATTLES)
        assert fitted is None
        assert read.id.tolist() == predictions.id.tolist()
        assert np.array_equal(read.proba, predictions.proba)


def test_all_faults_of_a_file_are_reported_at_once(tmp_path):
    lines = lines_of(some_predictions(0))
    first, second, third, fourth = BATTLES.id[:4]
    broken = [
        f"{first},0.5,0.9,0.2",
        f"{second},x,0.5,0.5",
        f"{third},1.5,-0.5,0",
        "nobody,0.2,0.3,0.5",
        *lines[4:],
        lines[9],
    ]
    (tmp_path / "p.csv").write_text("\n".join([HEADER, *broken]))
    message = complaint(lambda: read_entered_file(tmp_path / "p.csv", BATTLES))
    assert "6 complaints" in message
    for part in (
        f"id {BATTLES.id[9]}: found in 2 rows",
        f"id {first}: probabilities sum to 1.6",
        f"id {second}: a probability is missing",
        f"id {third}: probabilities [1.5, -0.5, 0.0]",
        "'nobody': not among the battles",
        f"id '{fourth}': no prediction",
    ):
        assert part in message


@pytest.mark.parametrize("columns", ["id,score_a,score_b", HEADER])
def test_battles_may_be_missing_only_from_a_partial_entry(tmp_path, columns):
    row = "1,2" if "score" in columns else "0.2,0.3,0.5"
    (tmp_path / "p.csv").write_text("\n".join([columns, *(f"{name},{row}" for name in BATTLES.id[:50])]))
    assert len(read_entered_file(tmp_path / "p.csv", BATTLES, is_partial=True)[0]) == 50
    message = complaint(lambda: read_entered_file(tmp_path / "p.csv", BATTLES))
    assert "10 battles have no scores" in message or "7 more ids: no prediction" in message


def test_a_file_without_the_columns_or_rows_is_refused(tmp_path):
    (tmp_path / "p.csv").write_text("id,winner_model_a\n1,0.5\n")
    message = complaint(lambda: read_entered_file(tmp_path / "p.csv", BATTLES))
    assert "missing column 'winner_tie'" in message
    (tmp_path / "p.csv").write_text(f"{HEADER}\n")
    assert "no prediction" in complaint(lambda: read_entered_file(tmp_path / "p.csv", BATTLES))
