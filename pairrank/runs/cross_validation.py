"""Every battle is judged by a model that never saw its prompt."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from pairrank import distributed
from pairrank.data.battles import Battles
from pairrank.data.extra import ExtraUsage, add_extra
from pairrank.data.folds import prompt_keys
from pairrank.data.predictions import Predictions, predictions_hash, read_predictions
from pairrank.errors import UserError
from pairrank.evaluation.metrics import read_metrics, summarise
from pairrank.evaluation.scoring import accuracy, flip_rate, log_loss, swap_gap
from pairrank.files import read_json, write_json, write_text
from pairrank.models.base import Model, load_model, save_model
from pairrank.runs.experiment import RUN_FILE
from pairrank.runs.fold import SWAPPED, fit_and_predict, has_symmetric_inputs, shared
from pairrank.runs.folder import (
    finished_folds,
    is_of_other_battles,
    read_fold,
    read_kept,
    refuse_other_battles,
    test_file,
    write_history,
    write_test,
)
from pairrank.runs.identity import identity_of
from pairrank.runs.provenance import commit, peak_memory_mb, restart_peak_memory, versions
from pairrank.runs.run import Run, all_inputs, input_hashes, is_ready, tuned_on, with_inputs
from pairrank.training.tracking import tracked, untracked

NOT_NESTED = (
    "learned from inputs whose models have seen the winners of the scored fold, so its log loss may be off by .01 "
    "either way: [split] nested = true makes them anew inside each fold."
)
"""What a reader of such a number must know."""

TRACKED = ("log_loss", "training_seconds", "predict_seconds", "swap_gap", "flip_rate", "peak_memory_mb")
"""What of fold.json goes to a tracker, where one is in use."""

SCORES = {"log_loss": log_loss, "accuracy": accuracy}

Say = Callable[[str], None]


def cross_validate(run: Run, folds: Sequence[int] | None = None, say: Say = lambda _: None) -> dict[str, Any]:
    """Train one model per fold, predict the fold it did not see and the test battles; returns metrics.json.

    Inputs that are not whole are made first.

    A fold that is finished and whose identity (experiment, data, split, code) has not changed is used again, an
    interrupted fine-tuning goes on from its last whole epoch, and everything else starts anew.
    """
    experiment, train, test, member = run.experiment, run.battles, run.test, run.member
    refuse_other_battles(run.folder, _data_of(run))
    for each in run.inputs:
        if not is_ready(each):
            cross_validate(each, say=say)
    if test is not None and test.repairs:
        say(f"{run.data.path}: {len(test.repairs)} repairs in the test file; the first: {test.repairs[0]}")
    if run.chosen:
        # One file cannot say the settings of all folds, and run again it would make another experiment.
        (run.folder / RUN_FILE).unlink(missing_ok=True)
    else:
        write_text(run.folder / RUN_FILE, experiment.to_toml())
    (run.folder / "test.csv").unlink(missing_ok=True)
    start = _start(run)
    for fold in folds if folds is not None else range(experiment.folds):
        _fold(run, fold, start, say)
    identity = start["identity"]
    done = finished_folds(run.folder, experiment.folds, identity)
    rows = np.isin(member, list(done))
    if not rows.any():
        raise UserError(f"{experiment.label}: no battle is in fold {', '.join(map(str, done))}; nothing to score.")
    parts = [read_predictions(run.folder / f"fold{fold}" / "oof.csv") for fold in done]
    ids = np.concatenate([part.id for part in parts])
    whole = Predictions(ids, np.concatenate([part.proba for part in parts])).align(train.id[rows])
    whole.write(run.folder / "oof.csv")
    write_test(run.folder, run.test, list(done))
    history = write_history(run.folder, done)
    metrics = {
        "label": experiment.label,
        "experiment": experiment.resolved(),
        "data": start["data"],
        "inputs": input_hashes(run.inputs),
        "folds": sorted(done),
        **({"chosen": run.chosen} if run.chosen else {}),
        **({"history": history} if history else {}),
        **_scores(run, whole, rows),
        **_with_inputs_cost(run, summarise(list(done.values()))),
        "identity": identity,
        "predictions": predictions_hash(whole),
    }
    write_json(run.folder / "metrics.json", metrics)
    with tracked(f"{experiment.label}, all folds", experiment.resolved(), run.folder.parent) as log:
        log({name: value for name, value in metrics.items() if isinstance(value, int | float)})
    return metrics


def make_fold(run: Run, fold: int, say: Say) -> None:
    """One fold of `cross_validate`, whose inputs are whole: any number of processes may make others beside it."""
    refuse_other_battles(run.folder, _data_of(run))
    _fold(run, fold, _start(run), say)


def _start(run: Run) -> dict[str, Any]:
    """What a fold records when it begins; of another identity, it begins anew."""
    return {"identity": identity_of(run), "data": _data_of(run)}


def _data_of(run: Run) -> dict[str, Any]:
    return {"name": run.data.name, "hash": run.battles_hash, "battles": len(run.battles)}


def _scores(run: Run, whole: Predictions, rows: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, Any]:
    """Log loss and accuracy on the battles at `rows`, less those whose fold a search has seen; null of none."""
    seen = tuned_on(run.experiment)
    untouched = ~np.isin(run.member[rows], seen)
    proba, winner = whole.proba[untouched], run.battles.labels[rows][untouched]
    scores = {name: score(proba, winner) if len(winner) else None for name, score in SCORES.items()}
    return scores | ({"tuned_on": list(seen)} if seen else {})


def _with_inputs_cost(run: Run, summary: dict[str, Any]) -> dict[str, Any]:
    """What a run measured, where parameters and seconds are those of all that it builds on, too."""
    if not run.inputs:
        return summary
    alone = {key: summary[key] for key in ("training_seconds", "parameters")}
    below = [read_metrics(each.folder) for each in all_inputs(run)]
    told = [metrics.get("alone", metrics) for metrics in below]
    whole = {key: sum(each.get(key) or 0 for each in (alone, *told)) for key in alone}
    # Its own predictions per second would say nothing of what its inputs take.
    return summary | whole | {"alone": alone, "battles_per_second": None}


def _fold(run: Run, fold: int, start: dict[str, Any], say: Say) -> None:
    """Train, predict and save one fold, or as much of that as is not done yet."""
    folder, test, kept_test = run.folder / f"fold{fold}", run.test, test_file(run.folder, fold)
    place = f"{run.experiment.label}, fold {fold}"
    scored = run.train.take(run.member == fold)
    test_hash = run.test_hash
    done = read_fold(folder)
    if done and done["identity"] == start["identity"] and read_kept(folder / "oof.csv", scored.id):
        if test is None or (done["test_hash"] == test_hash and read_kept(kept_test, test.id)):
            say(f"{place}: finished before, used again{_score(done)}")
            return
        say(f"{place}: finished before; predicting the new test battles")
        _predict_test(run, fold, load_model(folder))
        write_json(folder / "fold.json", done | {"test_hash": test_hash})
        return
    if len(scored) == len(run.train):
        raise UserError(f"{place}: all {len(scored):,} battles are in this fold, so there is none to learn from.")
    started = read_json(folder / "started.json")
    if done or not started or started.get("identity") != start["identity"]:
        if done or started:
            say(f"{place}: what was here is of another experiment, encoder or code, or damaged; starting anew")
        if folder.exists():
            shutil.rmtree(folder)
        kept_test.unlink(missing_ok=True)
        write_json(folder / "started.json", start)
    with tracked(place, run.experiment.resolved(), run.folder.parent) as log:
        result = _train_fold(run, fold, scored, start, say)
        log({name: result[name] for name in TRACKED})
    say(f"{place}: {len(scored):,} battles, {result['training_seconds']:.0f} s{_score(result)}")
    for warning in result["report"].get("warnings", []):
        say(f"{place}: {warning}")


def _train_fold(run: Run, fold: int, scored: Battles, start: dict[str, Any], say: Say) -> dict[str, Any]:
    """Train a fold's model, predict with it and save both; returns fold.json."""
    folder = run.folder / f"fold{fold}"
    restart_peak_memory()
    # What is made anew inside the fold is part of the price.
    begun = time.perf_counter()
    seen, drawn = training_battles(run, fold, say)
    say(f"{run.experiment.label}, fold {fold}: training on {len(seen):,} battles")
    model = run.build(fold)
    with shared(run, fold, model):
        told = fit_and_predict(run, fold, model, seen)
    report = told.report
    if run.inputs and not run.experiment.nested and model.learns:
        report["warnings"] = [*report.get("warnings", []), NOT_NESTED]
    Predictions(scored.id, told.scored).write(folder / "oof.csv")
    if run.test is not None and told.test is not None:
        Predictions(run.test.id, told.test).write(test_file(run.folder, fold))
    save_model(model, folder)
    result = {
        "identity": start["identity"],
        "test_hash": run.test_hash,
        "battles": len(scored),
        "log_loss": log_loss(told.scored, scored.labels) if len(scored) else None,
        "training_seconds": told.trained_at - begun,
        "predict_seconds": told.predict_seconds,
        "swap_gap": swap_gap(told.scored[:SWAPPED], told.swapped) if len(scored) else 0.0,
        "flip_rate": flip_rate(told.scored[:SWAPPED], told.swapped) if len(scored) else 0.0,
        "peak_memory_mb": peak_memory_mb(),
        "symmetric": model.symmetric and has_symmetric_inputs(run),
        "report": report,
        "extra": [asdict(source) | {"used": source.used} for source in drawn],
        "versions": versions(),
        "commit": commit(),
    }
    write_json(folder / "fold.json", result)
    # Only now: a run that is killed while it predicts need not train again.
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return result


