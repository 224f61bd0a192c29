"""Workers on any machine run the trials of one study until it has enough, even if some workers are killed."""

import json
import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from pairrank.errors import UserError
from pairrank.files import read_json, write_json
from pairrank.memo import memo_scope
from pairrank.tuning.database import GRACE, HEARTBEAT, SETTINGS, first_line, quiet_optuna
from pairrank.tuning.search import Search, best_trial
from pairrank.tuning.space import changed
from pairrank.tuning.storage import (
    OWN,
    REASON,
    SURPLUS,
    find_trial,
    finished,
    has_room,
    original_of,
    position_of,
    record_worker,
    requeue,
    requeue_stale,
    running,
)
from pairrank.tuning.trials import TuningFold, evaluate, progress_of, tuning_folds

logger = logging.getLogger(__name__)


def work(search: Search, deadline: float | None) -> Study:
    """Run trials until the study has enough or `deadline` (of `time.time`) has passed; return the study.

    A trial that fails is reported and does not stop the others. On Ctrl-C the trial goes back into the queue.
    Raises UserError if the database is lost, and if the experiment's own setting has failed, because all others are
    compared with it.
    """
    try:
        with search.joined() as study:
            if has_room(study, search.trials) or running(study):
                with search.exclusive():
                    folds = tuning_folds(search.inside, search.folds)
                with memo_scope():
                    _take_trials(search, study, folds, deadline)
            return study
    except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
        reason = first_line(error)
        raise UserError(f"the study's database was lost ({reason}). The same command resumes.") from None


def _take_trials(search: Search, study: Study, folds: Sequence[TuningFold], deadline: float | None) -> None:
    """Run trials one after another, and wait for those that other workers have begun."""
    waiting = False
    while deadline is None or time.time() < deadline:
        requeue_stale(study)
        _refuse_failed_reference(study)
        if has_room(study, search.trials):
            _take_trial(search, study, folds)
        elif others := running(study):
            if not waiting:
                logger.info(
                    f"All trials are taken. Waiting for the last {len(others)}, which other workers are running."
                )
            waiting = True
            time.sleep(min(HEARTBEAT, 5) / 5)
        else:
            return


def _take_trial(search: Search, study: Study, folds: Sequence[TuningFold]) -> None:
    """Run one trial and log its result."""
    taken: list[int] = []

    def objective(trial: Trial) -> float:
        taken.append(trial.number)
        if position_of(study, trial.number) >= search.trials:
            trial.set_user_attr(SURPLUS, True)
            raise _SurplusError
        return _value(search, study, folds, trial)

    try:
        with quiet_optuna():
            # The error of a failed trial keeps its fine-tuned model in memory until garbage is collected.
            collect = progress_of(search.run.experiment) == "epochs"
            study.optimize(objective, n_trials=1, catch=(Exception,), gc_after_trial=collect)
    except KeyboardInterrupt:
        if taken and find_trial(study, taken[0]).state == TrialState.FAIL:
            requeue(study, taken[0])
        raise
    except UnboundLocalError as error:
        # A defect of Optuna if Ctrl-C comes while it writes a result; the trial is found stale after a minute.
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    except (optuna.exceptions.UpdateFinishedTrialError, ValueError):
        if not taken or not find_trial(study, taken[0]).state.is_finished():
            raise
        logger.warning(
            f"Trial {taken[0]} was given to another worker, because this one sent no heartbeat for {GRACE} s."
        )
        return
    if SURPLUS not in (trial := find_trial(study, taken[0])).user_attrs:
        logger.info(_describe(search, study, trial))
        shutil.rmtree(_trial_folder(search, study, trial.number), ignore_errors=True)


def _refuse_failed_reference(study: Study) -> None:
    """Raise UserError if the experiment's own setting has failed."""
    for trial in finished(study):
        if OWN in trial.user_attrs and trial.state == TrialState.FAIL:
            reason = trial.user_attrs.get(REASON, "its worker died")
            raise UserError(
                f"the experiment's own setting has failed, and all others are compared with it: {reason} "
                "Correct the experiment's file; that starts a new study."
            )


class _SurplusError(Exception):
    """Raised if another worker took the last trial at the same moment."""


def _value(search: Search, study: Study, folds: Sequence[TuningFold], trial: Trial) -> float:
    """Return the log loss of the setting that a trial suggests; raises TrialPruned if it is stopped early."""
    record_worker(study, trial)
    own = OWN in trial.user_attrs

    def report(step: int, loss: float) -> None:
        trial.report(loss, step)
        # All others are compared with the experiment's own setting, so that one needs a value.
        if not own and trial.should_prune():
            raise optuna.TrialPruned

    try:
        settings = search.space.suggest(trial)
        trial.set_user_attr(SETTINGS, settings)
        experiment = changed(search.inside.experiment, settings)
        folder = _trial_folder(search, study, trial.number)
        _clear_unless_of(folder, {"binding": search.binding, "settings": settings})
        return evaluate(experiment, folds, folder, report)
    except (optuna.TrialPruned, optuna.exceptions.UpdateFinishedTrialError, optuna.exceptions.StorageInternalError):
        raise
    except Exception as error:
        trial.set_user_attr(REASON, f"{type(error).__name__}: {error}"[:500])
        raise


def _trial_folder(search: Search, study: Study, number: int) -> Path:
    """Return the folder of an unfinished trial, from which its repetition resumes."""
    return search.folder / "trials" / str(original_of(study, number))


def _clear_unless_of(folder: Path, trial: dict[str, Any]) -> None:
    """Empty the folder if it belongs to a trial of another study, such as one that was deleted."""
    file = folder / "trial.json"
    trial = json.loads(json.dumps(trial))  # JSON has no tuples
    if read_json(file) != trial:
        shutil.rmtree(folder, ignore_errors=True)
        write_json(file, trial)


def _describe(search: Search, study: Study, trial: FrozenTrial) -> str:
    """Describe in one line how a trial ended."""
    done = finished(study)
    seconds = trial.duration.total_seconds() if trial.duration else 0.0
    line = f"trial {trial.number} ({len(done)} of {search.trials}): "
    if trial.state == TrialState.COMPLETE:
        line += f"{trial.value:.4f}"
    elif trial.state == TrialState.PRUNED:
        step, loss = max(trial.intermediate_values.items())
        line += f"pruned at step {step}, at {loss:.4f} on the first fold"
    else:
        line += f"failed: {trial.user_attrs.get(REASON, 'its worker died')}"
    best = best_trial(study)
    return line + (f", {seconds:.0f} s" if best is None else f", {seconds:.0f} s; best {best.value:.4f}")
