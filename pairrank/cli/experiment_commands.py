"""The commands about experiments and models: run, curve, list, describe, new-model, check-model, tune."""

from pathlib import Path
from typing import Annotated

import typer

from pairrank.cli.options import (
    CurveReference,
    Data,
    Described,
    DryRun,
    Engine,
    EngineOption,
    Experiments,
    ExtraBattles,
    Extrapolate,
    Folds,
    Jobs,
    Limit,
    Nested,
    NestedSearch,
    NoCache,
    NoEvidence,
    Plugin,
    Pruner,
    PrunerOption,
    PublishCurves,
    Repeats,
    Runs,
    Salt,
    Searched,
    SearchSeed,
    Seeds,
    Set,
    Sizes,
    Storage,
    TaskCpus,
    TaskGpus,
    Timeout,
    Track,
    TrainSample,
    TrainSize,
    Trials,
    TuningFolds,
    Untouched,
    cluster_of,
    examples,
    skip_cache,
)
from pairrank.training.tracking import track_with

commands = typer.Typer()


@commands.command(
    epilog=examples(
        "run structure",
        "run structure --dry-run",
        "run baseline --data ../my-battles --fold 0",
        "run baseline --set training.epochs=1",
        "run siamese --seed 0 --seed 1 --engine ray",
        "torchrun --nproc_per_node 2 -m pairrank.experiments run siamese",
    )
)
def run(
    names: Experiments,
    data: Data = None,
    runs: Runs = None,
    fold: Folds = None,
    salt: Salt = "",
    limit: Limit = 0,
    train_size: TrainSize = 0,
    train_sample: TrainSample = 0,
    seed: Seeds = None,
    set_: Set = None,
    extra: ExtraBattles = None,
    nested: Nested = False,
    no_evidence: NoEvidence = False,
    track: Track = None,
    no_cache: NoCache = False,
    engine: EngineOption = Engine.local,
    task_cpus: TaskCpus = None,
    task_gpus: TaskGpus = None,
    dry_run: DryRun = False,
    plugin: Plugin = None,
) -> None:
    """Train experiments, one model per fold, and compare them.

    An experiment may build on others, its inputs: those that are missing are trained first. Finished folds are
    used again, and an interrupted training resumes from its last complete epoch, so the same command continues
    after a crash. To fine-tune one model on several GPUs, start the command with torchrun.
    """
    from pairrank.cli.run import RunRequest
    from pairrank.cli.run import run as train

    skip_cache(no_cache)
    if track:
        track_with(track)
    train(
        RunRequest(
            names,
            data,
            runs,
            fold or (),
            salt,
            limit,
            seed or (),
            set_ or (),
            nested,
            extra or (),
            cluster_of(engine, task_cpus, task_gpus),
            dry_run,
            not no_evidence,
            train_size,
            train_sample,
        )
    )


@commands.command(
    epilog=examples(
        "curve structure kernel siamese",
        "curve structure --sizes 200,400,all --repeats 1",
        "curve prior structure --data ../arena --publish docs/curves",
        "curve siamese --fold 0 --dry-run",
    )
)
def curve(
    names: Experiments,
    sizes: Sizes = None,
    repeats: Repeats = 3,
    extrapolate: Extrapolate = 57_477,
    data: Data = None,
    runs: Runs = None,
    fold: Folds = None,
    salt: Salt = "",
    limit: Limit = 0,
    set_: Set = None,
    nested: Nested = False,
    no_evidence: NoEvidence = False,
    reference: CurveReference = "",
    publish: PublishCurves = None,
    no_cache: NoCache = False,
    engine: EngineOption = Engine.local,
    task_cpus: TaskCpus = None,
    task_gpus: TaskGpus = None,
    dry_run: DryRun = False,
) -> None:
    """Measure what more training battles are worth.

    Each experiment is trained on random subsets of its training battles, and always scored on the same folds. A
    power law is fitted to its log loss and extrapolated, with an interval, and the sizes are shown at which one
    experiment overtakes another. Every point is a run of its own, so the same command continues after a crash.
    """
    from pairrank.cli.curve import CurveRequest, split_sizes
    from pairrank.cli.curve import curve as measure

    skip_cache(no_cache)
    experiments, numbers = split_sizes(names, sizes or [])
    measure(
        CurveRequest(
            experiments,
            numbers,
            repeats,
            extrapolate,
            data,
            runs,
            tuple(sorted(set(fold or []))),
            set_ or (),
            salt,
            limit,
            nested,
            not no_evidence,
            reference,
            publish,
            cluster_of(engine, task_cpus, task_gpus),
            dry_run,
        )
    )


