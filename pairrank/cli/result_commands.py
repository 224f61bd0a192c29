"""The commands about runs and their predictions: compare, report, explain, submit, predict, merge, rm."""

from pathlib import Path
from typing import Annotated

import typer

from pairrank.cli.options import (
    Add,
    AverageAdapters,
    Data,
    Engine,
    EngineOption,
    NoCache,
    Out,
    Plugin,
    Reference,
    RunName,
    Runs,
    Schema,
    TaskCpus,
    TaskGpus,
    cluster_of,
    complete_runs,
    examples,
    skip_cache,
)

commands = typer.Typer()


def complete_terms(incomplete: str) -> list[str]:
    """Return the terms of the glossary that begin with the incomplete text; capital letters do not matter."""
    from pairrank.glossary import terms

    return [name for name in terms() if name.lower().startswith(incomplete.lower())]


@commands.command(
    epilog=examples(
        "compare",
        "compare --reference baseline --reference prior",
        "compare --add notebook=oof.csv",
        "compare --data ../my-battles --publish benchmarks",
        "compare --history --reference structure",
    )
)
def compare(
    data: Data = None,
    runs: Runs = None,
    reference: Reference = None,
    add: Add = None,
    publish: Annotated[
        Path | None,
        typer.Option(help="Folder for predictions, results and LEADERBOARD.md, such as one in a repository."),
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Also show the former results of the runs, as NAME~DATE.")
    ] = False,
) -> None:
    """Show and write the leaderboard of all runs on the data.

    It is written as Markdown and as JSON. Each difference to the reference comes with its 95 % interval, from a
    paired bootstrap over prompts. So does the rank, which is corrected for the number of comparisons.
    """
    from pairrank.cli.compare import compare as show

    if history and publish:
        raise typer.BadParameter("former results are not published. Use --history without --publish.")
    show(data, runs, reference or [], add or [], publish, history)


@commands.command(epilog=examples("report", "report structure siamese --data ../my-battles --out models.html"))
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
    """Write a page about the runs and the errors of each.

    One HTML file, which needs no network access, contains the leaderboard, cost, learning curves, calibration,
    confusion, log loss on slices of the battles, length and position bias, agreement between runs, the battles
    with the largest loss or disagreement, and the settings behind each number.
    """
    from pairrank.cli.pages import report as make

    make(names or [], data, runs, out, reference or [], add or [], published)


@commands.command(epilog=examples("explain", "explain ECE", "explain swap gap"))
def explain(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TERM]",
            help="A term or a column header, of one or more words. Default: list all terms.",
            autocompletion=complete_terms,
        ),
    ] = None,
) -> None:
    """Explain a term or a column header.

    The glossary defines every column header of tables, leaderboards, pages and model cards, and the terms that
    they use.
    """
    from pairrank.cli.explain import explain as show

    show(" ".join(words or []))


@commands.command(epilog=examples("submit structure", "submit ensemble-fast --data ../arena --out submission.csv"))
def submit(
    name: RunName,
    data: Data = None,
    runs: Runs = None,
    out: Out = Path("submission.csv"),
    average_adapters: AverageAdapters = False,
    plugin: Plugin = None,
) -> None:
    """Write and check a submission for the test battles.

    Uses the run's test predictions. If test.csv has changed since the run, its saved models predict it again.
    """
    from pairrank.cli.predict import submit as write

    write(name, data, runs, out, average_adapters)


@commands.command(
    epilog=examples(
        "predict structure new.parquet --out new.csv",
        "predict siamese new.csv.gz --out new.csv --engine ray",
    )
)
def predict(
    name: RunName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of battles, of any schema and kind.")],
    out: Out,
    data: Data = None,
    runs: Runs = None,
    no_cache: NoCache = False,
    engine: EngineOption = Engine.local,
    task_cpus: TaskCpus = None,
    task_gpus: TaskGpus = None,
    copy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="Also write this column of the battles, such as language, judge or group; may be repeated.",
        ),
    ] = None,
    schema: Schema = "",
    average_adapters: AverageAdapters = False,
    plugin: Plugin = None,
) -> None:
    """Predict a file of new battles with a trained run.

    The file is read in parts, so its size does not matter. Damaged battles are repaired, predicted and
    reported.
    """
    from pairrank.cli.predict import predict as write

    skip_cache(no_cache)
    cluster = cluster_of(engine, task_cpus, task_gpus)
    write(name, file, out, data, runs, cluster, copy or [], schema, average_adapters)


@commands.command(epilog=examples("merge deberta-v3 --out merged", "merge gemma-qlora --out merged --fold 0"))
def merge(
    name: RunName,
    out: Annotated[Path, typer.Option(help="Folder for the merged models, one per fold: OUT/fold0 and so on.")],
    data: Data = None,
    runs: Runs = None,
    fold: Annotated[
        list[int] | None, typer.Option(help="Merge only this fold; may be repeated. All folds by default.")
    ] = None,
    plugin: Plugin = None,
) -> None:
    """Merge the adapters of a run into their encoder.

    Each folder is a whole model, as large as the encoder. Its predictions of the fold's battles are compared with
    those of the run, and the largest change of a probability is shown.
    """
    from pairrank.cli.merge import merge as write

    write(name, data, runs, out, fold)


@commands.command(epilog=examples("rm structure+seed=1", "rm structure~2026-11-26T081500.000 --yes"))
def rm(
    names: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Runs, entries, or former results as NAME~DATE (see `list --all`)."),
    ],
    data: Data = None,
    runs: Runs = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove runs, former results or entries, after a question.

    Everything in their folders is removed: models, predictions and results. What was published stays.
    """
    from pairrank.cli.rm import remove

    remove(names, data, runs, yes)
