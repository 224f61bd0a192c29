"""The records of a fold in fold.json and started.json, and their summary for a run."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pairrank.errors import UserError
from pairrank.evaluation.run_record import DataRecord, EncoderRecord, newer_version
from pairrank.files import read_json, write_json
from pairrank.nested import from_mapping

VERSION = 1
"""Version of both file formats. Files without one are older; fields that they lack get their default values."""

FOLD_FILE, START_FILE = "fold.json", "started.json"


@dataclass(frozen=True)
class FoldRecord:
    """A finished fold: what its result depends on, what it scored, and what it cost."""

    identity: str
    """Hash of everything that the result depends on."""
    test_hash: str
    """`Battles.content_hash` of the test battles that were predicted; "" if there were none."""
    battles: int
    """Number of scored battles."""
    log_loss: float | None
    """Log loss of the scored battles in nats; None if there were none."""
    training_seconds: float
    predict_seconds: float
    """Seconds to predict the scored battles."""
    swap_gap: float
    peak_memory_mb: float
    symmetric: bool
    """Whether the model and everything it builds on commute with exchanging A and B."""
    report: dict[str, Any]
    """What the model reports about itself: parameters, encoder, tokens, history, warnings."""
    versions: dict[str, str]
    commit: str
    flip_rate: float | None = None
    """None in records of versions that did not measure it."""
    extra: tuple[dict[str, Any], ...] = ()
    """How many battles of each source of extra battles were used and left out."""
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the fold's predictions and of model.json, which has those of the model's other files, by name."""
    test_file: str = ""
    """SHA-256 of the fold's predictions for the test battles; "" if there are none."""
    fold: int | None = None
    """Number of the fold, so that its folder cannot be taken for another fold's; None in older records."""

    @property
    def warnings(self) -> list[str]:
        """Warnings for readers of the results."""
        return list(self.report.get("warnings", []))


@dataclass(frozen=True)
class _TokenCounts:
    """Tokens of prompt, A and B: those that were kept, and all."""

    kept: dict[str, int]
    of: dict[str, int]


@dataclass(frozen=True)
class _ReportedParts:
    """The parts of a model's report that `summarise` reads; a record with others is damaged."""

    parameters: int | None = None
    encoder: EncoderRecord | None = None
    device: str | None = None
    tokens: _TokenCounts | None = None
    lost_a_side: int = 0
    history: tuple[dict[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class FoldStart:
    """What a fold depends on, written when it begins. A fold with a different start is trained again."""

    identity: str
    data: DataRecord


def read_fold_record(folder: Path) -> FoldRecord | None:
    """Return the record in a fold's folder; None if it is missing or damaged, so that the fold is trained again.

    Raises UserError for a record that a newer version wrote, which must not be overwritten.
    """
    record: FoldRecord | None = _read(FoldRecord, folder / FOLD_FILE)
    return record


def write_fold_record(record: FoldRecord, folder: Path) -> None:
    """Write fold.json, which marks the fold as finished."""
    write_json(folder / FOLD_FILE, {"version": VERSION} | asdict(record))


def read_fold_start(folder: Path) -> FoldStart | None:
    """Return what was written when the fold began; None if it is missing or damaged."""
    start: FoldStart | None = _read(FoldStart, folder / START_FILE)
    return start


def write_fold_start(start: FoldStart, folder: Path) -> None:
    """Write started.json."""
    write_json(folder / START_FILE, {"version": VERSION} | asdict(start))


def _read(cls: type, file: Path) -> Any:
    values = read_json(file)
    if values is None:
        return None
    if isinstance(version := values.get("version", 0), int) and version > VERSION:
        raise newer_version(file, version, VERSION)
    try:
        record = from_mapping(cls, values, str(file), ignore_unknown=True)
        if isinstance(record, FoldRecord):
            from_mapping(_ReportedParts, record.report, str(file), ignore_unknown=True)
    except UserError:
        return None
    return record


def summarise(folds: Sequence[FoldRecord]) -> dict[str, Any]:
    """Return the fields of a `RunRecord` that are sums, maxima or means over battles of its folds' records."""
    battles, reports = sum(fold.battles for fold in folds), [fold.report for fold in folds]
    seconds = sum(fold.predict_seconds for fold in folds)
    summary: dict[str, Any] = {
        "symmetric": folds[0].symmetric,
        "swap_gap": _mean([fold.swap_gap for fold in folds], folds),
        "flip_rate": _mean([fold.flip_rate for fold in folds], folds),
        "training_seconds": sum(fold.training_seconds for fold in folds),
        "battles_per_second": battles / seconds if seconds else None,
        "peak_memory_mb": max(fold.peak_memory_mb for fold in folds),
        "parameters": reports[0].get("parameters"),
        "encoder": EncoderRecord(**encoder) if (encoder := reports[0].get("encoder")) else None,
        "device": _join([report.get("device") for report in reports]),
        "commit": _join([fold.commit for fold in folds]),
        "versions": {name: _join([fold.versions.get(name) for fold in folds]) for name in folds[0].versions},
        "warnings": tuple(sorted({warning for fold in folds for warning in fold.warnings})),
    }
    if any(fold.extra for fold in folds):
        summary["extra"] = tuple(list(fold.extra) for fold in folds)
    if all("tokens" in report for report in reports):
        summary |= _token_coverage(reports)
    return summary


def _mean(values: Sequence[float | None], folds: Sequence[FoldRecord]) -> float | None:
    """Return the mean over battles of one value per fold; None if a fold lacks it."""
    weighted = [value * fold.battles for value, fold in zip(values, folds, strict=True) if value is not None]
    return sum(weighted) / sum(fold.battles for fold in folds) if len(weighted) == len(folds) else None


def _token_coverage(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the share of tokens kept of each text, and how many battles lost a whole answer."""
    tokens = [report["tokens"] for report in reports]
    kept = {
        text: sum(each["kept"][text] for each in tokens) / max(1, sum(each["of"][text] for each in tokens))
        for text in tokens[0]["kept"]
    }
    return {"kept": kept, "lost_a_side": sum(report["lost_a_side"] for report in reports)}


def _join(values: Sequence[str | None]) -> str | None:
    """Return the one value that all folds share, or all of them if a run was made on several machines or days."""
    return ", ".join(sorted({value for value in values if value})) or None
