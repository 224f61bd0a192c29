"""Every battle is judged by a model that never saw its prompt."""

import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pairrank.config import RUN_FILE, Experiment
from pairrank.errors import UserError
from pairrank.files import write_json, write_text
from pairrank.folds import assign_folds
from pairrank.models.base import load_model, save_model
from pairrank.predictions import Predictions, geometric_mean, read_predictions
from pairrank.provenance import (
    code_hash,
    commit,
    peak_memory_mb,
    predictions_hash,
    read_json,
    restart_peak_memory,
    versions,
)
from pairrank.run_folder import Run, finished_folds, read_fold, read_kept, refuse_other_battles
from pairrank.scoring import accuracy, flip_rate, log_loss, swap_gap

SWAPPED = 200
"""Battles of a fold that are predicted in both orders to measure swap gap and flip rate."""

Say = Callable[[str], None]


def cross_validate(run: Run, folds: Sequence[int] | None = None, say: Say = lambda _: None) -> dict[str, Any]:
    """Train one model per fold, predict the fold it did not see and the test battles; returns metrics.json.

    A fold that is finished and whose identity (experiment, data, split, code) has not changed is used again, an
    interrupted fine-tuning goes on from its last whole epoch, and everything else starts anew.
    """
    experiment, train, test = run.experiment, run.train, run.test
    member = assign_folds(train, experiment.folds, experiment.salt)
    # Without the teacher's probabilities: another teacher is another experiment on the same battles.
    data_hash = replace(train, soft=None).content_hash()
    data = {"name": run.data.name, "hash": data_hash, "battles": len(train)}
    refuse_other_battles(run, data)
    identity = _identity(experiment, train.content_hash())
    if test is not None and test.repairs:
        say(f"{run.data.path}: {len(test.repairs)} repairs in the test file; the first: {test.repairs[0]}")
    write_text(run.folder / RUN_FILE, experiment.to_toml())
    (run.folder / "test.csv").unlink(missing_ok=True)
    for fold in folds if folds is not None else range(experiment.folds):
        _fold(run, fold, {"identity": identity, "data": data}, member == fold, say)
    done = finished_folds(run.folder, experiment.folds, identity)
    rows = np.isin(member, list(done))
    if not rows.any():
        raise UserError(f"{experiment.label}: no battle is in fold {', '.join(map(str, done))}; nothing to score.")
    parts = [read_predictions(run.folder / f"fold{fold}" / "oof.csv") for fold in done]
    ids = np.concatenate([part.id for part in parts])
    whole = Predictions(ids, np.concatenate([part.proba for part in parts])).align(train.id[rows])
    whole.write(run.folder / "oof.csv")
    _write_test(run, list(done))
    _write_history(run, done)
    metrics = {
        "label": experiment.label,
        "experiment": experiment.resolved(),
        "data": data,
        "folds": sorted(done),
        "log_loss": log_loss(whole.proba, train.labels[rows]),
        "accuracy": accuracy(whole.proba, train.labels[rows]),
        **_summary(list(done.values())),
        "identity": identity,
        "predictions": predictions_hash(whole),
    }
    write_json(run.folder / "metrics.json", metrics)
    return metrics


