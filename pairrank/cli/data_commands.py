"""Commands on battles and this machine: explore, check, convert, ratings, simulate, fetch-encoder, doctor."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pairrank.cli.options import Data, Out, Schema, examples


class Votes(StrEnum):
    """The values of `convert --votes`."""

    each = "each"
    majority = "majority"
    soft = "soft"


commands = typer.Typer()


@commands.command(epilog=examples("explore", "explore --data ../my-battles --out my-battles.html"))
def explore(
    data: Data = None,
    out: Out = Path("data.html"),
    encoder: Annotated[
        str,
        typer.Option(metavar="NAME", help="Encoder that counts tokens: a folder or a name. Default: minilm."),
    ] = "",
) -> None:
    """Write a page about the data, to read before training.

    One HTML file, which needs no network access, shows labels, lengths, turns, languages, repeated prompts, the
    models and their strengths, the influence of length on the vote, some battles to read, and every damaged or
    suspicious row with its id. A damaged file is shown as well, unless it ends inside a cell.
    """
    from pairrank.cli.pages import explore as make

    make(data, out, encoder)


@commands.command(epilog=examples("ratings", "ratings --data ../my-battles --penalty 0.5"))
def ratings(
    data: Data = None,
    penalty: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Penalty that pulls the strengths towards their mean. With 0, every model must have won and lost. "
            "Default: 2, which predicts new battles best.",
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


@commands.command(epilog=examples("check votes.jsonl", "check Dataset/train.csv"))
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of battles, of any schema and kind.")],
    schema: Schema = "",
) -> None:
    """Show what a file of battles contains.

    Its schema, which its columns tell; rows that are damaged or hold no battle, and why; the winners, with a loud
    warning if one side always wins; repeated prompts and battles, equal and empty answers. Schemas and kinds of
    files are listed in Dataset/README.md.
    """
    from pairrank.cli.battle_files import check as show

    show(file, schema)


@commands.command(
    epilog=examples("convert votes.jsonl train.csv", "convert train.csv pairs.jsonl --to trl_preference")
)
def convert(
    file: Annotated[Path, typer.Argument(metavar="IN", help="A file of battles, of any schema and kind.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The new file: .csv, .jsonl, .gz or .parquet.")],
    to: Annotated[str, typer.Option(metavar="NAME", help="Schema to write. Default: Kaggle's.")] = "kaggle",
    schema: Schema = "",
    votes: Annotated[
        Votes,
        typer.Option(help="Several votes on one pair of answers: keep each, or write the winner of most."),
    ] = Votes.each,
    both_bad: Annotated[
        float,
        typer.Option(min=0, max=1, help="0 leaves out the votes that called both answers bad; 1 keeps them."),
    ] = 1.0,
) -> None:
    """Write battles in another schema or kind of file.

    It says which columns the new file cannot hold, such as the votes of several judges in Kaggle's schema.
    """
    from pairrank.cli.battle_files import convert as write

    write(file, out, to, schema, votes.value, both_bad)


@commands.command(epilog=examples("simulate toy", "simulate toy --train 2000 --content 1"))
def simulate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write the battles to.")],
    train: Annotated[int, typer.Option(min=1, help="Battles with winners, in train.csv.")] = 600,
    test: Annotated[int, typer.Option(min=1, help="Battles without winners, in test.csv.")] = 150,
    seed: Annotated[int, typer.Option(min=0, help="Random seed; another one gives other battles.")] = 0,
    content: Annotated[
        float,
        typer.Option(
            help="Share of the battles that only the content of the answers decides, from 0 to 1. Their answers "
            "differ little in length and form, and have to be read together with the prompt.",
        ),
    ] = 0.0,
) -> None:
    """Write simulated battles whose true probabilities are known.

    Use them to try pairrank without data, and to see how far a model is from the best possible log loss.
    """
    from pairrank.cli.simulate import simulate as write

    write(folder, train, test, seed, content)


@commands.command("fetch-encoder", epilog=examples("fetch-encoder smollm2", "run likelihood-smollm2"))
def fetch_encoder(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The encoder to download: mpnet, smollm2 or qwen-0.5b.")
    ],
) -> None:
    """Download a stronger encoder, and keep it in the cache.

    Every file is checked by its hash. mpnet is all-mpnet-base-v2 (405 MB). smollm2 is SmolLM2-135M-Instruct (93 MB)
    and qwen-0.5b is Qwen2.5-Coder-0.5B-Instruct (478 MB): quantised language models, which are converted to bf16
    once (269 MB and 1.3 GB in the cache). That needs pip install 'pairrank[llm]'. No other command downloads them.
    """
    from pairrank.encoders.download import fetch

    fetch(name)


@commands.command()
def doctor(data: Data = None) -> None:
    """Show versions, device, available encoders and the data.

    Run it first when something does not work, and add its output to a bug report.
    """
    from pairrank.cli.doctor import doctor as show

    show(data)
