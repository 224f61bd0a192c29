"""A search for a better setting: the battles it may use, the place of its study, and its best trial."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from filelock import FileLock, Timeout
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from pairrank.atomic import lock
from pairrank.errors import UserError
from pairrank.runs.experiment import Experiment
from pairrank.runs.identity import recipe_hash
from pairrank.runs.run import Run, moved
from pairrank.tuning.database import SETTINGS
from pairrank.tuning.sampling import PositionSeededTPE, Pruner, build_pruner
from pairrank.tuning.space import Settings, Space, read_space
from pairrank.tuning.storage import OWN, finished, open_study, requeue_all

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Search:
    """A search for a better setting of an experiment, which does not use one of the folds."""

    run: Run
    """The unchanged experiment, on all battles."""
    untouched: int
    """The fold that the search uses neither to train a trial nor to score one."""
    folds: tuple[int, ...]
    """The tuning folds: a trial's value is the log loss of their battles."""
    home: Path
    """The folder of everything that the search writes, except for a study in another storage."""
    storage: str = ""
    """URL of a database; "" for an SQLite file in `home`."""
    trials: int = 60
    """Finished trials of the complete study, of all workers together."""
    pruner: Pruner = "median"
    seed: int = 0
    """Random seed of the settings that are tried."""

    def __post_init__(self) -> None:
        existing = set(self.run.fold_index.tolist())
        if self.untouched in self.run.tuned_on:
            raise UserError(
                f"fold {self.untouched} cannot be kept out of the search: an earlier search for the setting of "
                f"{self.run.experiment.name} has used it."
            )
        if self.untouched not in existing:
            raise UserError(f"fold {self.untouched} cannot be kept out of the search: no battle is in it.")
        if self.untouched in self.folds:
            raise UserError(f"fold {self.untouched} is kept out of the search, so it cannot be a tuning fold.")
        if empty := [fold for fold in self.folds if fold not in existing]:
            raise UserError(f"no battle is in fold {empty[0]}, so no trial can be scored on it.")
        if not self.folds or len(existing) < 3:
            raise UserError("a search needs three or more folds with battles: to train on, to score, to keep out.")

    @cached_property
    def space(self) -> Space:
        """The parameters that may change."""
        return read_space(self.run.experiment)

    @property
    def folder(self) -> Path:
        """The folder for the files of this untouched fold."""
        return self.home / f"fold{self.untouched}"

    @property
    def place(self) -> str | Path:
        """The database that has the study: an SQLite file, or the URL that was given."""
        return self.storage or self.home / "study.db"

    @property
    def name(self) -> str:
        """The name of the study."""
        seed = f", seed {self.seed}" if self.seed else ""
        return f"{self.run.experiment.label} on {self.run.data.name}, fold {self.untouched} untouched{seed}"

    @cached_property
    def inside(self) -> Run:
        """The run without the battles of the untouched fold."""
        data = self.run.training_data(self.untouched)
        run = replace(self.run, experiment=with_nested_inputs(self.run.experiment))
        return moved(run, data, self.folder / "inside", enclosing=self.name)

    @cached_property
    def binding(self) -> dict[str, str]:
        """What trials must have in common to be comparable, by its name in messages."""
        return {
            "battles": self.inside.data_record.hash,
            "search tables": sha256(self.space.describe().encode()).hexdigest()[:16],
            "tuning folds": ", ".join(map(str, self.folds)),
            "settings, code, inputs or encoders": recipe_hash(self.inside),
        }

    def open(self, alone: bool = False) -> Study:
        """Open or create the study; raises UserError if a study of this name has another binding.

        `alone` says that no other worker is alive.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        study = open_study(self.place, self.name, self.binding, self.space.first_setting(), alone)
        study.sampler, study.pruner = PositionSeededTPE(self.seed, study), build_pruner(self.pruner)
        return study

    @contextmanager
    def joined(self) -> Iterator[Study]:
        """Yield the study to one of its workers; the first one puts the trials of dead workers into the queue.

        Every worker holds a shared lock on a file. Whoever gets it for itself is alone, so that all running trials
        are those of dead workers. A study in a given storage has workers on other machines: there a worker is dead
        only after it has sent no heartbeat for a while.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".workers").open("w") as file:
            alone = not self.storage and lock(file.fileno(), shared=False, wait=False)
            study = self.open(alone)
            if alone:
                requeue_all(study)
            lock(file.fileno(), shared=True)
            yield study

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Let one worker at a time execute this block, which trains what all workers share."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.info("Waiting for another worker, which is training what all workers need.")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()


def with_nested_inputs(experiment: Experiment) -> Experiment:
    """Return the experiment with inputs that are trained inside each fold, without the scored fold's winners."""
    return replace(experiment, nested=bool(experiment.inputs))


def best_trial(study: Study) -> FrozenTrial | None:
    """Return the complete trial with the lowest log loss (the first of equal ones); None if there is none."""
    complete = [trial for trial in finished(study) if trial.state == TrialState.COMPLETE]
    return min(complete, key=lambda trial: (trial.value, trial.number), default=None)


def own_trial(study: Study) -> FrozenTrial | None:
    """Return the trial of the experiment's own setting; None if it has no value."""
    own = [t for t in finished(study) if OWN in t.user_attrs and t.state == TrialState.COMPLETE]
    return own[0] if own else None


def settings_in(trial: FrozenTrial) -> Settings:
    """Return the setting that a trial tried, by dotted key."""
    settings: Settings = trial.user_attrs[SETTINGS]
    return settings
