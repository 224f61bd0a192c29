"""The plan of a run: which inputs are missing, in which order they are trained, and about how long that takes."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pairrank.evaluation.run_record import read_run_record
from pairrank.progress import in_words
from pairrank.runs.costs import estimated_seconds
from pairrank.runs.folder import finished_folds
from pairrank.runs.identity import identity_of
from pairrank.runs.run import Run, all_inputs, is_reusable, run_arguments

LONG = 10.0
"""Seconds; less is not worth a line about how long the rest will take."""


MINUTE = 60.0


@dataclass(frozen=True)
class Step:
    """One run that the plan trains, with the folds that it needs."""

    run: Run
    missing: tuple[int, ...]
    """The folds that are not finished, or are finished by other code, encoders or settings."""
    finished: tuple[int, ...]

    @cached_property
    def seconds(self) -> float:
        """The estimate for the missing folds; 0 without one."""
        return estimated_seconds(self.run) * len(self.missing) / self.run.experiment.folds


@dataclass(frozen=True)
class Plan:
    """The named runs, none before one that it builds on, and the folds that are wanted of them."""

    runs: tuple[Run, ...]
    folds: tuple[int, ...] | None
    """None for all folds."""

    @classmethod
    def of(cls, runs: Sequence[Run], folds: Sequence[int]) -> "Plan":
        """Return the plan for these runs; () means all folds."""
        ordered = tuple(sorted(runs, key=lambda run: len(list(all_inputs(run)))))
        return cls(ordered, tuple(sorted(set(folds))) or None)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Every run that is trained: the inputs that cannot be reused, and the named runs, in order."""
        named = {run.folder for run in self.runs}
        steps: dict[Path, Step] = {}
        for run in self.runs:
            for each in (*all_inputs(run), run):
                if each.folder in named or not is_reusable(each):
                    steps.setdefault(each.folder, _step(each, self.folds if each.folder in named else None))
        return tuple(steps.values())

    def lines(self) -> list[str]:
        """Describe what each run that builds on others uses, what is trained first, and how long it all takes."""
        named = {run.folder for run in self.runs}
        described: set[Path] = set()
        lines: list[str] = []
        for run in self.runs:
            needed = [each for each in all_inputs(run) if each.folder not in named | described]
            described |= {each.folder for each in needed}
            lines += _lines_of(run, needed)
        return lines

    def step_lines(self) -> Iterator[str]:
        """Describe each run of the plan: its battles, folder and folds, and the time for those that are missing."""
        for step in self.steps:
            run = step.run
            test = "no test battles" if run.test is None else f"{len(run.test):,} test battles"
            yield f"{run.experiment.label}: {len(run.battles):,} battles, {test}, in {run.folder}"
            if step.finished:
                yield f"  finished, used again: {_folds(step.finished)}"
            if step.missing:
                yield f"  to train: {_folds(step.missing)}, {_duration(step.seconds)} on two cores"

    def start_clock(self) -> "Clock":
        """Return a clock that starts now."""
        return Clock(self.steps)


@dataclass
class Clock:
    """An estimate of the time that remains of a plan, from the time that its first steps took."""

    steps: tuple[Step, ...]
    begun: float = field(default_factory=time.monotonic)
    done: list[Step] = field(default_factory=list)

    def remaining_after(self, step: Step) -> str:
        """Count this step as done; return a line about the remaining time, or "" if that is short or unknown."""
        self.done.append(step)
        rest = self.steps[len(self.done) :]
        estimated = sum(each.seconds for each in self.done)
        if not rest or not estimated or not all(each.seconds or not each.missing for each in rest):
            return ""
        # A minute that took as long as estimated is added, because the start-up of quick runs is not
        # representative.
        speed = (time.monotonic() - self.begun + MINUTE) / (estimated + MINUTE)
        remaining = speed * sum(each.seconds for each in rest)
        if remaining < LONG:
            return ""
        return f"{len(self.done)} of {len(self.steps)} runs done; at this speed, {_duration(remaining)} remain."


def _step(run: Run, folds: Sequence[int] | None) -> Step:
    wanted = range(run.experiment.folds) if folds is None else folds
    # The identity of a fold includes its inputs' predictions, so no fold is finished if an input is missing.
    has_inputs = all(map(is_reusable, run.inputs))
    done = finished_folds(run.folder, run.experiment.folds, identity_of(run)) if has_inputs else {}
    return Step(run, tuple(f for f in wanted if f not in done), tuple(f for f in wanted if f in done))


def _lines_of(run: Run, needed: Sequence[Run]) -> Iterator[str]:
    """Yield the lines about one run; `needed` are its inputs that no earlier line has described."""
    ready = [each for each in needed if is_reusable(each)]
    missing = [each for each in needed if each not in ready]
    label, teachers = run.experiment.label, run.experiment.teachers
    if ready:
        yield f"{label} builds on {_names(ready)}: finished, used unchanged."
    if old := [each for each in ready if read_run_record(each.folder).identity != identity_of(each)]:
        yield (
            f"{_names(old)}: trained with code, encoders or extra battles that have changed. To train it again: "
            + "; ".join(f"run {arguments}" for arguments in _arguments(old))
        )
    if missing:
        todo = ", ".join(f"{each.experiment.label} ({_duration(estimated_seconds(each))})" for each in missing)
        yield f"{label} needs inputs that are trained first: {todo}."
    if len(teachers) == 1:
        taught = f"the teacher {teachers[0]}, which is"
    else:
        taught = f"the teachers {', '.join(teachers)}, which are"
    if teachers:
        yield f"{label} has {taught} trained again inside the training battles of each fold."
    if needed or teachers:
        whole = [estimated_seconds(each) for each in (*missing, run)]
        if any(whole):
            rest = "" if all(whole) else ", plus the experiments without an estimate"
            yield f"{label}: {_duration(sum(whole))} in all{rest}, on two cores."


def _arguments(runs: Sequence[Run]) -> list[str]:
    """Return the arguments of the `run` commands that train these runs: one for all that have no changes."""
    arguments = [run_arguments(each.experiment) for each in runs]
    plain = [each for each in arguments if " --set " not in each]
    return [" ".join(plain)] * bool(plain) + [each for each in arguments if each not in plain]


def _names(runs: Sequence[Run]) -> str:
    return ", ".join(each.experiment.label for each in runs)


def _folds(folds: Sequence[int]) -> str:
    return f"fold{'' if len(folds) == 1 else 's'} {', '.join(map(str, folds))}"


def _duration(seconds: float) -> str:
    return in_words(seconds) if seconds else "unknown time"
