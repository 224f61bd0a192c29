"""The benchmark harness: prediction files in, one table with intervals out. It never sees a model."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pairrank.battles import TEXTS, Battles
from pairrank.errors import UserError
from pairrank.files import write_json, write_text
from pairrank.folds import prompt_keys
from pairrank.predictions import Predictions, read_predictions
from pairrank.scoring import (
    Difference,
    accuracy,
    battle_losses,
    expected_calibration_error,
    paired_difference,
    standard_error,
)

DASH = "–"


@dataclass(frozen=True)
class Entry:
    """Out-of-fold predictions that compete, and what their run measured besides."""

    label: str
    predictions: Predictions
    metrics: dict[str, Any]
    """A run's metrics.json; empty for a file that somebody else made."""
    test: Predictions | None = None


@dataclass(frozen=True)
class Row:
    """One line of the table; None where the entry cannot tell."""

    label: str
    encoder: str | None
    battles: int
    folds: str
    log_loss: float
    standard_error: float
    differences: dict[str, Difference | None]
    """To each reference, on the battles both have predicted."""
    accuracy: float
    calibration_error: float
    above_floor: float | None
    """Log loss minus that of the true probabilities on the same battles; simulated data only."""
    swap_gap: float | None
    kept: dict[str, float] | None
    lost_a_side: int | None
    parameters: int | None
    training_seconds: float | None
    battles_per_second: float | None
    peak_memory_mb: float | None
    seed: int | None
    submittable: bool | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Leaderboard:
    """Rows in order of their log loss, with the battles and references they were made with."""

    data: str
    battles: int
    prompts: int
    references: tuple[str, ...]
    floor: float | None
    rows: tuple[Row, ...]


def entries_in(runs: Path, battles: Battles) -> list[Entry]:
    """The runs in a folder that were made on these battles."""
    ids = set(battles.id.tolist())
    entries = []
    for file in sorted(runs.glob("*/metrics.json")):
        metrics = json.loads(file.read_text(encoding="utf-8"))
        predictions = read_predictions(file.parent / "oof.csv")
        if ids.issuperset(predictions.id.tolist()):
            test = file.parent / "test.csv"
            entries.append(
                Entry(metrics["label"], predictions, metrics, read_predictions(test) if test.is_file() else None)
            )
    return entries


def published_entries(folder: Path, data: str) -> list[Entry]:
    """The entries that `publish` wrote."""
    entries = []
    for file in sorted((folder / "predictions" / data).glob("*.csv")):
        result = folder / "results" / data / f"{file.stem}.json"
        metrics = json.loads(result.read_text(encoding="utf-8")) if result.is_file() else {}
        entries.append(Entry(file.stem, read_predictions(file), metrics))
    return entries


def publish(folder: Path, data: str, entries: Sequence[Entry]) -> None:
    """Write each entry's predictions and result where a later comparison finds them; no text of any battle."""
    for entry in entries:
        entry.predictions.write(folder / "predictions" / data / f"{entry.label}.csv")
        if entry.metrics:
            write_json(folder / "results" / data / f"{entry.label}.json", entry.metrics)
        complete = len(entry.metrics.get("folds", [])) == entry.metrics.get("experiment", {}).get("split", {}).get(
            "folds"
        )
        if entry.test is not None and complete:
            entry.test.write(folder / "submissions" / data / f"{entry.label}.csv")


def build_leaderboard(
    data: str,
    battles: Battles,
    entries: Sequence[Entry],
    references: Sequence[str] = ("prior",),
    truth: Predictions | None = None,
) -> Leaderboard:
    """Score all entries on the battles with winners; raises UserError for a foreign id or an unknown reference."""
    by_label = {entry.label: entry for entry in entries}
    for name in references:
        if name not in by_label:
            raise UserError(
                f"--reference {name}: no such entry. There are: {', '.join(sorted(by_label)) or 'none'}."
            )
    place = {name: row for row, name in enumerate(battles.id.tolist())}
    losses = {entry.label: _losses(entry, battles, place) for entry in entries}
    keys = np.array(prompt_keys(battles))
    floor = None
    if truth is not None:
        floor = battle_losses(truth.align(battles.id, "true probabilities").proba, battles.labels)
    rows = [_row(entry, battles, keys, losses, references, floor, place) for entry in entries]
    return Leaderboard(
        data=data,
        battles=len(battles),
        prompts=len(set(keys.tolist())),
        references=tuple(references),
        floor=None if floor is None else float(floor.mean()),
        rows=tuple(sorted(rows, key=lambda row: (row.log_loss, row.label))),
    )


