"""The arguments and options that commands share, each with its help text."""

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pairrank.training.tracking import Tracker

if TYPE_CHECKING:  # help texts must not load numpy or torch
    from pairrank.cli.ray import Cluster


class Engine(StrEnum):
    """The values of `--engine`."""

    local = "local"
    ray = "ray"


class Pruner(StrEnum):
    """The values of `tune --pruner`."""

    median = "median"
    hyperband = "hyperband"
    none = "none"


def complete_experiments(incomplete: str) -> list[str]:
    """Return the experiments whose names begin with the incomplete word, without loading models or torch."""
    from pairrank.runs.experiment_files import experiment_files

    return sorted(name for name in experiment_files() if name.startswith(incomplete))


def complete_described(incomplete: str) -> list[str]:
    """Return the experiments and models whose names begin with the incomplete word."""
    from pairrank.models.base import model_names

    models = [name for name in model_names() if name.startswith(incomplete)]
    return list(dict.fromkeys([*complete_experiments(incomplete), *models]))


def complete_runs(incomplete: str) -> list[str]:
    """Return the runs under ./runs whose names begin with the incomplete word."""
    names = {file.parent.name for file in Path("runs").glob("*/[!.]*/metrics.json")}
    return sorted(name for name in names if name.startswith(incomplete))


Experiments = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME...",
        help="Experiments (see `list`), or paths of .toml files.",
        autocompletion=complete_experiments,
    ),
]
Searched = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="An experiment with a table [search], or the path of its file.",
        autocompletion=complete_experiments,
    ),
]
AverageAdapters = Annotated[
    bool,
    typer.Option(
        "--average-adapters",
        help="Predict with one model, whose adapter and head are the means of those of the folds, instead of "
        "averaging the predictions of all folds. Faster, and its score is unknown.",
    ),
]
Described = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="An experiment (see `list`), the path of a .toml file, or a model.",
        autocompletion=complete_described,
    ),
]
RunName = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="The name of a run, as `list` shows it, such as structure+limit=150.",
        autocompletion=complete_runs,
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Folder with train.csv and test.csv, a file of battles, or hf:OWNER/NAME@REVISION on the Hugging Face "
        "hub. Default: ./Dataset, else the sample.",
    ),
]
Runs = Annotated[
    Path | None, typer.Option("--runs", help="Folder of the runs. Default: runs/NAME-OF-THE-DATA-FOLDER.")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a parameter, e.g. training.epochs=1; may be repeated. `describe NAME` lists the parameters.",
    ),
]
NoCache = Annotated[
    bool,
    typer.Option(
        "--no-cache",
        help="Encode every text and count all features again: neither read nor write the cache of vectors and "
        "counted features.",
    ),
]
Reference = Annotated[
    list[str] | None,
    typer.Option(help="Row that the others are compared with; may be repeated. Default: prior."),
]
Add = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=FILE",
        help="Add out-of-fold predictions made elsewhere, such as in a notebook, or a file of scores (id, score_a, "
        "score_b), such as a reward model's; may be repeated.",
    ),
]
EngineOption = Annotated[
    Engine,
    typer.Option(
        "--engine",
        help="Work in this process (local) or on a Ray cluster (ray): the one at RAY_ADDRESS=host:6379, or else "
        "workers on this machine. Ray needs: pip install 'pairrank[ray]'.",
    ),
]
TaskCpus = Annotated[
    int | None,
    typer.Option(min=1, help="With ray: CPUs per fold or shard. Default: an equal share of all CPUs."),
]
TaskGpus = Annotated[
    float | None, typer.Option(min=0, help="With ray: GPUs per fold or shard. Default: 1 if there is a GPU.")
]
Schema = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Schema of the file. Default: its columns tell. $PAIRRANK_SCHEMAS names Python files with schemas of "
        "your own.",
    ),
]
Plugin = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="FILE",
        callback=lambda sources: load_plugins(sources),
        help="Run this Python file, or import this module, with a model, features, a head or a schema of your own, "
        "which the files of a run can only name. May be repeated.",
    ),
]
Out = Annotated[Path, typer.Option("--out", help="The file to write.")]

# Options of `curve` only

Sizes = Annotated[
    list[str] | None,
    typer.Option(
        metavar="N,N,...",
        help="Numbers of training battles, and `all` for the whole training part, such as 200,400,all. Default: "
        "200, 400, 800 and so on, and all.",
    ),
]
Repeats = Annotated[int, typer.Option(min=1, help="Random subsets of each size.")]
Extrapolate = Annotated[
    int, typer.Option(min=1, metavar="N", help="Number of training battles at which the log loss is predicted.")
]
CurveReference = Annotated[
    str, typer.Option("--reference", help="Experiment that the others are compared with. Default: the first one.")
]
PublishCurves = Annotated[
    Path | None,
    typer.Option("--publish", help="Folder for a table (Markdown), a chart (SVG) and all numbers (JSON)."),
]

