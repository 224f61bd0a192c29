"""The database of a study is opened or created whole, by its file or its URL; its errors are messages."""

import errno
import os
import sqlite3
import time
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import OptunaError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.study import Study
from optuna.trial import FrozenTrial
from sqlalchemy import Connection, Engine, event, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from pairrank.atomic import temporary_folder
from pairrank.errors import UserError, hide_passwords

SETTINGS = "settings"
"""Attribute of a trial: its setting, once it is drawn completely."""
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

optuna.logging.set_verbosity(optuna.logging.ERROR)


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Suppress Optuna's warnings: experimental features, plots of few trials, a step that is reported twice."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="optuna")
        warnings.filterwarnings("ignore", message="The reported value is ignored")
        yield


@contextmanager
def database_errors(place: str | Path) -> Iterator[None]:
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
    except (SQLAlchemyError, sqlite3.Error, OptunaError, OSError, RuntimeError) as error:
        # RuntimeError: the study was written by another version of Optuna
        raise UserError(
            f"{shown}: this database cannot be used ({first_line(error)}). Check that it exists and contains "
            "nothing but studies; a damaged one can only be removed."
        ) from None


def name_of(place: str | Path) -> str:
    """Return the name of a database for messages: its file, or its URL without the password."""
    return str(place) if isinstance(place, Path) else f"--storage {without_password(place)}"


def open_storage(place: str | Path) -> RDBStorage:
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
            try:
                os.link(created, file)
            except OSError as error:
                if error.errno == errno.EEXIST:
                    raise
                # A file system without links: it is created in place when it is opened.


def _with_tables(url: str, options: dict[str, Any]) -> RDBStorage:
    with quiet_optuna():
        storage = RDBStorage(
            url,
            engine_kwargs=options,
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
            heartbeat_stale_trial_callback=put_back,
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


def put_back(study: Study, trial: FrozenTrial, most: int | None = RETRIES) -> None:
    """Put an interrupted trial back into the queue, with the losses that it has reported, at most `most` times."""
    trial = deepcopy(trial)
    if SETTINGS not in trial.user_attrs:
        # Its setting was drawn in part. The rest would be other random numbers than in an uninterrupted study.
        trial.params, trial.distributions = {}, {}
    with quiet_optuna():
        RetryHeartbeatStaleTrialCallback(max_retry=most, inherit_intermediate_values=True)(study, trial)


def without_password(url: str) -> str:
    """Return the URL of a database without its password."""
    with suppress(ArgumentError):
        url = make_url(url).render_as_string(hide_password=True)
    return hide_passwords(url)


def first_line(error: Exception) -> str:
    """Return the first line of a database error, without the SQL statement that caused it."""
    return next(iter(str(error).splitlines()), type(error).__name__)
