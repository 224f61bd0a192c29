"""Workers take trials from one study until it has enough: here or elsewhere, killed and restarted or not."""

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
from pairrank.tuning.search import Search, best_of
from pairrank.tuning.space import changed
from pairrank.tuning.storage import (
    HEARTBEAT,
    OWN,
    REASON,
    SETTINGS,
    SURPLUS,
    finished,
    first_line,
    first_of,
    is_open,
    place_of,
    quiet_optuna,
    retry,
    revive,
    running,
    sign_on,
    trial_of,
)
from pairrank.tuning.trials import Cut, cut_folds, evaluate, progress_of

logger = logging.getLogger(__name__)


def work(search: Search, deadline: float | None) -> Study:
    """Take trials until the study has enough or `deadline` (of `time.time`) is past; returns the study.

    A trial that fails says why and is none of the others' business. On Ctrl-C the trial goes back into the queue.
    Raises UserError where the database is lost, and where the experiment's own setting has failed: without its
    value no other could be judged.
    """
    study = search.open()
    if is_open(study, search.trials) or running(study):
        with search.alone():
            cuts = cut_folds(search.inside, search.folds)
        with memo_scope():
            try:
                _take_trials(search, study, cuts, deadline)
            except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
                told = first_line(error)
                raise UserError(f"the study's database was lost ({told}). The same command goes on.") from None
    return study


def _take_trials(search: Search, study: Study, cuts: Sequence[Cut], deadline: float | None) -> None:
    waiting = False
    while deadline is None or time.time() < deadline:
        revive(study)
        _refuse_hopeless(study)
        if is_open(study, search.trials):
            _take_trial(search, study, cuts)
        elif others := running(study):
            if not waiting:
                logger.info(
                    f"All trials are taken; waiting for the last {len(others)}, which other workers are at."
                )
            waiting = True
            time.sleep(min(HEARTBEAT, 5) / 5)
        else:
            return


def _take_trial(search: Search, study: Study, cuts: Sequence[Cut]) -> None:
    taken: list[int] = []

    def objective(trial: Trial) -> float:
        taken.append(trial.number)
        if place_of(study, trial.number) >= search.trials:
            trial.set_user_attr(SURPLUS, True)
            raise _SurplusError
        return _value(search, study, cuts, trial)

    try:
        with quiet_optuna():
            # A fine-tuned model that ended by an error hangs on that error until garbage is collected.
            collect = progress_of(search.run.experiment) == "epochs"
            study.optimize(objective, n_trials=1, catch=(Exception,), gc_after_trial=collect)
    except KeyboardInterrupt:
        if taken and trial_of(study, taken[0]).state == TrialState.FAIL:
            retry(study, taken[0])
        raise
    except UnboundLocalError as error:
        # Optuna's own slip where Ctrl-C comes while it writes a result; the trial is found dead in a minute.
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    except (optuna.exceptions.UpdateFinishedTrialError, ValueError):
        if not taken or not trial_of(study, taken[0]).state.is_finished():
            raise
        logger.warning(
            f"Trial {taken[0]} had been given up, since this worker gave no sign of life; another goes on with it."
        )
        return
    if SURPLUS not in (trial := trial_of(study, taken[0])).user_attrs:
        logger.info(_told(search, study, trial))
        shutil.rmtree(_trial_folder(search, study, trial.number), ignore_errors=True)


def _refuse_hopeless(study: Study) -> None:
    for trial in finished(study):
        if OWN in trial.user_attrs and trial.state == TrialState.FAIL:
            reason = trial.user_attrs.get(REASON, "its worker died")
            raise UserError(
                f"the experiment's own setting has failed, and all others would be judged beside it: {reason} "
                "Change the experiment's file: that is another study."
            )


class _SurplusError(Exception):
    """Another worker took the last trial at the same moment."""


def _value(search: Search, study: Study, cuts: Sequence[Cut], trial: Trial) -> float:
    sign_on(study, trial)
    own = OWN in trial.user_attrs

    def report(step: int, loss: float) -> None:
        trial.report(loss, step)
        # The setting that all others are compared with must have a value.
        if not own and trial.should_prune():
            raise optuna.TrialPruned

    try:
        settings = search.space.suggest(trial)
        trial.set_user_attr(SETTINGS, settings)
        experiment = changed(search.inside.experiment, settings)
        folder = _trial_folder(search, study, trial.number)
        _keep_only_of(folder, {"binding": search.binding, "settings": settings})
        return evaluate(experiment, cuts, folder, report)
    except (optuna.TrialPruned, optuna.exceptions.UpdateFinishedTrialError, optuna.exceptions.StorageInternalError):
        raise
    except Exception as error:
        trial.set_user_attr(REASON, f"{type(error).__name__}: {error}"[:500])
        raise


def _trial_folder(search: Search, study: Study, number: int) -> Path:
    """What is kept of a trial until it is finished; one that is tried again goes on from it."""
    return search.folder / "trials" / str(first_of(study, number))


def _keep_only_of(folder: Path, trial: dict[str, Any]) -> None:
    """Remove what another study left under this number, such as one that was deleted since."""
    file = folder / "trial.json"
    trial = json.loads(json.dumps(trial))  # JSON knows no tuples
    if read_json(file) != trial:
        shutil.rmtree(folder, ignore_errors=True)
        write_json(file, trial)


def _told(search: Search, study: Study, trial: FrozenTrial) -> str:
    """One line on a trial that has ended."""
    done = finished(study)
    seconds = trial.duration.total_seconds() if trial.duration else 0.0
    line = f"trial {trial.number} ({len(done)} of {search.trials}): "
    if trial.state == TrialState.COMPLETE:
        line += f"{trial.value:.4f}"
    elif trial.state == TrialState.PRUNED:
        step, loss = max(trial.intermediate_values.items())
        line += f"pruned at step {step}, at {loss:.4f} on the first fold alone"
    else:
        line += f"failed: {trial.user_attrs.get(REASON, 'its worker died')}"
    best = best_of(study)
    return line + (f", {seconds:.0f} s" if best is None else f", {seconds:.0f} s; best {best.value:.4f}")
