"""What a run will do, before it does it: which inputs are missing, their order, about how long it takes."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pairrank.evaluation.run_record import read_run_record
from pairrank.runs.experiment_files import load_experiment
from pairrank.runs.identity import identity_of
from pairrank.runs.run import Run, all_inputs, is_reusable


def in_order(started: Sequence[Run]) -> list[Run]:
    """The same runs, none before one that it builds on."""
    return sorted(started, key=lambda run: len(list(all_inputs(run))))


def plan_lines(started: Sequence[Run]) -> list[str]:
    """Describe what each run that builds on others uses, what is trained first, and about how long it all takes."""
    named = {run.folder for run in started}
    described: set[Path] = set()
    lines: list[str] = []
    for run in started:
        needed = [each for each in all_inputs(run) if each.folder not in named | described]
        described |= {each.folder for each in needed}
        lines += _lines_of(run, needed)
    return lines


def _lines_of(run: Run, needed: Sequence[Run]) -> Iterator[str]:
    """The plan of one run; `needed` are its inputs that no earlier line has described."""
    ready = [each for each in needed if is_reusable(each)]
    missing = [each for each in needed if each not in ready]
    label, teacher = run.experiment.label, run.experiment.teacher
    if ready:
        yield f"{label} builds on {_names(ready)}: finished, used as they are."
    if old := [each for each in ready if read_run_record(each.folder).identity != identity_of(each)]:
        yield f"Made by other code, encoders or extra battles than today's: {_names(old)}. `run` makes them anew."
    if missing:
        todo = ", ".join(f"{each.experiment.label} ({_duration(_seconds(each))})" for each in missing)
        yield f"{label} needs, and this run makes first: {todo}."
    if teacher:
        yield f"{label} has {teacher} for a teacher: trained again inside the training battles of each fold."
    if needed or teacher:
        whole = [_seconds(each) for each in (*missing, run)]
        if any(whole):
            rest = "" if all(whole) else ", and what nobody has timed"
            yield f"{label}: in all {_duration(sum(whole))}{rest}, on two cores."


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
