"""A search for a better setting: what it may see, where its study is, and which of its trials is the best."""

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

from pairrank.errors import UserError
from pairrank.runs.experiment import Experiment
from pairrank.runs.identity import recipe_hash
from pairrank.runs.run import Run, moved
from pairrank.tuning.sampling import ByPlace, Pruner, build_pruner
from pairrank.tuning.space import Settings, Space, read_space
from pairrank.tuning.storage import OWN, SETTINGS, finished, open_study

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Search:
    """A search for a better setting of an experiment, in which one fold has no part at all."""

    run: Run
    """The experiment as it stands, on all battles."""
    untouched: int
    """The fold that the search never sees: neither to score a trial nor to train one."""
    folds: tuple[int, ...]
    """The tuning folds: a trial's value is the log loss of their battles."""
    home: Path
    """Where everything that the search leaves is kept, but for a study in another storage."""
    storage: str = ""
    """URL of a database; "" for an SQLite file in `home`."""
    trials: int = 60
    """How many finished trials the study is to have, of all workers together."""
    pruner: Pruner = "median"
    seed: int = 0
    """Of what is tried."""

    def __post_init__(self) -> None:
        there = set(self.run.fold_index.tolist())
        if self.untouched in self.run.tuned_on:
            raise UserError(
                f"fold {self.untouched} is to be kept out of the search, and an earlier search for the setting of "
                f"{self.run.experiment.name} has seen it."
            )
        if self.untouched not in there:
            raise UserError(f"fold {self.untouched} is to be kept out of the search, and no battle is in it.")
        if self.untouched in self.folds:
            raise UserError(f"fold {self.untouched} is kept out of the search, so it is no tuning fold.")
        if empty := [fold for fold in self.folds if fold not in there]:
            raise UserError(f"no battle is in fold {empty[0]}, so no trial can be scored on it.")
        if not self.folds or len(there) < 3:
            raise UserError("a search needs three folds with battles: to learn from, to score, and to keep out.")

    @cached_property
    def space(self) -> Space:
        """What may change."""
        return read_space(self.run.experiment)

    @property
    def folder(self) -> Path:
        """What belongs to this untouched fold."""
        return self.home / f"fold{self.untouched}"

    @property
    def url(self) -> str:
        """Where the study is."""
        return self.storage or f"sqlite:///{(self.home / 'study.db').as_posix()}"

    @property
    def name(self) -> str:
        """Of the study."""
        seed = f", seed {self.seed}" if self.seed else ""
        return f"{self.run.experiment.label} on {self.run.data.name}, fold {self.untouched} untouched{seed}"

    @cached_property
    def inside(self) -> Run:
        """The experiment as if the untouched fold did not exist."""
        data = self.run.training_data(self.untouched)
        run = replace(self.run, experiment=with_nested_inputs(self.run.experiment))
        return moved(run, data, self.folder / "inside")

    @cached_property
    def binding(self) -> dict[str, str]:
        """What trials must have in common to be compared, by what a message calls it."""
        return {
            "battles": self.inside.data_record.hash,
            "search tables": sha256(self.space.describe().encode()).hexdigest()[:16],
            "tuning folds": ", ".join(map(str, self.folds)),
            "settings, code, inputs or encoders": recipe_hash(self.inside),
        }

    def open(self) -> Study:
        """The study, made where it is not there yet; raises UserError for one that is of something else."""
        self.home.mkdir(parents=True, exist_ok=True)
        study = open_study(self.url, self.name, self.binding, self.space.begin())
        study.sampler, study.pruner = ByPlace(self.seed, study), build_pruner(self.pruner)
        return study

    @contextmanager
    def alone(self) -> Iterator[None]:
        """For the one worker at a time that makes what the others of this folder use."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.info("Waiting for another worker, which makes what all of them need.")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()


def with_nested_inputs(experiment: Experiment) -> Experiment:
    """The experiment with its inputs remade inside each fold: usual ones have seen the scored fold's winners."""
    return replace(experiment, nested=bool(experiment.inputs))


def best_of(study: Study) -> FrozenTrial | None:
    """The finished trial of least log loss, the earlier of equals; None where there is none."""
    complete = [trial for trial in finished(study) if trial.state == TrialState.COMPLETE]
    return min(complete, key=lambda trial: (trial.value, trial.number), default=None)


def own_of(study: Study) -> FrozenTrial | None:
    """The trial of the experiment's own setting; None where it has no value."""
    own = [t for t in finished(study) if OWN in t.user_attrs and t.state == TrialState.COMPLETE]
    return own[0] if own else None


def settings_of(trial: FrozenTrial) -> Settings:
    """What a trial tried, by dotted key."""
    settings: Settings = trial.user_attrs[SETTINGS]
    return settings
