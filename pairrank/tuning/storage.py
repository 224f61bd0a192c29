"""Workers share a study through a database, which records the worker and the result of each trial."""

import os
import re
import socket
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any

import optuna
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import Connection, Engine, event, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from pairrank.errors import UserError

HEARTBEAT = 10
"""Seconds between two heartbeats of a worker."""
GRACE = 60
"""Seconds without a heartbeat after which another worker gets the trial."""
RETRIES = 3
"""How often a trial is repeated after its worker died. A setting that needs too much memory kills every worker."""
WAIT_SECONDS = 60
"""How long a worker waits while another one writes to the SQLite file."""
TABLE_TRIES = 10
"""How often a database is opened while another worker seems to create its tables."""
CONNECT_SECONDS = 10
"""How long a worker waits for a PostgreSQL server to answer."""

BINDING = "binding"
"""Attribute of a study: what all its trials have in common."""
OWN, WORKER, REASON, SETTINGS, SURPLUS = "own", "worker", "reason", "settings", "surplus"
"""Attributes of a trial: whether it has the experiment's own setting, its process, its error, its setting, and
whether it is surplus, because two workers requested the last trial at the same moment.
"""

optuna.logging.set_verbosity(optuna.logging.ERROR)


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Suppress Optuna's warnings: experimental features, plots of few trials, a step that is reported twice."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="optuna")
        warnings.filterwarnings("ignore", message="The reported value is ignored")
        yield


def open_study(url: str, name: str, binding: Mapping[str, str], first_setting: Mapping[str, Any]) -> Study:
    """Return the study of this name; a new one is created, with `first_setting` in its first trial.

    `binding` is what all trials must have in common, by its name in messages. Raises UserError for
    a database that cannot be used, and for an existing study with another binding.
    """
    storage = _open_storage(url)
    try:
        with quiet_optuna():
            study = optuna.create_study(storage=storage, study_name=name, direction="minimize")
        study.enqueue_trial(dict(first_setting), user_attrs={OWN: True})
        study.set_user_attr(BINDING, dict(binding))
    except optuna.exceptions.DuplicatedStudyError:
        study = optuna.load_study(storage=storage, study_name=name)
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise UserError(f"--storage {without_password(url)}: {first_line(error)}") from None
    _refuse_other(study, url, binding)
    return study


def _open_storage(url: str) -> RDBStorage:
    """Open a database with heartbeats; raises UserError if that is not possible."""
    try:
        options: dict[str, Any] = {"pool_pre_ping": True}
        if make_url(url).get_backend_name() == "sqlite":
            if make_url(url).database in (None, "", ":memory:"):
                raise ArgumentError("a database in memory cannot be shared, and is lost at the end")
            options = {"connect_args": {"timeout": WAIT_SECONDS}}
        elif make_url(url).get_backend_name() == "postgresql":
            options["connect_args"] = {"connect_timeout": CONNECT_SECONDS}
        for _ in range(TABLE_TRIES - 1):
            try:
                return _with_tables(url, options)
            except SQLAlchemyError as error:
                if "exist" not in str(error) and not isinstance(error, IntegrityError):
                    raise
                time.sleep(0.5)  # another worker is creating the tables
        return _with_tables(url, options)
    except (NoSuchModuleError, ImportError):
        raise UserError(
            f"--storage {without_password(url)}: this database needs a driver that is not installed. For "
            "postgresql:// run: pip install 'psycopg[binary]'"
        ) from None
    except ArgumentError:
        raise UserError(
            f"--storage {without_password(url)}: expected the URL of a database, such as sqlite:///study.db or "
            "postgresql://user:password@host/tuning."
        ) from None
    except (SQLAlchemyError, RuntimeError) as error:
        # RuntimeError: the study was written by another version of Optuna, which the message states.
        raise UserError(
            f"--storage {without_password(url)}: this database cannot be used ({first_line(error)}). Check that it "
            "exists and contains nothing but studies."
        ) from None


def _with_tables(url: str, options: dict[str, Any]) -> RDBStorage:
    with quiet_optuna():
        storage = RDBStorage(
            url,
            engine_kwargs=options,
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
            heartbeat_stale_trial_callback=_requeue_callback(RETRIES),
        )
    if storage.engine.dialect.name == "sqlite":
        _lock_before_reading(storage.engine)
    return storage


def _lock_before_reading(engine: Engine) -> None:
    """Make an SQLite transaction take its lock at the start instead of at its first write.

    Optuna takes a queued trial by reading its state and then writing it, and asks the database to lock what it
    reads. SQLite does not do so, and two workers would take the same trial. Source: SQLAlchemy's recipe for
    transactions of pysqlite.
    """

    @event.listens_for(engine, "connect")
    def _begin_by_hand(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # connections that are open already lack these listeners


def _refuse_other(study: Study, url: str, binding: Mapping[str, str]) -> None:
    """Raise UserError if the study has another binding."""
    for _ in range(10):
        if (kept := study.user_attrs.get(BINDING)) is not None:
            break
        time.sleep(0.5)  # another worker is creating it
    if kept is None:
        raise UserError(
            f"--storage {without_password(url)}: the study {study.study_name!r} in it was not created "
            f"completely by `tune`. {_remedy(study, url)}"
        )
    if other := [what for what, value in binding.items() if kept.get(what) != value]:
        raise UserError(
            f"--storage {without_password(url)}: the study {study.study_name!r} in it was made with "
            f"other {', other '.join(other)}, so its trials are not comparable. {_remedy(study, url)}"
        )


def _remedy(study: Study, url: str) -> str:
    return (
        "Use another --storage, or remove the study: "
        f"optuna delete-study --storage {without_password(url)} --study-name {study.study_name!r}"
    )


def without_password(url: str) -> str:
    """Return the URL of a database without its password."""
    with suppress(ArgumentError):
        url = make_url(url).render_as_string(hide_password=True)
    # Also in a text that is not a valid URL, and where the password is among the options.
    url = re.sub(r"(?<=://)([^:@]*):.*(?=@)", r"\1:***", url)
    return re.sub(r"(?<=password=)[^&]*", "***", url)


def first_line(error: Exception) -> str:
    """Return the first line of a database error, without the SQL statement that caused it."""
    return next(iter(str(error).splitlines()), type(error).__name__)


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
    """Put an interrupted trial back into the queue."""
    with quiet_optuna():
        _requeue_callback(None)(study, deepcopy(find_trial(study, number)))


def _requeue_callback(most: int | None) -> RetryHeartbeatStaleTrialCallback:
    """Return a callback that puts a trial back into the queue, with the losses that it has reported."""
    return RetryHeartbeatStaleTrialCallback(max_retry=most, inherit_intermediate_values=True)


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
        if not is_begun and begun and datetime.now() - begun > timedelta(seconds=GRACE):
            try:
                study.tell(trial.number, state=TrialState.FAIL)
            except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
                continue  # another worker was faster and puts the trial back
            requeue(study, trial.number)
