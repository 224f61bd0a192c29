"""Experiments are trained fold by fold; after each fold, what no longer fits the time is dropped."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pairrank.api.automation.clock import Clock, OutOfTime, deadline
from pairrank.api.automation.plan import FIXED, ORDER, Candidate, Costs, Decision, decide
from pairrank.api.automation.speed import Speed
from pairrank.api.sources import Source
from pairrank.errors import UserError
from pairrank.progress import in_words, with_progress
from pairrank.runs.costs import estimated_seconds
from pairrank.runs.cross_validation import cross_validate, make_fold
from pairrank.runs.experiment_files import load_experiment
from pairrank.runs.folder import finished_folds
from pairrank.runs.identity import identity_of
from pairrank.runs.resolution import resolve_run
from pairrank.runs.run import Run, all_inputs, is_reusable

logger = logging.getLogger(__name__)

GRACE = 0.03
"""Share of the time by which a fold that takes longer than expected may exceed the end of the training."""

MakeFold = Callable[[Run, int], None]
"""A function that trains one fold of a run."""
FindMissing = Callable[[Run], list[int]]
"""A function that returns the folds of a run that are not finished."""
Finish = Callable[[Run], float | None]
"""A function that writes the results of a run whose folds are finished, and returns its log loss."""


def resolve_runs(names: Sequence[str], source: Source, home: Path) -> tuple[dict[str, Run], dict[str, str]]:
    """Return the runs of experiments by name, and why others cannot be run here, such as for a missing encoder."""
    runs: dict[str, Run] = {}
    unavailable: dict[str, str] = {}
    for name in names:
        try:
            runs[name] = resolve_run(load_experiment(name), source, home)
        except UserError as error:
            unavailable[name] = str(error)
    return runs, unavailable


def make_fold_with_inputs(run: Run, fold: int) -> None:
    """Train one fold of a run after those of its inputs that are missing."""
    for each in all_inputs(run):
        if not is_reusable(each):
            cross_validate(each)
    # A copy has no cached properties, which may be older than the inputs.
    make_fold(replace(run), fold)


def finish_run(run: Run) -> float | None:
    """Write the results of a run whose folds are finished; return its log loss."""
    return cross_validate(replace(run)).log_loss


def missing_folds(run: Run) -> list[int]:
    """Return the folds that are not finished, or are finished by other code, encoders or settings."""
    folds = range(run.experiment.folds)
    # The identity of a fold includes its inputs' predictions, so no fold is finished if an input is missing.
    if not all(map(is_reusable, run.inputs)):
        return list(folds)
    done = finished_folds(run.folder, run.experiment.folds, identity_of(replace(run)))
    return [fold for fold in folds if fold not in done]


@dataclass
class Training:
    """The experiments of a preset on their data, and what is known about their folds and costs."""

    names: Sequence[str]
    """The experiments in the order in which they are planned."""
    runs: Mapping[str, Run]
    """The runs of those that can be run here, by name."""
    speed: Speed
    clock: Clock
    reserve: float
    """Seconds at the end that pool, leaderboard, report and submission need."""
    make_fold: MakeFold = make_fold_with_inputs
    finish: Finish = finish_run
    find_missing: FindMissing = missing_folds
    missing: dict[str, list[int]] = field(default_factory=dict)
    """Folds that are not finished, by name."""
    unavailable: dict[str, str] = field(default_factory=dict)
    """Why an experiment cannot be run, or was given up, by name."""
    costs: Costs = field(default_factory=Costs)
    finished: list[str] = field(default_factory=list)
    """Names of the experiments whose results are written."""

    def __post_init__(self) -> None:
        for name, run in self.runs.items():
            if name not in self.missing:
                self.missing[name] = self.find_missing(run)

    @property
    def available(self) -> float:
        """Seconds that are left for training."""
        return self.clock.left - self.reserve

    def plan(self) -> tuple[Decision, ...]:
        """Return what is run from now on, by what is known now."""
        return decide(list(map(self._candidate, self.names)), self.costs, self.available)

    def _candidate(self, name: str) -> Candidate:
        family = ORDER[name][0]
        run = self.runs.get(name)
        if run is None:
            return Candidate(name, family, 0.0, unavailable=self.unavailable[name])
        folds = run.experiment.folds
        seconds = (_estimate(run) + folds * FIXED[family]) * self.speed.of(family)
        done = folds - len(self.missing[name])
        return Candidate(name, family, seconds, folds, done, self.unavailable.get(name, ""))

    def train(self) -> None:
        """Train what fits, in order; log each finished experiment, and each that is dropped or taken in."""
        total = sum(each.candidate.missing for each in self.plan() if each.status == "planned")
        for _ in with_progress(self._folds(), "auto, folds", total):
            pass

    def _folds(self) -> Iterator[None]:
        """Train one fold after the other, and yield after each."""
        before = self.plan()
        while True:
            self._write_results()
            now = self.plan()
            _log_changes(before, now, self.available)
            before = now
            step = next((each for each in now if each.status == "planned"), None)
            if step is None:
                return
            self._train_fold(step)
            yield

    def _train_fold(self, step: Decision) -> None:
        run, fold = self.runs[step.name], self.missing[step.name][0]
        begun = self.clock.now()
        try:
            with deadline(self.available + GRACE * self.clock.budget):
                self.make_fold(run, fold)
        except OutOfTime:
            self.unavailable[step.name] = f"fold {fold} took too long and was stopped at the end of the time"
            return
        except UserError as error:
            self.unavailable[step.name] = f"it cannot be trained: {error}"
            return
        self.costs.observe(step.candidate, step.candidate.done, self.clock.now() - begun)
        self.missing[step.name].remove(fold)

    def _write_results(self) -> None:
        """Write the results of each run whose last fold is finished."""
        for name, run in self.runs.items():
            if self.missing[name] or name in self.finished or name in self.unavailable:
                continue
            loss = self.finish(run)
            self.finished.append(name)
            self._look_again_above(run)
            score = "" if loss is None else f"log loss {loss:.4f}; "
            logger.info(f"{name}: {score}{in_words(self.available)} of the time for training are left.")

    def _look_again_above(self, finished: Run) -> None:
        """Find the missing folds of what builds on a run again, because they depend on its predictions."""
        for name, run in self.runs.items():
            if finished.folder in [each.folder for each in run.inputs]:
                self.missing[name] = self.find_missing(run)


def _estimate(run: Run) -> float:
    """Return the seconds of the experiment file for these battles; those to predict count as those to train on."""
    tests = 0 if run.test is None else len(run.test)
    return estimated_seconds(run) * (1 + tests / len(run.battles))


def _log_changes(before: Sequence[Decision], now: Sequence[Decision], available: float) -> None:
    """Log which experiments are dropped, and which are taken in, since the plan before."""
    for old, new in zip(before, now, strict=True):
        if old.status == "planned" and new.status == "unavailable":
            logger.info(f"{new.name}: dropped. {new.why}.")
        elif old.status == "planned" and new.status == "left out":
            done = f"; {new.candidate.done} finished folds are kept" if new.candidate.done else ""
            logger.info(
                f"{new.name}: dropped, because it is expected to take {in_words(new.seconds)[6:]}, and "
                f"{max(0, available):.0f} s are left{done}."
            )
        elif old.status == "left out" and new.status == "planned":
            logger.info(f"{new.name}: now fits, and is trained as well.")