def _fold(run: Run, fold: int, start: dict[str, Any], scored_rows: np.ndarray[Any, Any], say: Say) -> None:
    """Train, predict and save one fold, or as much of that as is not done yet."""
    folder, test = run.folder / f"fold{fold}", run.test
    place = f"{run.experiment.label}, fold {fold}"
    seen, scored = run.train.take(~scored_rows), run.train.take(scored_rows)
    test_hash = test.content_hash() if test is not None else ""
    done = read_fold(folder)
    if done and done["identity"] == start["identity"] and read_kept(folder / "oof.csv", scored.id):
        if test is None or (done["test_hash"] == test_hash and read_kept(run.test_file(fold), test.id)):
            say(f"{place}: finished before, used again{_score(done)}")
            return
        say(f"{place}: finished before; predicting the new test battles")
        Predictions(test.id, load_model(folder).predict_proba(test)).write(run.test_file(fold))
        write_json(folder / "fold.json", done | {"test_hash": test_hash})
        return
    if not len(seen):
        raise UserError(f"{place}: all {len(scored):,} battles are in this fold, so there is none to learn from.")
    started = read_json(folder / "started.json")
    if done or not started or started.get("identity") != start["identity"]:
        if done or started:
            say(f"{place}: what was here is of another experiment, encoder or code, or damaged; starting anew")
        if folder.exists():
            shutil.rmtree(folder)
        run.test_file(fold).unlink(missing_ok=True)
        write_json(folder / "started.json", start)
    say(f"{place}: training on {len(seen):,} battles")
    restart_peak_memory()
    begun = time.perf_counter()
    model = run.experiment.build()
    model.fit(seen, folder)
    trained = time.perf_counter()
    proba = model.predict_proba(scored) if len(scored) else np.empty((0, 3))
    predicted = time.perf_counter()
    report = _plain(model.report())
    some = scored.take(slice(SWAPPED))
    swapped = model.predict_proba(some.swap())
    Predictions(scored.id, proba).write(folder / "oof.csv")
    if test is not None:
        Predictions(test.id, model.predict_proba(test)).write(run.test_file(fold))
    save_model(model, folder)
    result = {
        "identity": start["identity"],
        "test_hash": test_hash,
        "battles": len(scored),
        "log_loss": log_loss(proba, scored.labels) if len(scored) else None,
        "training_seconds": trained - begun,
        "predict_seconds": predicted - trained,
        "swap_gap": swap_gap(proba[:SWAPPED], swapped) if len(some) else 0.0,
        "flip_rate": flip_rate(proba[:SWAPPED], swapped) if len(some) else 0.0,
        "peak_memory_mb": peak_memory_mb(),
        "symmetric": model.symmetric,
        "report": report,
        "versions": versions(),
        "commit": commit(),
    }
    write_json(folder / "fold.json", result)
    # Only now: a run that is killed while it predicts need not train again.
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    say(f"{place}: {len(scored):,} battles, {trained - begun:.0f} s{_score(result)}")
    for warning in report.get("warnings", []):
        say(f"{place}: {warning}")


def _score(done: dict[str, Any]) -> str:
    return (
        "; no battle has its prompt in this fold"
        if done["log_loss"] is None
        else f" (log loss {done['log_loss']:.4f})"
    )


def _summary(folds: list[dict[str, Any]]) -> dict[str, Any]:
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


def _write_test(run: Run, folds: Sequence[int]) -> None:
    """test.csv, the geometric mean over the fold models that are done; no earlier configuration's is left."""
    kept = run.folder / "test.csv"
    members = [] if run.test is None else [read_kept(run.test_file(fold), run.test.id) for fold in folds]
    whole = [member for member in members if member is not None]
    # A fold that was not asked for this time may have seen another test file: then `submit` predicts anew.
    if whole and len(whole) == len(folds):
        geometric_mean(whole).write(kept)
    else:
        kept.unlink(missing_ok=True)


def _write_history(run: Run, folds: dict[int, dict[str, Any]]) -> None:
    """history.csv and its curves, for models that are trained epoch by epoch."""
    files = run.folder / "history.csv", run.folder / "curves.png"
    rows = [{"Fold": fold, **row} for fold, done in folds.items() for row in done["report"].get("history", [])]
    if not rows:
        for file in files:
            file.unlink(missing_ok=True)
        return
    from pairrank.curves import draw_curves, write_history

    write_history(rows, files[0])
    draw_curves(rows, files[1])


def _identity(experiment: Experiment, data_hash: str) -> str:
    """What a fold's result depends on: model, split, data, encoder and code; not the file's prose or name."""
    resolved = experiment.resolved()
    resolved = {key: resolved[key] for key in ("model", "split")}
    code = [code_hash(f"pairrank.models.{experiment.model}"), code_hash("pairrank.folds")]
    text = json.dumps([resolved, data_hash, code, _encoder_hash(experiment)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _encoder_hash(experiment: Experiment) -> str:
    if not experiment.parameters.get("encoder"):
        return ""
    from pairrank.encoders import find_encoder

    return find_encoder(experiment.parameters["encoder"]).sha256


def _plain(value: Any) -> Any:
    """A model's report as JSON can hold it: numpy's numbers as Python's, NaN (a diverged loss) as null."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
