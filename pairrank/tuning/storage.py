"""Workers share a study, which records the worker and the result of each trial."""

import os
import shlex
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from pairrank.errors import UserError
from pairrank.tuning import database
from pairrank.tuning.database import (
    RETRIES,
    database_errors,
    name_of,
    open_storage,
    put_back,
    quiet_optuna,
    without_password,
)

BINDING = "binding"
"""Attribute of a study: what all its trials have in common."""
OWN, WORKER, REASON, SURPLUS = "own", "worker", "reason", "surplus"
"""Attributes of a trial: whether it has the experiment's own setting, its process, its error, and whether it is
surplus, because two workers requested the last trial at the same moment.
"""


def open_study(
    place: str | Path,
    name: str,
    binding: Mapping[str, str],
    first_setting: Mapping[str, Any],
    alone: bool = False,
) -> Study:
    """Return the study of this name; a new one is created, with `first_setting` in its first trial.

    `place` is an SQLite file or the URL of a database. `binding` is what all trials must have in common, by its
    name in messages. `alone` says that no other worker can be creating the study at the same time. Raises UserError
    for a database that cannot be used, and for an existing study with another binding.
    """
    with database_errors(place):
        storage = open_storage(place)
        with suppress(optuna.exceptions.DuplicatedStudyError), quiet_optuna():
            optuna.create_study(storage=storage, study_name=name, direction="minimize")
            alone = True  # whoever has created it completes it
        study = optuna.load_study(storage=storage, study_name=name)
        _complete(study, binding, first_setting, alone)
    _refuse_other(study, place, binding)
    return study


def _complete(study: Study, binding: Mapping[str, str], first_setting: Mapping[str, Any], alone: bool) -> None:
    """Add the first trial and, last, the binding to a study without it, whose creator may have been killed."""
    for _ in range(0 if alone else 10):
        if BINDING in study.user_attrs:
            return
        time.sleep(0.5)  # another worker may be creating it
    trials = study.get_trials(deepcopy=False)
    if BINDING not in study.user_attrs and all(trial.state == TrialState.WAITING for trial in trials):
        if not trials:
            study.enqueue_trial(dict(first_setting), user_attrs={OWN: True})
        study.set_user_attr(BINDING, dict(binding))


def _refuse_other(study: Study, place: str | Path, binding: Mapping[str, str]) -> None:
    """Raise UserError if the study has another binding."""
    kept = study.user_attrs.get(BINDING)
    if not isinstance(kept, Mapping):
        raise UserError(
            f"{name_of(place)}: the study {study.study_name!r} in it was not created completely by `tune`. "
            f"{_remedy(study, place)}"
        )
    if other := [what for what, value in binding.items() if kept.get(what) != value]:
        raise UserError(
            f"{name_of(place)}: the study {study.study_name!r} in it was made with other "
            f"{', other '.join(other)}, so its trials are not comparable. {_remedy(study, place)}"
        )


def _remedy(study: Study, place: str | Path) -> str:
    url = f"sqlite:///{place.as_posix()}" if isinstance(place, Path) else without_password(place)
    return (
        "Use another --storage, or remove the study: "
        f"optuna delete-study --storage {shlex.quote(url)} --study-name {shlex.quote(study.study_name)}"
    )


# How trials ended


def finished(study: Study) -> list[FrozenTrial]:
    """Return the finished trials: complete, pruned or failed.

    A trial whose worker died is left out if it is repeated, and included if its worker died in every repetition.
    """
    return [trial for trial in _counting(study) if trial.state.is_finished()]


def running(study: Study) -> list[FrozenTrial]:
    """Return the trials that a worker has begun and not finished; the worker may have died since."""
    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def count_requeued(study: Study) -> int:
    """Return how many trials were interrupted and repeated."""
    return len(_requeued_numbers(study.get_trials(deepcopy=False)))


def has_room(study: Study, wanted: int) -> bool:
    """Return whether fewer than `wanted` trials have been begun."""
    return len(_counting(study)) < wanted


def position_of(study: Study, number: int) -> int:
    """Return how many earlier trials are finished or running; interrupted ones that are repeated are left out.

    Trials that begin at the same moment have different positions, and a repetition has the position of its
    original.
    """
    mine = original_of(study, number)
    return sum(_first(trial) < mine for trial in _counting(study))


def original_of(study: Study, number: int) -> int:
    """Return the number of the trial that this one repeats, or its own number."""
    return _first(find_trial(study, number))


def _first(trial: FrozenTrial) -> int:
    with quiet_optuna():
        first = RetryHeartbeatStaleTrialCallback.retried_trial_number(trial)
    return trial.number if first is None else first


def _counting(study: Study) -> list[FrozenTrial]:
    trials = study.get_trials(deepcopy=False)
    out = _requeued_numbers(trials) | {trial.number for trial in trials if SURPLUS in trial.user_attrs}
    return [trial for trial in trials if trial.state != TrialState.WAITING and trial.number not in out]


def _requeued_numbers(trials: Sequence[FrozenTrial]) -> set[int]:
    with quiet_optuna():
        return {number for trial in trials for number in RetryHeartbeatStaleTrialCallback.retry_history(trial)}


def find_trial(study: Study, number: int) -> FrozenTrial:
    """Return the trial of this number, which must not be changed."""
    return next(trial for trial in study.get_trials(deepcopy=False) if trial.number == number)


def requeue(study: Study, number: int) -> None:
    """Put a trial that its user has interrupted back into the queue, however often that happens."""
    put_back(study, find_trial(study, number), most=None)


def requeue_all(study: Study) -> None:
    """Put every interrupted trial back into the queue; no worker may be alive.

    A worker may have been killed after it had ended a trial as failed and before it put the trial back: such a
    trial has no error. The experiment's own setting is repeated without limit, because the search needs its value.
    """
    for trial in running(study):
        study.tell(trial.number, state=TrialState.FAIL)
    trials = study.get_trials(deepcopy=False)
    known = _requeued_numbers(trials)
    for trial in trials:
        has_failed = trial.state == TrialState.FAIL and not {REASON, SURPLUS} & trial.user_attrs.keys()
        if has_failed and trial.number not in known:
            put_back(study, trial, None if OWN in trial.user_attrs else RETRIES)


def record_worker(study: Study, trial: Trial) -> None:
    """Record a first heartbeat of a trial, and its worker.

    A trial without any heartbeat never counts as stale. Optuna sends the first one from another thread, which may
    be too late if the worker is killed at once.
    """
    storage: Any = study._storage
    storage.record_heartbeat(trial._trial_id)
    trial.set_user_attr(WORKER, [trial.number, socket.gethostname(), os.getpid()])


def requeue_stale(study: Study) -> None:
    """Put trials whose worker died back into the queue."""
    with quiet_optuna():
        optuna.storages.fail_stale_trials(study)
    # Optuna does not find a worker that died before its first heartbeat.
    for trial in running(study):
        begun = trial.datetime_start
        # A repeated trial has the attributes of its original.
        is_begun = trial.user_attrs.get(WORKER, [None])[0] == trial.number
        if not is_begun and begun and datetime.now() - begun > timedelta(seconds=database.GRACE):
            try:
                study.tell(trial.number, state=TrialState.FAIL)
            except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
                continue  # another worker was faster and puts the trial back
            requeue(study, trial.number)
