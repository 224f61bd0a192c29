"""`run` checks everything, shows the plan, trains what is missing, and shows the leaderboard."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pairrank import distributed
from pairrank.api.entries import without_subsets
from pairrank.api.experiments import refuse_missing_folds, refuse_unreadable_extra
from pairrank.api.model_cards import REFERENCE, write_model_cards
from pairrank.api.sources import Source, find_source, home_of
from pairrank.cli.compare import try_to_write_board
from pairrank.cli.console import say, show_board, show_count
from pairrank.cli.messages import ignore, messages_to
from pairrank.cli.plan import Plan
from pairrank.cli.ray import Cluster, make_folds
from pairrank.data.extra import Extra, Teaches
from pairrank.errors import UserError
from pairrank.evaluation.entries import entries_in
from pairrank.evaluation.leaderboard import build_leaderboard
from pairrank.runs.cross_validation import assist_rank_zero, cross_validate
from pairrank.runs.experiment import Experiment
from pairrank.runs.experiment_files import load_experiment
from pairrank.runs.resolution import resolve_run
from pairrank.runs.run import Run
from pairrank.training.tracking import how_to_view, tracker


@dataclass(frozen=True)
class RunRequest:
    """The arguments and options of `run`."""

    names: Sequence[str]
    """Experiments, or paths of .toml files."""
    data: Path | None = None
    runs: Path | None = None
    folds: Sequence[int] = ()
    """Only these folds of the named experiments; () for all."""
    salt: str = ""
    limit: int = 0
    seeds: Sequence[int] = ()
    overrides: Sequence[str] = ()
    """Changes of parameters, as KEY=VALUE."""
    nested: bool = False
    extra: Sequence[str] = ()
    """Sources of extra battles, as PATH or PATH=WEIGHT."""
    cluster: Cluster | None = None
    """Resources of one fold on a Ray cluster; None means that this process does the work."""
    dry_run: bool = False
    """Show the plan, and do nothing else."""
    evidence: bool = True
    """Whether evidence corrects the predictions, unless an experiment's file says that it does not."""
    train_size: int = 0
    train_sample: int = 0


def run(request: RunRequest) -> None:
    """Check the experiments, show the plan, run inputs and then experiments, and show the leaderboard."""
    source = find_source(request.data)
    home = home_of(request.runs, source)
    experiments = _experiments(request)
    plan = Plan.of([resolve_run(each, source, home) for each in experiments], request.folds)
    refuse_unreadable_extra(plan.runs)
    if request.cluster and distributed.world_size() > 1:
        raise UserError("--engine ray under torchrun: both distribute the work. Use one of them.")
    if request.dry_run:
        _show_plan(plan)
        return
    with distributed.connected():
        if distributed.rank():
            assist_rank_zero(plan.runs)
            return
        for line in plan.lines():
            say(line)
        if REFERENCE not in [each.experiment.label for each in plan.runs]:
            train_reference(source, home)
        if request.cluster:
            make_folds(plan.runs, plan.folds, request.cluster, show_count)
        _train(plan, request, {each.name: each for each in experiments})
        distributed.stop_helpers()
    _show_results(source, home, plan.runs)


def train_reference(source: Source, home: Path) -> None:
    """Run the experiment that the leaderboard compares with; an error in its folder does not stop other runs."""
    reference = resolve_run(load_experiment(REFERENCE), source, home)
    _ = reference.battles  # battles that cannot be read stop every run
    try:
        with messages_to(ignore):
            cross_validate(reference)
    except UserError as error:
        say(f"Left out: {error}")


def _experiments(request: RunRequest) -> list[Experiment]:
    """Load the experiments, one for each seed; raises UserError for a fold that one of them does not have."""
    sources = [_extra(argument) for argument in request.extra]
    experiments = [
        load_experiment(
            name,
            request.overrides,
            seed=seed,
            salt=request.salt,
            limit=request.limit,
            nested=request.nested,
            train_size=request.train_size,
            train_sample=request.train_sample,
            extra=sources,
            evidence=request.evidence,
        )
        for name in request.names
        for seed in request.seeds or (None,)
    ]
    for experiment in experiments:
        refuse_missing_folds(experiment, request.folds)
    return experiments


def _extra(argument: str) -> Extra:
    """Return the source that an argument PATH, PATH=WEIGHT or PATH=WEIGHT,HEAD of --extra describes."""
    path, equals, rest = argument.rpartition("=")
    if not equals:
        return Extra(argument)
    weight, _, teaches = rest.partition(",")
    try:
        share = float(weight)
    except ValueError:
        raise UserError(
            f"--extra {argument}: expected PATH=WEIGHT or PATH=WEIGHT,margin, such as ../mt_bench=0.2."
        ) from None
    return Extra(path, share, cast(Teaches, teaches or "both"))


def _show_plan(plan: Plan) -> None:
    """Print what `run` would do."""
    if distributed.rank():
        return
    for line in (*plan.lines(), *plan.step_lines()):
        say(line)
    if REFERENCE not in [step.run.experiment.label for step in plan.steps]:
        say(f"{REFERENCE}: also trained if it is missing, because it is the reference of the leaderboard")
    say("Nothing was trained or written (--dry-run).")


def _train(plan: Plan, request: RunRequest, wanted: dict[str, Experiment]) -> None:
    """Run the missing inputs and the named experiments, and print the estimated remaining time after each."""
    named = {each.folder for each in plan.runs}
    clock = plan.start_clock()
    for step in plan.steps:
        if step.run.folder in named:
            _announce(step.run, request, wanted[step.run.experiment.name])
        # The workers of a cluster have reported these folds already.
        with messages_to(ignore) if request.cluster else nullcontext():
            cross_validate(step.run, plan.folds if step.run.folder in named else None)
        if step.run.folder in named:
            if step.run.test is None and not step.run.experiment.train_size:
                missing = "test.csv" if step.run.data.test is None else "battles in its test file"
                say(f"{step.run.data.path} has no {missing}, so there are no test predictions to submit.")
            say(f"Written: {step.run.folder}")
        if remaining := clock.remaining_after(step):
            say(remaining)


def _announce(run: Run, request: RunRequest, wanted: Experiment) -> None:
    """Print what an experiment is, and how its run differs from the request."""
    experiment = run.experiment
    say(": ".join(filter(None, [experiment.label, experiment.about])))
    if request.seeds and experiment.inputs:
        say(f"--seed applies to {experiment.label} itself, if it has one; its inputs keep their own seeds.")
    if experiment.encoder:
        first = wanted.encoders[0]
        say(f"The encoder {first} is not available here. Using {experiment.encoder}; the run's name says so.")


def _show_results(source: Source, home: Path, runs: Sequence[Run]) -> None:
    """Write and show the leaderboard, and write the model cards."""
    entries = without_subsets(entries_in(home, source.train), [run.experiment.label for run in runs])
    references = [REFERENCE] if REFERENCE in [entry.label for entry in entries] else []
    board = build_leaderboard(source.name, source.train, entries, references, source.truth)
    try_to_write_board(board, home)
    write_model_cards(board, entries, source, runs)
    if tracker():
        say(f"Tracked runs: {how_to_view(home)}")
    show_board(board)
