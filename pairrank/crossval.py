"""Every battle is judged by a model that never saw its prompt."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pairrank.battles import Battles
from pairrank.config import Experiment
from pairrank.data_folder import DataFolder
from pairrank.errors import UserError
from pairrank.files import write_json, write_text
from pairrank.folds import assign_folds
from pairrank.models.base import load_model, save_model
from pairrank.predictions import Predictions, geometric_mean, read_predictions
from pairrank.provenance import code_hash, commit, peak_memory_mb, versions
from pairrank.scoring import accuracy, log_loss, swap_gap

SWAPPED = 500
"""Battles of a fold that are predicted in both orders to measure the swap gap."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """An experiment on its data: what makes its result, and the folder that holds it."""

    experiment: Experiment
    data: DataFolder
    folder: Path

    @property
    def train(self) -> Battles:
        """The battles with winners, with teacher's probabilities where the experiment names them."""
        battles = self.data.train
        if self.experiment.limit:
            battles = battles.take(slice(self.experiment.limit))
        if self.experiment.soft_targets:
            teacher = read_predictions(self.experiment.soft_targets)
            battles = replace(battles, soft=teacher.align(battles.id, self.experiment.soft_targets).proba)
        return battles


def start_run(experiment: Experiment, data: DataFolder, runs: Path) -> Run:
    """Settle which encoder is used, and so the run's name and folder; raises UserError if none can be had."""
    wanted = experiment.parameters.get("encoder")
    if wanted:
        from pairrank.encoders import find_encoder

        found = find_encoder(wanted)
        parameters = {**experiment.parameters, "encoder": [found.name]}
        used = "" if found.name == wanted[0] else found.name
        experiment = replace(experiment, parameters=parameters, encoder=used)
    return Run(experiment, data, runs / experiment.label)


def cross_validate(run: Run, folds: Sequence[int] | None = None, say: Say = lambda _: None) -> dict[str, Any]:
    """Train one model per fold, predict the fold it did not see and the test battles; returns metrics.json.

    A fold that is finished and whose identity (experiment, data, split, code) has not changed is used again, an
    interrupted fine-tuning goes on from its last whole epoch, and everything else starts anew.
    """
    experiment, train, test = run.experiment, run.train, run.data.test
    labels = train.labels
    member = assign_folds(train, experiment.folds, experiment.salt)
    data_hash = train.content_hash()
    _refuse_other_data(run.folder, run.data.name, data_hash)
    identity = _identity(experiment, data_hash)
    if test is not None and test.repairs:
        say(f"{run.data.path}: {len(test.repairs)} repairs in the test file; the first: {test.repairs[0]}")
    write_text(run.folder / "experiment.toml", experiment.to_toml())
    for fold in folds if folds is not None else range(experiment.folds):
        seen, scored = train.take(member != fold), train.take(member == fold)
        _fold(run, fold, identity, seen, scored, test, say)
    done = _finished(run.folder, experiment.folds, identity)
    rows = np.isin(member, list(done))
    parts = [read_predictions(run.folder / f"fold{fold}" / "oof.csv") for fold in done]
    ids = np.concatenate([part.id for part in parts])
    whole = Predictions(ids, np.concatenate([part.proba for part in parts])).align(train.id[rows])
    whole.write(run.folder / "oof.csv")
    if test is not None:
        members = [read_predictions(run.folder / "test" / f"fold{fold}.csv") for fold in done]
        geometric_mean(members).align(test.id).write(run.folder / "test.csv")
    metrics = {
        "label": experiment.label,
        "experiment": experiment.resolved(),
        "data": {"name": run.data.name, "hash": data_hash, "battles": len(train)},
        "folds": sorted(done),
        "log_loss": log_loss(whole.proba, labels[rows]),
        "accuracy": accuracy(whole.proba, labels[rows]),
        **_summary(list(done.values())),
        "versions": versions(),
        "commit": commit(),
        "code": identity,
    }
    write_json(run.folder / "metrics.json", metrics)
    _write_history(run.folder, done)
    return metrics


def predict_with(folder: Path, battles: Battles, models: Sequence[Any] | None = None) -> Predictions:
    """What a run says of new battles: the geometric mean over its fold models, as for its test battles."""
    members = models if models is not None else load_fold_models(folder)
    return geometric_mean([Predictions(battles.id, model.predict_proba(battles)) for model in members])


def load_fold_models(folder: Path) -> list[Any]:
    """The saved models of a run; raises UserError if there are none."""
    folders = sorted(file.parent for file in folder.glob("fold*/fold.json"))
    if not folders:
        raise UserError(f"{folder}: no trained models. Run the experiment first.")
    return [load_model(fold) for fold in folders]