def help_the_first(runs: Sequence[Run]) -> None:
    """What the other processes of a run do until there is no more: train and predict its fine-tuned folds with it.

    They write only their share of a checkpoint.
    """
    known = {str(each.folder): each for run in runs for each in (*all_inputs(run), run)}
    while task := distributed.next_task():
        run, fold = known[task["folder"]], task["fold"]
        seen, _ = training_battles(run, fold, lambda _: None)
        model = run.build(fold)
        with shared(run, fold, model):
            fit_and_predict(run, fold, model, seen)


def training_battles(run: Run, fold: int, say: Say) -> tuple[Battles, list[ExtraUsage]]:
    """What one fold's model may learn from, and what became of each source of extra battles."""
    experiment, place = run.experiment, f"{run.experiment.label}, fold {fold}"
    scored_rows = run.member == fold
    seen = run.train.take(~scored_rows)
    if experiment.nested:
        inner = [_inside(run, fold, name, say) for name in experiment.inputs]
        seen = with_inputs(seen, inner, [each.folder / "oof.csv" for each in inner])
    if experiment.teacher:
        told = read_predictions(_inside(run, fold, experiment.teacher, say).folder / "oof.csv")
        seen = replace(seen, soft=told.align(seen.id).proba)
    scored_keys = set(prompt_keys(run.battles.take(scored_rows)))
    seen, drawn = add_extra(seen, experiment.extra, run.test_keys, scored_keys)
    for source in drawn:
        say(f"{place}: {source}")
    return seen, drawn


