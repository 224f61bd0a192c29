"""A study is shared by all its workers through a database: who takes which trial, and what became of it."""

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
"""Seconds between two signs of life of a worker."""
GRACE = 60
"""Seconds without one after which its trial is given to another worker."""
RETRIES = 3
"""How often a trial is tried again whose worker died: a setting that needs too much memory kills every one."""
WAIT_SECONDS = 60
"""How long a worker waits for another's writing to an SQLite file."""
TABLE_TRIES = 10
"""How often a database is opened whose tables another worker seems to be making."""
CONNECT_SECONDS = 10
"""How long a worker waits for a PostgreSQL server to answer at all."""

BINDING, OWN, WORKER, REASON, SETTINGS, SURPLUS = "binding", "own", "worker", "reason", "settings", "surplus"
"""Attributes: what a study is of; of a trial: it is the first; who works on it; why it failed; what it tried; it is
one too many, since two workers asked at one moment."""

optuna.logging.set_verbosity(optuna.logging.ERROR)


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Without a word on what of Optuna is experimental, few trials in a plot, or a step that is heard once more."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="optuna")
        warnings.filterwarnings("ignore", message="The reported value is ignored")
        yield


def open_study(url: str, name: str, binding: Mapping[str, str], begin: Mapping[str, Any]) -> Study:
    """The study of this name, made and given its first trial (`begin`) where it is not there yet.

    `binding` says, by what it is called in a message, what the study is of. Raises UserError for a database that
    cannot be had, and for a study of something else.
    """
    storage = _open_storage(url)
    try:
        with quiet_optuna():
            study = optuna.create_study(storage=storage, study_name=name, direction="minimize")
        study.enqueue_trial(dict(begin), user_attrs={OWN: True})
        study.set_user_attr(BINDING, dict(binding))
    except optuna.exceptions.DuplicatedStudyError:
        study = optuna.load_study(storage=storage, study_name=name)
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise UserError(f"--storage {shown_url(url)}: {first_line(error)}") from None
    _refuse_other(study, url, binding)
    return study


def _open_storage(url: str) -> RDBStorage:
    """A database with heartbeats; raises UserError where it cannot be had."""
    try:
        options: dict[str, Any] = {"pool_pre_ping": True}
        if make_url(url).get_backend_name() == "sqlite":
            if make_url(url).database in (None, "", ":memory:"):
                raise ArgumentError("a database in memory is shared with nobody, and gone in the end")
            options = {"connect_args": {"timeout": WAIT_SECONDS}}
        elif make_url(url).get_backend_name() == "postgresql":
            options["connect_args"] = {"connect_timeout": CONNECT_SECONDS}
        for _ in range(TABLE_TRIES - 1):
            try:
                return _with_tables(url, options)
            except SQLAlchemyError as error:
                if "exist" not in str(error) and not isinstance(error, IntegrityError):
                    raise
                time.sleep(0.5)  # another worker is making the tables
        return _with_tables(url, options)
    except (NoSuchModuleError, ImportError):
        raise UserError(
            f"--storage {shown_url(url)}: needs a database driver that is not installed. For postgresql:// that "
            "is: pip install 'psycopg[binary]'"
        ) from None
    except ArgumentError:
        raise UserError(
            f"--storage {shown_url(url)}: expected the URL of a database, such as sqlite:///study.db or "
            "postgresql://user:password@host/tuning."
        ) from None
    except (SQLAlchemyError, RuntimeError) as error:
        # RuntimeError: a study of another version of Optuna, which the message says.
        raise UserError(
            f"--storage {shown_url(url)}: this database cannot be used ({first_line(error)}). Is it there, and "
            "does it hold nothing but studies?"
        ) from None


def _with_tables(url: str, options: dict[str, Any]) -> RDBStorage:
    with quiet_optuna():
        storage = RDBStorage(
            url,
            engine_kwargs=options,
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
            heartbeat_stale_trial_callback=_again(RETRIES),
        )
    if storage.engine.dialect.name == "sqlite":
        _lock_before_reading(storage.engine)
    return storage