def _fold(
    run: Run, fold: int, identity: str, seen: Battles, scored: Battles, test: Battles | None, say: Say
) -> None:
    """Train, predict and save one fold, or as much of that as is not done yet."""
    folder = run.folder / f"fold{fold}"
    place = f"{run.experiment.label}, fold {fold}"
    test_hash = test.content_hash() if test is not None else ""
    done = _read_json(folder / "fold.json")
    if done and done["identity"] == identity:
        if done["test_hash"] != test_hash and test is not None:
            say(f"{place}: finished before; predicting the new test battles")
            Predictions(test.id, load_model(folder).predict_proba(test)).write(_test_file(run, fold))
            write_json(folder / "fold.json", done | {"test_hash": test_hash})
        else:
            say(f"{place}: finished before, used again (log loss {done['log_loss']:.4f})")
        return
    started = _read_json(folder / "started.json")
    if not started or started["identity"] != identity:
        shutil.rmtree(folder, ignore_errors=True)
        write_json(folder / "started.json", {"identity": identity, "seconds": 0.0})
    say(f"{place}: training on {len(seen):,} battles")
    begun = time.perf_counter()
    model = run.experiment.build()
    model.fit(seen, folder)
    trained = time.perf_counter()
    proba = model.predict_proba(scored)
    predicted = time.perf_counter()
    report = model.report()
    some = scored.take(slice(SWAPPED))
    gap = swap_gap(proba[:SWAPPED], model.predict_proba(some.swap())) if len(some) else 0.0
    Predictions(scored.id, proba).write(folder / "oof.csv")
    if test is not None:
        Predictions(test.id, model.predict_proba(test)).write(_test_file(run, fold))
    save_model(model, folder)
    result = {
        "identity": identity,
        "test_hash": test_hash,
        "battles": len(scored),
        "log_loss": log_loss(proba, scored.labels) if len(scored) else None,
        "training_seconds": trained - begun,
        "predict_seconds": predicted - trained,
        "swap_gap": gap,
        "peak_memory_mb": peak_memory_mb(),
        "symmetric": model.symmetric,
        "report": report,
    }
    write_json(folder / "fold.json", result)
    say(f"{place}: log loss {result['log_loss']:.4f} on {len(scored):,} battles, {trained - begun:.0f} s")
    for warning in report.get("warnings", []):
        say(f"{place}: {warning}")


def _summary(folds: list[dict[str, Any]]) -> dict[str, Any]:
    """What the folds measured besides scores, added up or averaged over battles."""
    battles = sum(fold["battles"] for fold in folds)
    seconds = sum(fold["predict_seconds"] for fold in folds)
    reports = [fold["report"] for fold in folds]
    summary: dict[str, Any] = {
        "symmetric": folds[0]["symmetric"],
        "swap_gap": sum(fold["swap_gap"] * fold["battles"] for fold in folds) / battles,
        "training_seconds": sum(fold["training_seconds"] for fold in folds),
        "battles_per_second": battles / seconds if seconds else None,
        "peak_memory_mb": max(fold["peak_memory_mb"] for fold in folds),
        "parameters": reports[0].get("parameters"),
        "encoder": reports[0].get("encoder"),
        "device": reports[0].get("device"),
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


def _write_history(folder: Path, folds: dict[int, dict[str, Any]]) -> None:
    """history.csv and its curves, for models that are trained epoch by epoch."""
    rows = [{"Fold": fold, **row} for fold, done in folds.items() for row in done["report"].get("history", [])]
    if rows:
        from pairrank.curves import draw_curves, write_history

        write_history(rows, folder / "history.csv")
        draw_curves(rows, folder / "curves.png")


def _identity(experiment: Experiment, data_hash: str) -> str:
    """What a fold's result depends on: the resolved experiment, the data and the code; not the file's prose."""
    resolved = experiment.resolved()
    resolved = {key: resolved[key] for key in ("model", "split", "soft_targets")}
    code = [code_hash(f"pairrank.models.{experiment.model}"), code_hash("pairrank.folds")]
    encoder = _encoder_hash(experiment)
    text = json.dumps([resolved, data_hash, code, encoder], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _encoder_hash(experiment: Experiment) -> str:
    if not experiment.parameters.get("encoder"):
        return ""
    from pairrank.encoders import find_encoder

    return find_encoder(experiment.parameters["encoder"]).sha256


def _refuse_other_data(folder: Path, name: str, data_hash: str) -> None:
    before = _read_json(folder / "metrics.json")
    if before and before["data"]["hash"] != data_hash:
        raise UserError(
            f"{folder}: holds a run on other battles ({before['data']['name']}, {before['data']['battles']:,} of "
            f"them; these are {name}). Nothing was overwritten: give another folder with --runs."
        )


def _finished(folder: Path, count: int, identity: str) -> dict[int, dict[str, Any]]:
    found = {fold: _read_json(folder / f"fold{fold}" / "fold.json") for fold in range(count)}
    return {fold: done for fold, done in found.items() if done and done["identity"] == identity}


def _read_json(path: Path) -> dict[str, Any] | None:
    """The content of a JSON file; None where there is none, or it is damaged and so to be made again."""
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return value


def _test_file(run: Run, fold: int) -> Path:
    return run.folder / "test" / f"fold{fold}.csv"
