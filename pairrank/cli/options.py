"""The arguments and options that several commands share, each with its help text."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


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
    """Return the experiments that begin so, for the completion of a shell; no model and no torch is loaded."""
    from pairrank.runs.experiment_files import experiment_files

    return sorted(name for name in experiment_files() if name.startswith(incomplete))


def complete_described(incomplete: str) -> list[str]:
    """Return the experiments and models that begin so."""
    from pairrank.models.base import model_names

    models = [name for name in model_names() if name.startswith(incomplete)]
    return list(dict.fromkeys([*complete_experiments(incomplete), *models]))


def complete_runs(incomplete: str) -> list[str]:
    """Return the names of the runs under ./runs that begin so."""
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
        metavar="NAME", help="A run, or an experiment (see `list`) with one run.", autocompletion=complete_runs
    ),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="Folder with train.csv and test.csv. Default: ./Dataset, else the sample."),
]
Runs = Annotated[
    Path | None, typer.Option("--runs", help="Folder of the runs. Default: runs/NAME-OF-THE-DATA-FOLDER.")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a parameter, e.g. training.epochs=1; may be repeated. `describe NAME` lists them all.",
    ),
]
NoCache = Annotated[
    bool,
    typer.Option(
        "--no-cache",
        help="Encode every text again: neither read nor write the cache of vectors from frozen encoders.",
    ),
]
Reference = Annotated[
    list[str] | None,
    typer.Option(help="Row that the others are compared with; may be repeated. Default: prior."),
]
Add = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=OOF.CSV",
        help="Add out-of-fold predictions made elsewhere, such as in a notebook; may be repeated.",
    ),
]
EngineOption = Annotated[
    Engine,
    typer.Option(
        "--engine",
        help="Work in this process, or on a Ray cluster (RAY_ADDRESS=host:6379; without it, workers on this "
        "machine). Ray needs: pip install 'pairrank[ray]'.",
    ),
]
TaskCpus = Annotated[
    int | None,
    typer.Option(min=1, help="With ray: CPUs per fold or shard. Default: an equal share of all CPUs."),
]
TaskGpus = Annotated[
    float | None, typer.Option(min=0, help="With ray: GPUs per fold or shard. Default: 1 if there is a GPU.")
]
Out = Annotated[Path, typer.Option("--out", help="The file to write.")]


def examples(*lines: str) -> str:
    """Return the last paragraph of a help text: one example per line, which is never wrapped."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