def _lock_before_reading(engine: Engine) -> None:
    """Make an SQLite transaction take its lock at once, not at its first write.

    Optuna takes a queued trial by reading its state and then writing it, and asks the database to lock what it
    reads; SQLite does not, so two workers would take one trial. (SQLAlchemy's recipe for pysqlite transactions.)
    """

    @event.listens_for(engine, "connect")
    def _begin_by_hand(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # what is open already has not heard of it


def _refuse_other(study: Study, url: str, binding: Mapping[str, str]) -> None:
    """Raise UserError if the study is of anything else than `binding`."""
    for _ in range(10):
        if (kept := study.user_attrs.get(BINDING)) is not None:
            break
        time.sleep(0.5)  # another worker is making it
    if kept is None:
        raise UserError(
            f"--storage {shown_url(url)}: the study {study.study_name!r} in it was not made by `tune`, or only "
            f"half. {_remedy(study, url)}"
        )
    if other := [what for what, value in binding.items() if kept.get(what) != value]:
        raise UserError(
            f"--storage {shown_url(url)}: the study {study.study_name!r} in it was made with "
            f"other {', other '.join(other)}, and its trials would not compare. {_remedy(study, url)}"
        )


def _remedy(study: Study, url: str) -> str:
    return (
        "Give another --storage, or remove it: "
        f"optuna delete-study --storage {shown_url(url)} --study-name {study.study_name!r}"
    )


def shown_url(url: str) -> str:
    """A database's URL without its password."""
    with suppress(ArgumentError):
        url = make_url(url).render_as_string(hide_password=True)
    # Whatever stands before an @, as in a URL that is none, and a password among the options.
    url = re.sub(r"(?<=://)([^:@]*):.*(?=@)", r"\1:***", url)
    return re.sub(r"(?<=password=)[^&]*", "***", url)


def first_line(error: Exception) -> str:
    """What a database's error says, without the statement that led to it."""
    return next(iter(str(error).splitlines()), type(error).__name__)


# What became of the trials


def finished(study: Study) -> list[FrozenTrial]:
    """The trials that count: they have a value, were pruned, or have failed of themselves.

    What was cut off and is tried again does not count; what was cut off at every try does.
    """
    return [trial for trial in _counting(study) if trial.state.is_finished()]


def running(study: Study) -> list[FrozenTrial]:
    """The trials that some worker is at, or was when it died."""
    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def retried(study: Study) -> int:
    """How many trials were cut off and tried again."""
    return len(_tried_again(study.get_trials(deepcopy=False)))


def is_open(study: Study, wanted: int) -> bool:
    """Whether a worker may begin another of the `wanted` trials."""
    return len(_counting(study)) < wanted


def place_of(study: Study, number: int) -> int:
    """How many trials before this one count, or may yet: those that were cut off are left out.

    Workers that begin at one moment have different places, and one that goes on for a dead one takes up its place.
    """
    mine = first_of(study, number)
    return sum(_first(trial) < mine for trial in _counting(study))


def first_of(study: Study, number: int) -> int:
    """The number of the trial that this one goes on for; its own where there is none."""
    return _first(trial_of(study, number))


def _first(trial: FrozenTrial) -> int:
    with quiet_optuna():
        first = RetryHeartbeatStaleTrialCallback.retried_trial_number(trial)
    return trial.number if first is None else first


def _counting(study: Study) -> list[FrozenTrial]:
    trials = study.get_trials(deepcopy=False)
    out = _tried_again(trials) | {trial.number for trial in trials if SURPLUS in trial.user_attrs}
    return [trial for trial in trials if trial.state != TrialState.WAITING and trial.number not in out]


def _tried_again(trials: Sequence[FrozenTrial]) -> set[int]:
    with quiet_optuna():
        return {number for trial in trials for number in RetryHeartbeatStaleTrialCallback.retry_history(trial)}


def trial_of(study: Study, number: int) -> FrozenTrial:
    """The trial of this number, to be looked at and not changed."""
    return next(trial for trial in study.get_trials(deepcopy=False) if trial.number == number)


def retry(study: Study, number: int) -> None:
    """Put a trial that was cut off back into the queue."""
    with quiet_optuna():
        _again(None)(study, deepcopy(trial_of(study, number)))


def _again(most: int | None) -> RetryHeartbeatStaleTrialCallback:
    """Puts a trial back with all that it was heard to say, since it may go on from there."""
    return RetryHeartbeatStaleTrialCallback(max_retry=most, inherit_intermediate_values=True)


def sign_on(study: Study, trial: Trial) -> None:
    """Say who works on a trial, after a first sign of life: so each trial that is signed has one, and can go stale.

    Optuna gives the first sign from another thread, which may come too late for a worker that is killed at once.
    """
    heart: Any = study._storage
    heart.record_heartbeat(trial._trial_id)
    trial.set_user_attr(WORKER, [trial.number, socket.gethostname(), os.getpid()])


def revive(study: Study) -> None:
    """Give trials whose worker died to whoever asks next."""
    with quiet_optuna():
        optuna.storages.fail_stale_trials(study)
    # A worker that died before its first sign of life is none of Optuna's dead.
    for trial in running(study):
        begun = trial.datetime_start
        # The attributes of one that is tried again are those of its forerunner.
        is_begun = trial.user_attrs.get(WORKER, [None])[0] == trial.number
        if not is_begun and begun and datetime.now() - begun > timedelta(seconds=GRACE):
            try:
                study.tell(trial.number, state=TrialState.FAIL)
            except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
                continue  # another worker was first, and puts it back
            retry(study, trial.number)
