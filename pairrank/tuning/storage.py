"""A study is shared by all its workers through a database: who takes which trial, and what became of it."""

import re
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from pairrank.errors import UserError

Pruner = Literal["median", "hyperband", "none"]

HEARTBEAT = 10
"""Seconds between two signs of life of a worker."""
GRACE = 60
"""Seconds without one after which its trial is given to another worker."""
RETRIES = 3
"""How often a trial is tried again whose worker died: a setting that needs too much memory kills every one."""
WAIT_SECONDS = 60
"""How long a worker waits for another's writing to an SQLite file."""
CONNECT_SECONDS = 10
"""How long a worker waits for a PostgreSQL server to answer at all."""
STARTUP = 10
"""Trials that are drawn at random before TPE has anything to go by."""

BINDING, OWN, WORKER, REASON, SETTINGS, SURPLUS = "binding", "own", "worker", "reason", "settings", "surplus"
"""Attributes: what a study is of; of a trial: it is the first; who works on it; why it failed; what it tried; it is
one too many, since two workers asked at one moment."""

optuna.logging.set_verbosity(optuna.logging.ERROR)


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Without a word on which parts of Optuna are experimental, or on how few trials a plot has to go by."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="optuna")
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
    except SQLAlchemyError as error:
        raise UserError(f"--storage {_shown(url)}: {_first_line(error)}") from None
    _refuse_other(study, url, binding)
    return study


def _open_storage(url: str) -> RDBStorage:
    """A database with heartbeats; raises UserError where it cannot be had."""
    try:
        options: dict[str, Any] = {"pool_pre_ping": True}
        if make_url(url).get_backend_name() == "sqlite":
            options = {"connect_args": {"timeout": WAIT_SECONDS}}
        elif make_url(url).get_backend_name() == "postgresql":
            options["connect_args"] = {"connect_timeout": CONNECT_SECONDS}
        with quiet_optuna():
            return RDBStorage(
                url,
                engine_kwargs=options,
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=RETRIES),
            )
    except (NoSuchModuleError, ImportError):
        raise UserError(
            f"--storage {_shown(url)}: needs a database driver that is not installed. For postgresql:// that is: "
            "pip install 'psycopg[binary]'"
        ) from None
    except ArgumentError:
        raise UserError(
            f"--storage {_shown(url)}: expected the URL of a database, such as sqlite:///study.db or "
            "postgresql://user:password@host/tuning."
        ) from None
    except (SQLAlchemyError, RuntimeError) as error:
        # RuntimeError: a study of another version of Optuna, which the message says.
        raise UserError(
            f"--storage {_shown(url)}: this database cannot be used ({_first_line(error)}). Is it there, and does "
            "it hold nothing but studies?"
        ) from None


def _refuse_other(study: Study, url: str, binding: Mapping[str, str]) -> None:
    """Raise UserError if the study is of anything else than `binding`."""
    kept = study.user_attrs.get(BINDING)
    for _ in range(10):
        if kept is not None:
            break
        time.sleep(0.5)  # another worker is making it
        kept = study.user_attrs.get(BINDING)
    if kept is None:
        raise UserError(
            f"--storage {_shown(url)}: the study {study.study_name!r} in it was not made by `tune`, or only half. "
            + _remedy(study, url)
        )
    if other := [what for what, value in binding.items() if kept.get(what) != value]:
        raise UserError(
            f"--storage {_shown(url)}: the study {study.study_name!r} in it is of other {', other '.join(other)} "
            "than this search, and their trials would not compare. " + _remedy(study, url)
        )


def _remedy(study: Study, url: str) -> str:
    return (
        "Give another --storage, or remove it: "
        f"optuna delete-study --storage {_shown(url)} --study-name {study.study_name!r}"
    )


def _shown(url: str) -> str:
    """A database's URL without its password."""
    return re.sub(r"(?<=:)[^:/@]*(?=@)", "***", url)


def _first_line(error: Exception) -> str:
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
    return sum(trial.number < number for trial in _counting(study))


def first_of(study: Study, number: int) -> int:
    """The number of the trial that this one goes on for; its own where there is none."""
    with quiet_optuna():
        first = RetryHeartbeatStaleTrialCallback.retried_trial_number(_trial(study, number))
    return number if first is None else first


def _counting(study: Study) -> list[FrozenTrial]:
    trials = study.get_trials(deepcopy=False)
    out = _tried_again(trials) | {trial.number for trial in trials if SURPLUS in trial.user_attrs}
    return [trial for trial in trials if trial.state != TrialState.WAITING and trial.number not in out]


def _tried_again(trials: Sequence[FrozenTrial]) -> set[int]:
    with quiet_optuna():
        return {number for trial in trials for number in RetryHeartbeatStaleTrialCallback.retry_history(trial)}


def _trial(study: Study, number: int) -> FrozenTrial:
    return next(trial for trial in study.get_trials(deepcopy=False) if trial.number == number)


def retry(study: Study, number: int) -> None:
    """Put a trial that was cut off back into the queue."""
    with quiet_optuna():
        RetryHeartbeatStaleTrialCallback(max_retry=None)(study, deepcopy(_trial(study, number)))


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
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
            retry(study, trial.number)


# What is tried next, and what is given up


@dataclass
class ByPlace(BaseSampler):
    """TPE, seeded anew for each trial by its place: a study that was interrupted tries what it would have tried.

    Multivariate and in groups, since parameters depend on each other and some are asked for only under conditions
    (Bergstra et al. 2011; Falkner et al. 2018).
    """

    seed: int

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Seed the trial's own sampler."""
        digest = sha256(f"{self.seed}/{place_of(study, trial.number)}".encode()).digest()
        with quiet_optuna():
            self._tpe = TPESampler(
                seed=int.from_bytes(digest[:4], "big"),
                n_startup_trials=STARTUP,
                multivariate=True,
                group=True,
                constant_liar=True,
            )

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """What is drawn jointly."""
        return self._tpe.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw it."""
        return self._tpe.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw what was not drawn jointly."""
        return self._tpe.sample_independent(study, trial, param_name, param_distribution)


def build_pruner(name: Pruner) -> optuna.pruners.BasePruner:
    """What gives a trial up by its steps on the first fold."""
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=STARTUP // 2)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, reduction_factor=2)
    return optuna.pruners.NopPruner()
