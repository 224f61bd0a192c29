"""The command line: each command says what it does in a few lines and leaves the work to the modules below."""

import io
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pairrank import distributed
from pairrank.cli.messages import messages_to, print_message
from pairrank.cli.options import (
    Add,
    Data,
    Described,
    Engine,
    EngineOption,
    Experiments,
    NoCache,
    Out,
    Pruner,
    Reference,
    RunName,
    Runs,
    Searched,
    Set,
    TaskCpus,
    TaskGpus,
    complete_runs,
    examples,
)
from pairrank.training.tracking import Tracker, track_with


class Commands(TyperGroup):
    """All commands; typer alone would end an interrupted one without a message."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; Ctrl-C says how to resume."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            if distributed.rank():
                sys.exit(130)
            resumes = ctx.invoked_subcommand in ("run", "tune")
            message = " The same command resumes from the finished folds and epochs." if resumes else ""
            print(f"\nInterrupted. No file is half-written.{message}", file=sys.stderr)
            sys.exit(130)


app = typer.Typer(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Predict which of two chatbot answers people prefer, and compare the architectures that do, by log "
    "loss.\n\nStart with: run baseline",
    epilog=examples("run baseline", "list", "describe structure", "run structure --dry-run", "compare"),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(asked: bool) -> None:
    if asked:
        from pairrank.cli.version import version_line

        typer.echo(version_line())
        raise typer.Exit


@app.callback()
def _common(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with every error.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    # `main` has taken --debug out of the arguments, wherever it was; it is declared here for the help text.
    del debug, version


@app.command(
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
    fold: Annotated[
        list[int] | None,
        typer.Option("--fold", min=0, help="Train only this fold; may be repeated. Inputs get all their folds."),
    ] = None,
    salt: Annotated[str, typer.Option(help="Cut other folds, by any text. Published figures use no salt.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="Use only the first battles, for a quick try. 0: all.")] = 0,
    seed: Annotated[
        list[int] | None,
        typer.Option(min=0, help="Another random seed, which makes another run; may be repeated."),
    ] = None,
    set_: Set = None,
    extra: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH[=WEIGHT]",
            help="Also train on the battles of this file or folder, e.g. ../mt_bench=0.2; may be repeated. They "
            "are never scored. Battles with a prompt of the scored fold or of test.csv are left out.",
        ),
    ] = None,
    nested: Annotated[
        bool,
        typer.Option(
            "--nested",
            help="Train the inputs again inside each fold, so that no scored winner has influenced them. Takes "
            "several times as long.",
        ),
    ] = False,
    track: Annotated[
        Tracker | None,
        typer.Option(
            help="Also log settings, scores and training steps to this tracker. Install its package first; its "
            "own variables, such as MLFLOW_TRACKING_URI, say where it stores them."
        ),
    ] = None,
    no_cache: NoCache = False,
    engine: EngineOption = Engine.local,
    task_cpus: TaskCpus = None,
    task_gpus: TaskGpus = None,
) -> None:
    """Train experiments, one model per fold, and compare them.

    An experiment may build on others, its inputs: those that are missing are trained first. Finished folds are
    used again, and an interrupted training resumes from its last complete epoch, so the same command continues
    after a crash. To fine-tune one model on several GPUs, start the command with torchrun.
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
    """List the experiments, and the runs made so far."""
    from pairrank.cli import commands

    commands.show_list(data, runs)


@app.command(epilog=examples("describe siamese", "describe gbdt", "describe my-experiment.toml"))
def describe(name: Described) -> None:
    """Explain every parameter of an experiment or a model.

    Shown are its value, its default, its meaning, the values that are accepted, and what `tune` searches. Use
    it to find the KEY for `run --set KEY=VALUE`, and before you write an experiment of your own.
    """
    from pairrank.cli.describe import describe as show

    show(name)


@app.command(
    epilog=examples(
        "compare",
        "compare --reference baseline --reference prior",
        "compare --add notebook=oof.csv",
        "compare --data ../my-battles --publish benchmarks",
    )
)
def compare(
    data: Data = None,
    runs: Runs = None,
    reference: Reference = None,
    add: Add = None,
    publish: Annotated[
        Path | None,
        typer.Option(help="Folder to collect predictions, results and LEADERBOARD.md in, to be committed."),
    ] = None,
) -> None:
    """Show and write the leaderboard of all runs on the data.

    It is written as Markdown and as JSON. Each difference to the reference comes with its 95 % interval, from a
    paired bootstrap over prompts.
    """
    from pairrank.cli import commands

    commands.compare(data, runs, reference or [], add or [], publish)


