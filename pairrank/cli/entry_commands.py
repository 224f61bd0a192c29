"""The commands about predictions made elsewhere and about differences: enter, export, diff."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pairrank.cli.options import Add, Data, Runs, complete_runs, examples

commands = typer.Typer()


class Form(StrEnum):
    """The values of `export --form`."""

    jsonl = "jsonl"
    every_eval_ever = "every-eval-ever"


Published = Annotated[
    Path | None,
    typer.Option(help="Folder that `compare --publish` wrote. Its results are known as well."),
]


@commands.command(
    epilog=examples(
        'enter oof.csv --name judge-70b --about "A judge, prompted" --trained-on "no votes"',
        'enter scores.jsonl --name reward-8b --about "A reward model" --url https://example.org',
    )
)
def enter(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Out-of-fold predictions (id and three probabilities), or scores (id, score_a, score_b).",
        ),
    ],
    name: Annotated[str, typer.Option(help="Name of its row.")],
    about: Annotated[str, typer.Option(help="What made the predictions.")],
    by: Annotated[str, typer.Option(help="Who made them.")] = "",
    url: Annotated[str, typer.Option(help="Address of a page about them.")] = "",
    trained_on: Annotated[
        str | None,
        typer.Option("--trained-on", metavar="TEXT", help="Training data. Without it, the row says: undeclared."),
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Allow battles without a prediction.")] = False,
    data: Data = None,
    runs: Runs = None,
    publish: Annotated[
        Path | None, typer.Option(help="Also write the entry into this folder, for `compare --publish`.")
    ] = None,
) -> None:
    """Store predictions made elsewhere as an entry.

    The predictions and a manifest with their origin, hashes and declared training data are kept beside the runs,
    where `compare` and `report` find them. A file with any fault is refused. `rm NAME` removes the entry.
    """
    from pairrank.api.entering import enter as store

    store(
        file,
        name,
        about,
        data,
        by=by,
        url=url,
        trained_on=trained_on,
        partial=partial,
        runs=runs,
        publish_to=publish,
    )


@commands.command(
    epilog=examples("export predictions.jsonl --data ../arena", "export results --form every-eval-ever")
)
def export(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="File to write; a folder for every-eval-ever.")],
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME...]", help="Rows to export. Default: all.", autocompletion=complete_runs),
    ] = None,
    form: Annotated[
        Form,
        typer.Option(
            help="jsonl: one line per battle, with the probabilities of each row. every-eval-ever: one file per "
            "row, with its scores in that shared schema."
        ),
    ] = Form.jsonl,
    data: Data = None,
    runs: Runs = None,
    add: Add = None,
    published: Published = None,
    organization: Annotated[
        str, typer.Option(help="Who has made the evaluation, for every-eval-ever.")
    ] = "unknown",
) -> None:
    """Write predictions or scores for other programs.

    No text of any battle is written.
    """
    from pairrank.api.exporting import export as write
    from pairrank.cli.console import say

    files = write(
        out,
        names or [],
        data,
        form=form.value,
        runs=runs,
        add=add or [],
        published=published,
        organization=organization,
    )
    say(f"Written: {out}" if form is Form.jsonl else f"Written: {len(files)} files in {out}")


@commands.command(
    epilog=examples("diff structure kernel", "diff structure --before", "diff structure kernel --out diff.html")
)
def diff(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="A [B]",
            help="Two runs, former results (NAME~DATE) or entries; only one with --before.",
            autocompletion=complete_runs,
        ),
    ],
    data: Data = None,
    runs: Runs = None,
    before: Annotated[
        bool, typer.Option("--before", help="Compare the latest former result of A with A itself.")
    ] = False,
    add: Add = None,
    published: Published = None,
    out: Annotated[Path | None, typer.Option("--out", help="Also write a page (HTML).")] = None,
) -> None:
    """Show what changed from one run to another.

    The settings that differ, the paired difference of the log loss overall and on slices, and the battles gained
    and lost most. Differences are B minus A: below 0, B is better.
    """
    from pairrank.cli.diff import diff as show

    if len(names) != 2 - before:
        raise typer.BadParameter("expected two names, or one name and --before.")
    show(names, data, runs, before, add or [], published, out)
