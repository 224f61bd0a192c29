"""What the folds of a run measured besides scores, as its metrics.json has it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pairrank.errors import UserError
from pairrank.files import read_json


def summarise(folds: list[dict[str, Any]]) -> dict[str, Any]:
    """What the folds measured besides scores, added up or averaged over battles."""
    battles = sum(fold["battles"] for fold in folds)
    seconds = sum(fold["predict_seconds"] for fold in folds)
    reports = [fold["report"] for fold in folds]
    summary: dict[str, Any] = {
        "symmetric": folds[0]["symmetric"],
        **{
            name: sum(fold[name] * fold["battles"] for fold in folds) / battles
            for name in ("swap_gap", "flip_rate")
        },
        "training_seconds": sum(fold["training_seconds"] for fold in folds),
        "battles_per_second": battles / seconds if seconds else None,
        "peak_memory_mb": max(fold["peak_memory_mb"] for fold in folds),
        "parameters": reports[0].get("parameters"),
        "encoder": reports[0].get("encoder"),
        "device": _all_of([report.get("device") for report in reports]),
        "commit": _all_of([fold["commit"] for fold in folds]),
        "versions": {
            name: _all_of([fold["versions"].get(name) for fold in folds]) for name in folds[0]["versions"]
        },
        "warnings": sorted({warning for report in reports for warning in report.get("warnings", [])}),
    }
    if any(fold.get("extra") for fold in folds):
        summary["extra"] = [fold["extra"] for fold in folds]
    if all("tokens" in report for report in reports):
        summary["kept"] = {
            text: sum(r["tokens"]["kept"][text] for r in reports)
            / max(1, sum(r["tokens"]["of"][text] for r in reports))
            for text in reports[0]["tokens"]["kept"]
        }
        summary["lost_a_side"] = sum(report["lost_a_side"] for report in reports)
    return summary


def _all_of(values: Sequence[str | None]) -> str | None:
    """One word where the folds agree; all of them where a run was made on several machines or days."""
    return ", ".join(sorted({value for value in values if value})) or None


def read_metrics(folder: Path) -> dict[str, Any]:
    """A run's metrics.json; raises UserError where there is none."""
    metrics = read_json(folder / "metrics.json")
    if metrics is None or not {"label", "identity", "experiment", "folds", "data"} <= metrics.keys():
        raise UserError(
            f"{folder}: no finished run (metrics.json is missing or damaged). Run the experiment first."
        )
    return metrics