@commands.command("list")
def list_(
    data: Data = None,
    runs: Runs = None,
    all_: Annotated[bool, typer.Option("--all", help="Also list the former results of runs.")] = False,
) -> None:
    """List the experiments and the existing runs.

    A run whose experiment, inputs or code have changed is trained again, and its former results are kept.
    """
    from pairrank.cli.listing import show_list

    show_list(data, runs, all_)


@commands.command(epilog=examples("describe siamese", "describe gbdt", "describe my-experiment.toml"))
def describe(name: Described) -> None:
    """Explain every parameter of an experiment or a model.

    Shown are its value, its default, its meaning, the values that are accepted, and what `tune` searches. Use
    it to find the KEY for `run --set KEY=VALUE`, and before you write an experiment of your own.
    """
    from pairrank.cli.describe import describe as show

    show(name)


@commands.command("new-model", epilog=examples("new-model my_model", "new-model my_model --folder experiments"))
def new_model(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Lower-case letters, digits and underscores.")],
    folder: Annotated[Path, typer.Option(help="Folder of the new files.")] = Path(),
) -> None:
    """Write a model of your own, to be changed.

    Three files: NAME.py, a small model that works; test_NAME.py, its test; NAME.toml, its experiment. Nothing is
    overwritten.
    """
    from pairrank.cli.own_models import new_model as write

    write(name, folder)


@commands.command("check-model", epilog=examples("check-model my_model.py", "check-model my_model.py:MyModel"))
def check_model(
    model: Annotated[
        str, typer.Argument(metavar="FILE[:CLASS]", help="A Python file, package.module:Class, or a model's name.")
    ],
    set_: Set = None,
) -> None:
    """Check that a model keeps the contract of all models.

    It learns from 60 simulated battles several times. Each law is shown with what was found: valid probabilities,
    the same answer for the same seed, no influence of other battles, no change of the battles, the same answer
    after saving and loading, three columns without ties, exchanged predictions for exchanged answers, no pickles.
    """
    from pairrank.cli.own_models import check_model as show

    show(model, set_ or [])


@commands.command(
    epilog=examples(
        "tune structure",
        "tune structure --jobs 2 --trials 100",
        "tune siamese --fold 0 --timeout 7200",
        "tune sparse --nested",
    )
)
def tune(
    name: Searched,
    trials: Trials = 60,
    timeout: Timeout = None,
    storage: Storage = "",
    data: Data = None,
    runs: Runs = None,
    jobs: Jobs = 1,
    fold: TuningFolds = None,
    untouched: Untouched = None,
    nested: NestedSearch = False,
    pruner: PrunerOption = Pruner.median,
    seed: SearchSeed = 0,
    set_: Set = None,
    no_cache: NoCache = False,
    plugin: Plugin = None,
) -> None:
    """Search for better parameters, and test them on unused data.

    The best setting is tested on a fold that the search never used, neither to train nor to score. The
    experiment's table [search] lists the parameters that may change, with their limits. If the best setting
    improves and the untouched fold does not contradict it, it is written to experiments/NAME-tuned.toml. The
    same command resumes an interrupted study; run at the same time elsewhere, it adds another worker.
    """
    from pairrank.api.tuning import TuneRequest
    from pairrank.cli.tune import tune as search

    skip_cache(no_cache)
    search(
        TuneRequest(
            name,
            data,
            runs,
            trials,
            timeout,
            storage,
            jobs,
            tuple(sorted(set(fold or []))),
            untouched,
            nested,
            pruner.value,
            seed,
            tuple(set_ or []),
        )
    )
