"""What a run will do, before it does it: which inputs are missing, their order, about how long it takes."""

from collections.abc import Callable, Sequence
from pathlib import Path

from pairrank.evaluation.metrics import read_metrics
from pairrank.runs.experiment import load_experiment
from pairrank.runs.identity import identity_of
from pairrank.runs.run import Run, all_inputs, is_ready


def in_order(started: Sequence[Run]) -> list[Run]:
    """The same runs, none before one that it builds on."""
    return sorted(started, key=lambda run: len(list(all_inputs(run))))


def tell_plan(started: Sequence[Run], say: Callable[[str], None]) -> None:
    """Say it where any of the runs builds on others."""
    named = {run.folder for run in started}
    told: set[Path] = set()
    for run in started:
        needed = [each for each in all_inputs(run) if each.folder not in named | told]
        told |= {each.folder for each in needed}
        ready = [each for each in needed if is_ready(each)]
        missing = [each for each in needed if each not in ready]
        label, teacher = run.experiment.label, run.experiment.teacher
        if ready:
            say(f"{label} builds on {_names(ready)}: finished, used as they are.")
        if old := [each for each in ready if read_metrics(each.folder)["identity"] != identity_of(each)]:
            say(
                f"Made by other code, encoders or extra battles than today's: {_names(old)}. `run` makes them anew."
            )
        if missing:
            todo = ", ".join(f"{each.experiment.label} ({_duration(_seconds(each))})" for each in missing)
            say(f"{label} needs, and this run makes first: {todo}.")
        if teacher:
            say(f"{label} has {teacher} for a teacher: made anew inside the training battles of each fold.")
        if needed or teacher:
            whole = [_seconds(each) for each in (*missing, run)]
            if any(whole):
                rest = "" if all(whole) else ", and what nobody has timed"
                say(f"{label}: in all {_duration(sum(whole))}{rest}, on two cores.")


def _seconds(run: Run) -> float:
    """The experiment's own estimate for these battles; 0 where it has none."""
    seconds = run.experiment.seconds * len(run.battles) / 1000 * run.experiment.folds / 5
    if "nested=true" in run.experiment.overrides:
        # The file's estimate is of the file's own way. Each fold makes every input again, on its other folds.
        remade = [load_experiment(each.experiment.name).seconds for each in all_inputs(run)]
        seconds += sum(remade) * len(run.battles) / 1000 * (run.experiment.folds - 1)
    return seconds


def _names(runs: Sequence[Run]) -> str:
    return ", ".join(each.experiment.label for each in runs)


def _duration(seconds: float) -> str:
    if not seconds:
        return "of unknown length"
    return f"about {max(seconds, 1):.0f} s" if seconds < 100 else f"about {seconds / 60:.0f} min"