@app.command(epilog=examples("explore", "explore --data ../my-battles --out my-battles.html"))
def explore(
    data: Data = None,
    out: Out = Path("data.html"),
    encoder: Annotated[
        str,
        typer.Option(metavar="NAME", help="Encoder that counts tokens: a folder or a name. Default: minilm."),
    ] = "",
) -> None:
    """Write a page about the data, to look at before training.

    One HTML file, which needs no network, shows labels, lengths, turns, languages, repeated prompts, the models
    and their strengths, the influence of length on the vote, some battles to read, and every damaged or
    suspicious row with its id. Damaged files are shown too, unless one ends inside a cell.
    """
    from pairrank.cli.pages import explore as make

    make(data, out, encoder)


@app.command(epilog=examples("report", "report structure siamese --data ../my-battles --out models.html"))
def report(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME...]",
            help="Runs to examine one by one. Default: the best six.",
            autocompletion=complete_runs,
        ),
    ] = None,
    data: Data = None,
    runs: Runs = None,
    out: Out = Path("report.html"),
    reference: Reference = None,
    add: Add = None,
    published: Annotated[
        Path | None,
        typer.Option(help="Folder that `compare --publish` wrote. Its results are shown next to the runs."),
    ] = None,
) -> None:
    """Write a page about the runs: where each is right or wrong.

    One HTML file, which needs no network, contains the leaderboard, cost, learning curves, calibration,
    confusion, log loss on slices of the battles, length and position bias, agreement between runs, the battles
    with the largest loss or disagreement, and the settings behind each number.
    """
    from pairrank.cli.pages import report as make

    make(names or [], data, runs, out, reference or [], add or [], published)


@app.command(epilog=examples("submit structure", "submit ensemble-fast --data ../arena --out submission.csv"))
def submit(name: RunName, data: Data = None, runs: Runs = None, out: Out = Path("submission.csv")) -> None:
    """Write and check a submission for the test battles.

    Uses the run's test predictions. If test.csv has changed since the run, its saved models predict it again.
    """
    from pairrank.cli import commands

    commands.submit(name, data, runs, out)


@app.command(
    epilog=examples(
        "predict structure new.parquet --out new.csv",
        "predict siamese new.csv.gz --out new.csv --engine ray",
    )
)
def predict(
    name: RunName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Battles: .csv, .csv.gz or .parquet.")],
    out: Out,
    data: Data = None,
    runs: Runs = None,
    no_cache: NoCache = False,
    engine: EngineOption = Engine.local,
    task_cpus: TaskCpus = None,
    task_gpus: TaskGpus = None,
) -> None:
    """Predict a file of new battles with a trained run.

    The file is read in parts, so its size does not matter. Damaged battles are repaired, predicted and
    reported.
    """
    from pairrank.cli import commands

    _skip_cache(no_cache)
    commands.predict(name, file, out, data, runs, _cluster(engine, task_cpus, task_gpus))


@app.command(
    epilog=examples(
        "tune structure",
        "tune structure --jobs 2 --trials 100",
        "tune siamese --fold 0 --timeout 7200",
        "tune sparse --nested",
    )
)
def tune(
    name: Searched,
    trials: Annotated[
        int,
        typer.Option(min=1, help="Finished trials in the study, of all workers together; pruned ones count."),
    ] = 60,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Start no trial after this many seconds, and judge what there is.")
    ] = None,
    storage: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="Database that the workers share, e.g. postgresql://user@host/tuning. Default: an SQLite file "
            "in the folder of the runs.",
        ),
    ] = "",
    data: Data = None,
    runs: Runs = None,
    jobs: Annotated[int, typer.Option(min=1, help="Worker processes to start on this machine.")] = 1,
    fold: Annotated[
        list[int] | None,
        typer.Option(
            "--fold",
            min=0,
            help="Score trials on this fold only; may be repeated. Default: all but the untouched one.",
        ),
    ] = None,
    untouched: Annotated[
        int | None,
        typer.Option(
            min=0, help="The fold that no trial trains on or is scored on. It tests the winner. Default: the last."
        ),
    ] = None,
    nested: Annotated[
        bool,
        typer.Option(
            "--nested",
            help="Search separately for each fold, to get one unbiased figure over all folds. Takes five times as "
            "long.",
        ),
    ] = False,
    pruner: Annotated[
        Pruner, typer.Option(help="How a bad trial is stopped early, by its steps on the first fold.")
    ] = Pruner.median,
    seed: Annotated[int, typer.Option(min=0, help="Another random seed, so that other settings are tried.")] = 0,
    set_: Set = None,
    no_cache: NoCache = False,
) -> None:
    """Search for better parameters, and test them on unused data.

    The best setting is tested on a fold that the search never used, neither to train nor to score. The
    experiment's table [search] says which parameters may change and within which limits. If the best setting
    improves and the untouched fold does not contradict it, it is written to experiments/NAME-tuned.toml. The
    same command resumes an interrupted study; run at the same time elsewhere, it adds another worker.
    """
    from pairrank.cli.tune import TuneRequest
    from pairrank.cli.tune import tune as search

    _skip_cache(no_cache)
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