def _losses(entry: Entry, battles: Battles, place: dict[str, int]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(n,) losses in the order of `battles`, NaN where the entry made no prediction."""
    foreign = [name for name in entry.predictions.id.tolist() if name not in place]
    if foreign:
        raise UserError(
            f"{entry.label}: {len(foreign):,} of its {len(entry.predictions):,} ids are not among these battles "
            f"(the first: {foreign[0]}). Expected out-of-fold predictions for the battles of --data."
        )
    rows = [place[name] for name in entry.predictions.id.tolist()]
    losses = np.full(len(battles), np.nan)
    losses[rows] = battle_losses(entry.predictions.proba, battles.labels[rows])
    return losses


def _row(
    entry: Entry,
    battles: Battles,
    keys: np.ndarray[Any, Any],
    losses: dict[str, np.ndarray[Any, np.dtype[np.float64]]],
    references: Sequence[str],
    floor: np.ndarray[Any, np.dtype[np.float64]] | None,
    place: dict[str, int],
) -> Row:
    own = losses[entry.label]
    covered = ~np.isnan(own)
    differences: dict[str, Difference | None] = {}
    for name in references:
        both = covered & ~np.isnan(losses[name])
        same = name == entry.label or not both.any()
        differences[name] = None if same else paired_difference(own[both], losses[name][both], keys[both].tolist())
    proba = entry.predictions.proba
    winner = battles.labels[[place[name] for name in entry.predictions.id.tolist()]]
    metrics = entry.metrics
    experiment = metrics.get("experiment", {})
    encoder = metrics.get("encoder")
    return Row(
        label=entry.label,
        encoder=f"{encoder['name']} ({encoder['sha256'][:8]})" if encoder else None,
        battles=int(covered.sum()),
        folds=_folds(metrics),
        log_loss=float(own[covered].mean()),
        standard_error=standard_error(own[covered], keys[covered].tolist()),
        differences=differences,
        accuracy=accuracy(proba, winner),
        calibration_error=expected_calibration_error(proba, winner),
        above_floor=None if floor is None else float((own - floor)[covered].mean()),
        swap_gap=metrics.get("swap_gap"),
        kept=metrics.get("kept"),
        lost_a_side=metrics.get("lost_a_side"),
        parameters=metrics.get("parameters"),
        training_seconds=metrics.get("training_seconds"),
        battles_per_second=metrics.get("battles_per_second"),
        peak_memory_mb=metrics.get("peak_memory_mb"),
        seed=experiment.get("model", {}).get("seed"),
        submittable=experiment.get("submittable"),
        warnings=tuple(metrics.get("warnings", ())),
    )


def _folds(metrics: dict[str, Any]) -> str:
    """Which folds an entry covers, in words."""
    if not metrics:
        return DASH
    done, count = metrics["folds"], metrics["experiment"]["split"]["folds"]
    return f"all {count}" if len(done) == count else f"{', '.join(map(str, done))} of {count}"


def to_json(board: Leaderboard, path: Path) -> None:
    """Write the table with every digit."""
    write_json(path, asdict(board))


def to_markdown(board: Leaderboard, path: Path) -> None:
    """Write the table for readers."""
    write_text(path, markdown(board))


def markdown(board: Leaderboard) -> str:
    """The whole table as Markdown, with what a reader must know to read it."""
    columns = ["experiment", "encoder", "folds", "log loss ± s.e."]
    columns += [f"Δ {name} [95 %]" for name in board.references]
    columns += ["accuracy", "ECE"] + (["above floor"] if board.floor is not None else [])
    columns += ["swap gap", "kept P / A / B", "lost a side", "parameters", "training s", "battles/s", "peak MB"]
    columns += ["seed", "submittable"]
    lines = [
        f"# Leaderboard: {board.data}",
        "",
        f"{board.battles:,} battles with {board.prompts:,} distinct prompts. "
        "Out-of-fold log loss in nats, lower is better.",
        "",
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
    ]
    lines += ["| " + " | ".join(_cells(row, board)) + " |" for row in board.rows]
    lines += ["", *notes(board)]
    return "\n".join(lines) + "\n"


def notes(board: Leaderboard) -> list[str]:
    """What must be said under the table."""
    lines = [
        "± is the standard error, [ ] the 95 % interval of a paired bootstrap over prompts, on the battles that "
        "both rows have predicted. They cover which battles were drawn, not the seed.",
        "Of twenty differences to one reference, about one looks real by chance.",
    ]
    if board.floor is not None:
        lines.append(
            f"The battles are simulated: the true probabilities score {board.floor:.4f}, on average the best possible."
        )
    lines += [f"{row.label}: {warning}" for row in board.rows for warning in row.warnings]
    return [line for text in lines for line in (text, "")][:-1]


def difference_cell(difference: Difference | None) -> str:
    """A difference with its interval, or a dash for the reference itself."""
    if difference is None:
        return DASH
    return f"{difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"


def _cells(row: Row, board: Leaderboard) -> list[str]:
    kept = None if row.kept is None else " / ".join(f"{100 * row.kept[text]:.0f} %" for text in TEXTS)
    cells = [row.label, row.encoder, row.folds, f"{row.log_loss:.4f} ± {row.standard_error:.4f}"]
    cells += [difference_cell(row.differences[name]) for name in board.references]
    cells += [f"{100 * row.accuracy:.1f} %", f"{row.calibration_error:.3f}"]
    if board.floor is not None:
        cells.append(_shown(row.above_floor, "+.4f"))
    cells += [
        _shown(row.swap_gap, ".4f"),
        kept,
        _shown(row.lost_a_side, ","),
        _shown(row.parameters, ","),
        _shown(row.training_seconds, ",.0f"),
        _shown(row.battles_per_second, ",.3g" if (row.battles_per_second or 0) < 100 else ",.0f"),
        _shown(row.peak_memory_mb, ",.0f"),
        _shown(row.seed, "d"),
        None if row.submittable is None else ("yes" if row.submittable else "no"),
    ]
    return [DASH if cell is None else cell.replace("|", "\\|") for cell in cells]


def _shown(value: float | int | None, form: str) -> str | None:
    return None if value is None else format(value, form)