def _inside(run: Run, fold: int, name: str, say: Say) -> Run:
    """The finished run of an experiment that has only ever seen the training battles of this fold."""
    inner = run.inside(fold, name)
    if distributed.rank():
        return inner  # the first process has made it before it asked for help
    for each in (*all_inputs(inner), inner):
        # Cut otherwise, these training battles were others: nothing here is of use, and nobody's own work.
        if is_of_other_battles(each.folder, each.battles_hash):
            shutil.rmtree(each.folder)
    say(f"{run.experiment.label}, fold {fold}: making {name} anew, inside the training battles")
    # Always asked: unlike an input beside the run, it is no one's run, and must be of this code and these battles.
    with untracked():
        for each in (*all_inputs(inner), inner):
            cross_validate(each, sorted(set(each.member.tolist())), lambda text: say(f"  {text}"))
    return inner


def _predict_test(run: Run, fold: int, model: Model) -> None:
    """Keep what a fold's model says of the test battles, if there are any."""
    if (test := run.test_in(fold)) is not None:
        Predictions(test.id, model.predict_proba(test)).write(test_file(run.folder, fold))


def _score(done: dict[str, Any]) -> str:
    return (
        "; no battle has its prompt in this fold"
        if done["log_loss"] is None
        else f" (log loss {done['log_loss']:.4f})"
    )
