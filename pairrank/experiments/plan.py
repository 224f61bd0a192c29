"""What a run will do, before it does it: which inputs are missing, their order, about how long it takes."""

from collections.abc import Callable, Sequence

from pairrank.runs import Run, all_inputs, is_ready


def tell_plan(started: Sequence[Run], say: Callable[[str], None]) -> None:
    """Say it where any of the runs builds on others."""
    for run in started:
        needed = list(all_inputs(run))
        if not needed:
            continue
        ready = [each for each in needed if is_ready(each)]
        missing = [each for each in needed if each not in ready]
        label = run.experiment.label
        if ready:
            say(f"{label} builds on {_names(ready)}: finished, used as they are.")
        if missing:
            todo = ", ".join(f"{each.experiment.label} ({_duration(_seconds(each))})" for each in missing)
            say(f"{label} needs, and this run makes first: {todo}.")
        whole = [_seconds(each) for each in (*missing, run)]
        told = _duration(sum(whole)) if all(whole) else f"{_duration(sum(whole))}, and what nobody has timed"
        say(f"{label}: in all {told}, on two cores.")


def _seconds(run: Run) -> float:
    """The experiment's own estimate for these battles; 0 where it has none."""
    return run.experiment.seconds * len(run.battles) / 1000 * run.experiment.folds / 5


def _names(runs: Sequence[Run]) -> str:
    return ", ".join(each.experiment.label for each in runs)


def _duration(seconds: float) -> str:
    if not seconds:
        return "of unknown length"
    return f"about {max(seconds, 1):.0f} s" if seconds < 100 else f"about {seconds / 60:.0f} min"
