"""The leaderboard as Markdown and JSON."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from pairrank.data.folder import DataFolder
from pairrank.evaluation.entries import Entry, published_entries
from pairrank.evaluation.leaderboard import build_leaderboard
from pairrank.evaluation.leaderboard_table import markdown, notes, to_json, to_markdown
from tests.support.entries import BATTLES, entry, some_predictions

ROOT = Path(__file__).parents[2]


def table_of(text):
    """Return the cells of a Markdown table: row label -> column -> cell."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    split = [[c.strip().replace("\\|", "|") for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert len({len(cells) for cells in split}) == 1
    return {cells[0]: dict(zip(split[0], cells, strict=True)) for cells in split[2:]}


def test_json_and_markdown_have_the_same_values(tmp_path):
    entries = [
        entry("prior", 0),
        entry("other", 1, slice(30), folds=[1, 3]),
        Entry("notebook", some_predictions(2)),
    ]
    board = build_leaderboard("arena", BATTLES, entries, ["prior", "other"], some_predictions(9))
    to_json(board, tmp_path / "b.json")
    to_markdown(board, tmp_path / "b.md")
    rows = json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))["rows"]
    table = table_of((tmp_path / "b.md").read_text(encoding="utf-8"))
    assert list(table) == [row["label"] for row in rows]
    for row in rows:
        cells = table[row["label"]]
        assert cells["log loss ± s.e."] == f"{row['log_loss']:.4f} ± {row['standard_error']:.4f}"
        for name in ("prior", "other"):
            d = row["differences"][name]
            expected = "–" if d is None else f"{d['mean']:+.4f} [{d['low']:+.4f}, {d['high']:+.4f}]"
            assert cells[f"Δ {name} [95 %]"] == expected
        assert cells["accuracy"] == f"{100 * row['accuracy']:.1f} %"
        assert cells["ECE"] == f"{row['calibration_error']:.3f}"
        assert cells["above floor"] == f"{row['above_floor']:+.4f}"
    assert table["other"]["folds"] == "2 of 5 (folds 1, 3)"
    recorded = {
        "encoder": "enc (01234567)",
        "folds": "all 5",
        "swap gap": "0.0123",
        "flip rate": "6.2 %",
        "tokens kept P / A / B": "100 % / 50 % / 25 %",
        "battles without a side": "2",
        "parameters": "1,234,567",
        "training (s)": "61",
        "prediction (battles/s)": "12.3",
        "peak memory (MB)": "1,000",
        "seed": "3",
        "submittable": "yes",
    }
    assert {key: table["prior"][key] for key in recorded} == recorded
    # Unknown for a file that no run made.
    assert {table["notebook"][key] for key in recorded} == {"–"}
    assert all(line in (tmp_path / "b.md").read_text(encoding="utf-8") for line in notes(board))


def test_notes_explain_the_intervals_and_list_the_warnings():
    board = build_leaderboard("d", BATTLES, [entry("prior", warnings=["stuck at\nthe prior"])])
    text = "\n".join(notes(board))
    assert "one of twenty differences" in text
    assert "not for the random seed" in text
    assert "prior: stuck at the prior" in text


@pytest.mark.parametrize("label", ["a|b", "a\\|b", "[red]x[/]", "[x](y)", "`a`", "a\nb", "<b>"])
def test_no_label_breaks_the_markdown_table(label):
    board = build_leaderboard("d|d", BATTLES, [entry("prior", 0), entry(label, 1)], ["prior", label])
    text = markdown(board)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert len({len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines}) == 1


@pytest.mark.slow
def test_the_committed_leaderboard_can_be_rebuilt(arena):
    committed = ROOT / "benchmarks" / "LEADERBOARD.md"
    if not committed.is_file():
        pytest.skip("benchmarks/LEADERBOARD.md has not been made yet")
    battles = DataFolder(arena).train
    entries = published_entries(ROOT / "benchmarks", "arena", battles)
    kept = json.loads((ROOT / "benchmarks" / "leaderboard.json").read_text(encoding="utf-8"))
    board = build_leaderboard("arena", battles, entries, kept["references"])
    assert markdown(board) == committed.read_text(encoding="utf-8")
    rebuilt, expected = dict(leaves(json.loads(json.dumps(asdict(board))))), dict(leaves(kept))
    assert list(rebuilt) == list(expected)
    for place, value in expected.items():
        # The last digits of a sum depend on the width of the processor's vectors.
        is_float = isinstance(value, float)
        assert rebuilt[place] == (pytest.approx(value, rel=1e-9, abs=1e-12) if is_float else value), place


def leaves(value, place=""):
    """Yield every number, string and empty container of nested values with its place."""
    if isinstance(value, dict | list) and value:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, f"{place}/{key}")
    else:
        yield place, value
