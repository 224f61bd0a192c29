"""`curve` runs experiments on subsets of their training battles, and shows and writes their learning curves."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from pairrank import distributed
from pairrank.api.experiments import refuse_missing_folds
from pairrank.api.model_cards import REFERENCE
from pairrank.api.sources import Source, find_source, home_of
from pairrank.cli.console import say, show_count, show_table
from pairrank.cli.messages import ignore, messages_to
from pairrank.cli.plan import Plan, Step
from pairrank.cli.ray import Cluster, make_folds
from pairrank.cli.run import train_reference
from pairrank.errors import UserError
from pairrank.evaluation.entries import entries_in
from pairrank.evaluation.learning_curve_table import columns, notes, summary, to_json, to_markdown
from pairrank.evaluation.learning_curves import KAGGLE, LearningCurves, build_curves
from pairrank.progress import in_words
from pairrank.report.size_charts import curves_page, loss_by_size
from pairrank.runs.cross_validation import cross_validate
from pairrank.runs.experiment import Experiment
from pairrank.runs.experiment_files import load_experiment
from pairrank.runs.resolution import resolve_run
from pairrank.runs.run import Run

SMALLEST = 200
"""The first of the default sizes, each of which is twice the one before."""

ALL = "all"
"""The size of the whole training part on the command line."""

PUBLISHED = "learning-curves"
"""Name, without their endings, of the files that --publish writes."""

PROGRESS = "pairrank.progress"
"""Name of the logger that reports how long work will take."""


@dataclass(frozen=True)
class CurveRequest:
    """The arguments and options of `curve`."""

    names: Sequence[str]
    """Experiments, or paths of .toml files."""
    sizes: Sequence[str] = ()
    """Numbers of training battles, or `ALL`; () for the default ones."""
    repeats: int = 3
    """Subsets of each size, except of the whole training part."""
    target: int = KAGGLE
    """The number of training battles to extrapolate to."""
    data: Path | None = None
    runs: Path | None = None
    folds: Sequence[int] = ()
    """Only these folds; () for all."""
    overrides: Sequence[str] = ()
    """Changes of parameters, as KEY=VALUE."""
    salt: str = ""
    limit: int = 0
    nested: bool = False
    evidence: bool = True
    reference: str = ""
    """The experiment to compute differences to; "" for the first one."""
    publish: Path | None = None
    """Folder for a Markdown table, a chart and JSON."""
    cluster: Cluster | None = None
    """Resources of one fold on a Ray cluster; None means that this process does the work."""
    dry_run: bool = False
    """Show the plan, and do nothing else."""


def curve(request: CurveRequest) -> None:
    """Run every experiment at every size that is not finished, and show and write the learning curves."""
    source = find_source(request.data)
    home = home_of(request.runs, source)
    whole = [resolve_run(_experiment(request, name), source, home) for name in request.names]
    for run in whole:
        refuse_missing_folds(run.experiment, request.folds)
    sizes = _sizes(request.sizes, min(_smallest_training_part(run, request.folds) for run in whole))
    plan = Plan.of(list(_runs(request, sizes, source, home)), request.folds)
    reference = _reference_label(request.reference, whole)
    _show_plan(plan, request, sizes)
    if request.dry_run:
        say("Nothing was trained or written (--dry-run).")
        return
    if distributed.world_size() > 1:
        raise UserError("curve: it cannot be started with torchrun. Use `run --train-size` for each size.")
    if REFERENCE not in {each.experiment.label for each in plan.runs}:
        train_reference(source, home)
    if request.cluster:
        make_folds(plan.runs, plan.folds, request.cluster, show_count)
    _train(plan, bool(request.cluster))
    _show_results(source, home, plan, request, reference)


def split_sizes(names: Sequence[str], sizes: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the experiments and the sizes of a command line.

    Sizes are separated by commas or, as in `--sizes 200 400 all`, by spaces. An option takes one word only, so the
    other numbers are among the names.
    """
    is_size = [bool(sizes) and (name == ALL or name.replace(",", "").isdecimal()) for name in names]
    extra = [name for name, is_one in zip(names, is_size, strict=True) if is_one]
    numbers = [part.strip() for text in (*sizes, *extra) for part in text.split(",") if part.strip()]
    experiments = [name for name, is_one in zip(names, is_size, strict=True) if not is_one]
    if not experiments:
        raise UserError("curve: no experiment is named. Expected for example: curve structure --sizes 200,400,all")
    return experiments, numbers


def _experiment(request: CurveRequest, name: str, size: int = 0, sample: int = 0) -> Experiment:
    return load_experiment(
        name,
        request.overrides,
        salt=request.salt,
        limit=request.limit,
        nested=request.nested,
        evidence=request.evidence,
        train_size=size,
        train_sample=sample,
    )


def _runs(request: CurveRequest, sizes: Sequence[int], source: Source, home: Path) -> Iterator[Run]:
    """Yield one run for each experiment, size and subset; the whole training part has one subset only."""
    for name in request.names:
        for size in sizes:
            for sample in range(request.repeats if size else 1):
                yield resolve_run(_experiment(request, name, size, sample), source, home)


def _smallest_training_part(run: Run, folds: Sequence[int]) -> int:
    """Return the number of training battles of the wanted fold that has fewest of them."""
    if run.experiment.train_size:
        raise UserError(f"{run.experiment.name}: its file sets train_size, which curve varies. Remove it.")
    chosen = folds or range(run.experiment.folds)
    return min(int((run.fold_index != fold).sum()) for fold in chosen)