@app.command(epilog=examples("ratings", "ratings --data ../my-battles --penalty 0.5"))
def ratings(
    data: Data = None,
    penalty: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Strength of the pull towards the mean. 0 means none, and then every model must have won and "
            "lost. Default: 2, which predicts new battles best.",
        ),
    ] = None,
) -> None:
    """Rank the chatbots that the battles name.

    The ranks come from Bradley-Terry strengths with Davidson's ties. A chatbot that is stronger by 1 wins 2.7
    times (e) as often as it loses; stronger by 2, 7.4 times. Where two intervals overlap widely, there are too
    few battles to say which chatbot is better.
    """
    from pairrank.cli.ratings import ratings as show

    show(data, penalty)


@app.command(epilog=examples("simulate toy", "simulate toy --train 2000 --seed 1"))
def simulate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write the battles to.")],
    train: Annotated[int, typer.Option(min=1, help="Battles with winners, in train.csv.")] = 600,
    test: Annotated[int, typer.Option(min=1, help="Battles without winners, in test.csv.")] = 150,
    seed: Annotated[int, typer.Option(min=0, help="Another random seed, for other battles.")] = 0,
) -> None:
    """Write invented battles whose true probabilities are known.

    Use them to try pairrank without data, and to see how far a model is from the best possible log loss.
    """
    from pairrank.cli import commands

    commands.simulate(folder, train, test, seed)


@app.command("fetch-encoder", epilog=examples("fetch-encoder mpnet", "run frozen --set encoder=mpnet"))
def fetch_encoder(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The encoder to download: mpnet.")],
) -> None:
    """Download a stronger encoder, and keep it in the cache.

    Every file is checked by its hash. mpnet is all-mpnet-base-v2 (405 MB). No other command downloads it.
    """
    from pairrank.encoders.download import fetch

    fetch(name)


@app.command()
def doctor(data: Data = None) -> None:
    """Show versions, device, available encoders and the data.

    Run it first when something does not work, and add its output to a bug report.
    """
    from pairrank.cli.doctor import doctor as show

    show(data)


def _cluster(engine: Engine, cpus: int | None, gpus: float | None) -> Any:
    """What one piece of work needs of a Ray cluster; None if the work is done in this process."""
    from pairrank.cli.ray import Cluster

    return Cluster(cpus, gpus) if engine is Engine.ray else None


def _skip_cache(skip: bool) -> None:
    if skip:
        os.environ["PAIRRANK_NO_CACHE"] = "1"


def main() -> None:
    """Run a command; a user's mistake is one message and exit code 2, without a traceback."""
    # Otherwise tokenizers warns about a fork that the user did not ask for.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    for stream in (sys.stdout, sys.stderr):
        # A console that lacks a character of a battle shows its code; it does not end the run.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    if distributed.rank() and arguments[:1] != ["run"]:
        return  # torchrun started several processes, and only `run` needs more than one
    try:
        with messages_to(print_message):
            app(arguments, prog_name=_program_name(arguments))
    except (ValueError, OSError) as error:
        from pairrank.errors import UserError

        if isinstance(error, ValueError) and not isinstance(error, UserError):
            raise
        if "--debug" in sys.argv:
            traceback.print_exc()
        else:
            # Usually all processes make the same mistake; another machine may have one of its own.
            where = f"process {distributed.rank()}: " if distributed.rank() else ""
            print(f"Error: {where}{_message(error)}", file=sys.stderr)
        sys.exit(2)


def _program_name(arguments: list[str]) -> str | None:
    """Return the name that usage texts show; None lets it be detected: `pairrank`, or `python -m …`."""
    # A shell completes programs, not modules of python.
    options = ("--install-completion", "--show-completion")
    is_completion = "_PAIRRANK_COMPLETE" in os.environ or any(each.startswith(options) for each in arguments)
    return "pairrank" if is_completion else None


def _message(error: Exception) -> str:
    """One readable message, in which no text of a battle can act on the terminal."""
    from pairrank.cli.console import harmless

    if isinstance(error, OSError) and error.strerror:
        return harmless(f"{error.filename or 'input or output'}: {error.strerror}.")
    return harmless(str(error))
