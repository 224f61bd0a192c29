"""Workers share a study through a database, which records the worker and the result of each trial."""

import os
import re
import socket
import sqlite3
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from copy import deepcopy
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import OptunaError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import Connection, Engine, event, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from pairrank.errors import UserError
from pairrank.files import temporary_folder

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
    with _database_errors(place):
        storage = _open_storage(place)
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


@contextmanager
def _database_errors(place: str | Path) -> Iterator[None]:
    """Turn every error of a database, whichever library raises it, into a UserError that names the database."""
    shown = name_of(place)
    try:
        yield
    except UserError:
        raise
    except (NoSuchModuleError, ImportError):
        raise UserError(
            f"{shown}: this database needs a driver that is not installed. For postgresql:// run: "
            "pip install 'psycopg[binary]'"
        ) from None
    except ArgumentError:
        raise UserError(
            f"{shown}: expected the URL of a database, such as sqlite:///study.db or "
            "postgresql://user:password@host/tuning."
        ) from None
    except Exception as error:  # RuntimeError: the study was written by another version of Optuna
        if not isinstance(error, SQLAlchemyError | sqlite3.Error | RuntimeError | OptunaError | OSError):
            raise
        raise UserError(
            f"{shown}: this database cannot be used ({first_line(error)}). Check that it exists and contains "
            "nothing but studies; a damaged one can only be removed."
        ) from None


def name_of(place: str | Path) -> str:
    """Return the name of a database for messages: its file, or its URL without the password."""
    return str(place) if isinstance(place, Path) else f"--storage {without_password(place)}"


def _open_storage(place: str | Path) -> RDBStorage:
    """Open a database with heartbeats, and create its tables."""
    options: dict[str, Any] = {"pool_pre_ping": True}
    file = place if isinstance(place, Path) else None
    if isinstance(place, str) and make_url(place).get_backend_name() == "sqlite":
        database = make_url(place).database
        if database in (None, "", ":memory:"):
            raise ArgumentError("a database in memory cannot be shared, and is lost at the end")
        file = Path(str(database))
    elif isinstance(place, str) and make_url(place).get_backend_name() == "postgresql":
        options["connect_args"] = {"connect_timeout": CONNECT_SECONDS}
    if file is not None:
        _prepare_file(file)
        return _with_tables(*_sqlite(file))
    for _ in range(TABLE_TRIES - 1):
        try:
            return _with_tables(str(place), options)
        except SQLAlchemyError as error:
            if "exist" not in str(error) and not isinstance(error, IntegrityError):
                raise
            time.sleep(0.5)  # another worker is creating the tables
    return _with_tables(str(place), options)


def _sqlite(file: Path) -> tuple[str, dict[str, Any]]:
    """Return a URL and options that open an SQLite file; its path may contain characters that a URL cannot."""

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(file, timeout=WAIT_SECONDS, check_same_thread=False)

    return "sqlite:///study.db", {"creator": connect}


def _prepare_file(file: Path) -> None:
    """Create an SQLite file with all tables at once; refuse one with other tables before anything is written."""
    if file.is_file() and file.stat().st_size:
        # Opened by a URI because only that is read-only.
        with closing(
            sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=WAIT_SECONDS)
        ) as opened:
            found = opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            tables = {name for (name,) in found}
        if tables and not {"studies", "trials", "version_info"} <= tables:
            raise UserError(f"{file}: this database has other tables than those of studies. Nothing was changed.")
    elif not file.exists():
        with temporary_folder(file.parent) as folder, suppress(FileExistsError):  # another worker was faster
            created = folder / file.name
            _with_tables(*_sqlite(created)).engine.dispose()
            os.link(created, file)


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
        f"optuna delete-study --storage {url} --study-name {study.study_name!r}"
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
    trial = deepcopy(find_trial(study, number))
    if SETTINGS not in trial.user_attrs:
        # Its setting was drawn in part. The rest would be other random numbers than in an uninterrupted study.
        trial.params, trial.distributions = {}, {}
    with quiet_optuna():
        _requeue_callback(None)(study, trial)


def requeue_all(study: Study) -> None:
    """Put every running trial back into the queue; no worker may be alive."""
    for trial in running(study):
        study.tell(trial.number, state=TrialState.FAIL)
        requeue(study, trial.number)


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