def _sizes(wanted: Sequence[str], available: int) -> list[int]:
    """Return the sizes in increasing order, the whole training part (0) last.

    Raises UserError for a size that is not a number, and for all sizes that a training part does not have.
    """
    if not wanted:
        doubled = [SMALLEST << i for i in range(available.bit_length()) if SMALLEST << i < available]
        return [*doubled, 0]
    wrong = [text for text in wanted if text != ALL and not (text.isdecimal() and int(text))]
    if wrong:
        raise UserError(f"--sizes {wrong[0]}: expected numbers of battles or {ALL}, such as --sizes 200,400,{ALL}.")
    numbers = sorted({int(text) for text in wanted if text != ALL})
    if large := [f"{size:,}" for size in numbers if size >= available]:
        raise UserError(
            f"--sizes: {', '.join(large)}: the smallest training part of a fold has {available:,} battles. "
            f"Expected smaller sizes, or {ALL} for the whole training part."
        )
    return [*numbers, *([0] if ALL in wanted else [])]


def _reference_label(name: str, runs: Sequence[Run]) -> str:
    """Return the label of the reference: the first experiment, or the one of this name."""
    labels = {run.experiment.name: run.experiment.label for run in runs}
    if name and name not in {*labels, *labels.values()}:
        raise UserError(f"--reference {name}: expected one of the experiments of the curve: {', '.join(labels)}.")
    return labels.get(name, name) or runs[0].experiment.label


def _show_plan(plan: Plan, request: CurveRequest, sizes: Sequence[int]) -> None:
    """Print how many runs there are, how many of their folds are missing, and about how long these take."""
    named = {run.folder for run in plan.runs}
    inputs = sum(step.run.folder not in named for step in plan.steps)
    missing = [step for step in plan.steps if step.missing]
    counted = f"{len(plan.runs)} runs" + (f" and {inputs} inputs of them" if inputs else "")
    numbers = ", ".join(f"{size:,}" if size else ALL for size in sizes)
    say(
        f"{', '.join(request.names)}: {numbers} training battles, {request.repeats} subsets of each size: "
        f"{counted}; {_work(missing)}."
    )


def _work(missing: Sequence[Step]) -> str:
    """Return how many folds are missing, and about how long they take."""
    if not missing:
        return "all are finished"
    folds, seconds = sum(len(step.missing) for step in missing), [step.seconds for step in missing]
    rest = "" if all(seconds) else ", plus the experiments without an estimate"
    time = f"{in_words(sum(seconds))} on two cores{rest}" if any(seconds) else "unknown time"
    return f"{folds} folds are missing: {time}"


def _train(plan: Plan, is_done: bool) -> None:
    """Run what is missing, and print one line per run; if all is done, only combine the folds."""
    named = {each.folder for each in plan.runs}
    clock, essential = plan.start_clock(), Essential()
    for number, step in enumerate(plan.steps, 1):
        is_new = bool(step.missing) and not is_done
        with messages_to(say if is_new else ignore, only=essential):
            record = cross_validate(step.run, plan.folds if step.run.folder in named else None)
        remaining = clock.remaining_after(step)
        if is_new:
            score = "" if record.log_loss is None else f" log loss {record.log_loss:.4f}."
            say(f"{number} of {len(plan.steps)}: {record.label}:{score} {remaining}".rstrip())


@dataclass(frozen=True)
class Essential:
    """Selects the messages that are worth a line while many runs are trained: progress, and each warning once."""

    warned: set[str] = field(default_factory=set)
    """What warnings have said, without the name of the run at their beginning."""

    def __call__(self, record: logging.LogRecord) -> bool:
        """Return whether to show a message."""
        if record.levelno < logging.WARNING:
            return record.name == PROGRESS
        text = record.getMessage().partition(": ")[2]
        is_new = text not in self.warned
        self.warned.add(text)
        return is_new


def _show_results(source: Source, home: Path, plan: Plan, request: CurveRequest, reference: str) -> None:
    """Measure the curves, show the table, and write table, chart and page."""
    found = {entry.label: entry for entry in entries_in(home, source.train)}
    labels = dict.fromkeys([*(each.experiment.label for each in plan.runs), REFERENCE])
    entries = [found[label] for label in labels if label in found]
    curves = build_curves(source.name, source.train, entries, request.target, reference, source.truth)
    if curves is None:
        say("A learning curve needs at least two sizes, so nothing is drawn.")
        return
    show_curves(curves)
    to_json(curves, home / "curves.json")
    curves_page(curves).write(home / "curves.html")
    say(f"Written: {home / 'curves.json'}, {home / 'curves.html'}")
    if request.publish:
        publish_curves(curves, request.publish)


def show_curves(curves: LearningCurves) -> None:
    """Print the table of learning curves, and what follows from them."""
    table = columns(curves)
    names = list(table)
    rows = [list(row) for row in zip(*table.values(), strict=True)]
    for before, row in reversed(list(pairwise(rows))):
        if row[0] == before[0]:
            row[0] = ""  # each experiment is named once
    say(summary(curves))
    show_table(f"Learning curves: {curves.data}", names, rows, whole=names[1:])
    for line in notes(curves):
        say(line)


def publish_curves(curves: LearningCurves, folder: Path) -> None:
    """Write the curves as Markdown, chart and JSON into a folder, without the text of any battle."""
    loss_by_size(curves).save(folder / f"{PUBLISHED}.svg")
    to_markdown(curves, folder / f"{PUBLISHED}.md", f"{PUBLISHED}.svg")
    to_json(curves, folder / f"{PUBLISHED}.json")
    say(f"Written: {folder / PUBLISHED}.md, .svg and .json")