# Options of `run`, `curve` and `tune`

Folds = Annotated[
    list[int] | None,
    typer.Option("--fold", min=0, help="Train only this fold; may be repeated. Inputs get all their folds."),
]
Salt = Annotated[str, typer.Option(help="Any text; it gives another split. Published figures use no salt.")]
Limit = Annotated[int, typer.Option(min=0, help="Use only this many battles, the first ones. 0 uses all.")]
TrainSize = Annotated[
    int,
    typer.Option(
        "--train-size",
        min=0,
        help="Train each fold on about this many battles, whole prompts at random. 0 uses all. The folds are "
        "scored whole. `curve` runs several sizes.",
    ),
]
TrainSample = Annotated[
    int, typer.Option("--train-sample", min=0, help="With --train-size: number of the random subset.")
]
Seeds = Annotated[
    list[int] | None,
    typer.Option(min=0, help="Random seed; each one makes a separate run. May be repeated."),
]
ExtraBattles = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATH[=WEIGHT]",
        help="Also train on the battles of this file or folder, e.g. ../mt_bench=0.2, or ../gpt4=0.1,margin to "
        "train only who wins; may be repeated. They are never scored. Battles with a prompt of the scored fold or "
        "of test.csv are left out.",
    ),
]
Nested = Annotated[
    bool,
    typer.Option(
        "--nested",
        help="Train the inputs again inside each fold, so that no scored winner has influenced them. Takes "
        "several times as long.",
    ),
]
NoEvidence = Annotated[
    bool,
    typer.Option(
        "--no-evidence",
        help="Leave the predictions for identical and for empty answers to the model, here and in all inputs.",
    ),
]
Track = Annotated[
    Tracker | None,
    typer.Option(
        help="Also log settings, scores and training steps to this tracker. Install its package first. Its "
        "own variables, such as MLFLOW_TRACKING_URI, determine where it stores them."
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Show what would be trained, where and for how long, and stop."),
]
Trials = Annotated[
    int,
    typer.Option(min=1, help="Number of finished trials of all workers together; pruned trials count."),
]
Timeout = Annotated[
    float | None, typer.Option(min=0, help="Start no trial after this many seconds, and use the finished ones.")
]
Storage = Annotated[
    str,
    typer.Option(
        metavar="URL",
        help="Database that the workers share, e.g. postgresql://user@host/tuning. Default: an SQLite file "
        "in the folder of the runs.",
    ),
]
Jobs = Annotated[int, typer.Option(min=1, help="Worker processes to start on this machine.")]
TuningFolds = Annotated[
    list[int] | None,
    typer.Option(
        "--fold",
        min=0,
        help="Score trials on this fold only; may be repeated. Default: all but the untouched one.",
    ),
]
Untouched = Annotated[
    int | None,
    typer.Option(min=0, help="The fold that no trial uses. It tests the best setting. Default: the last."),
]
NestedSearch = Annotated[
    bool,
    typer.Option(
        "--nested",
        help="Search separately for each fold, to get one unbiased figure over all folds. Takes five times as "
        "long.",
    ),
]
PrunerOption = Annotated[
    Pruner, typer.Option(help="How a bad trial is stopped early, by its losses on the first fold.")
]
SearchSeed = Annotated[int, typer.Option(min=0, help="Random seed of the settings that are tried.")]


def examples(*lines: str) -> str:
    """Return the last paragraph of a help text: one example per line, which is never wrapped."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def cluster_of(engine: Engine, cpus: int | None, gpus: float | None) -> "Cluster | None":
    """Return the resources of one task on a Ray cluster; None if the work is done in this process."""
    from pairrank.cli.ray import Cluster

    return Cluster(cpus, gpus) if engine is Engine.ray else None


def load_plugins(sources: list[str] | None) -> list[str] | None:
    """Load code of the user's own, here and in the processes that this one starts."""
    if sources:
        from pairrank import plugins

        for source in sources:
            plugins.load_plugin(source)
        os.environ |= plugins.variable()
    return sources


def skip_cache(skip: bool) -> None:
    """Turn the cache of vectors off, for this process and those that it starts."""
    if skip:
        os.environ["PAIRRANK_NO_CACHE"] = "1"
