"""Every block of README, CONTRIBUTING and docs is run here or says why not; test_command_lines parses commands."""

import ast
import json
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
import typer

from pairrank.cli import app, options
from pairrank.data.battles import Winner
from pairrank.data.reading import read_battles
from pairrank.data.writing import write_battles
from pairrank.runs.experiment_files import experiment_files
from tests.support.pages_of_docs import (
    ROOT,
    SHELL,
    Block,
    arguments_of,
    blocks_of,
    inline_commands,
    lines_of,
    pages,
)

BLOCKS = [block for page in pages() for block in blocks_of(page)]
LANGUAGES = {*SHELL, "python", "toml", "json", "{toctree}"}
COMMANDS = [(block, words) for block in BLOCKS if block.language in SHELL for words in lines_of(block)]
CALLS = [
    *((block.page, arguments) for block, words in COMMANDS if (arguments := arguments_of(words)) is not None),
    *((page.name, arguments) for page in pages() for arguments in inline_commands(page)),
]
PROGRAM = typer.main.get_command(app.app)
NAMED = {"run", "describe", "tune", "curve", "submit", "predict"}
"""Commands whose first argument is an experiment, a run or a file of one."""
OWN = {"mine", "my_model", "NAME", "auto-pool", "FILE"}
"""Names in the documentation that stand for an experiment of the reader, and the pool of `auto`."""


def place(block: Block) -> str:
    return f"{block.page}:{block.line}"


def parse(arguments: list[str]):
    """The context of a command with its options, as the command line reads them; it runs nothing."""
    with PROGRAM.make_context("pairrank", list(arguments)) as context:
        name, command, rest = PROGRAM.resolve_command(context, [*context._protected_args, *context.args])
        return command.make_context(name, rest, parent=context)


def test_the_documentation_has_the_commands_that_a_reader_needs_first():
    found = {arguments[0] for _, arguments in CALLS if arguments}
    assert {"run", "compare", "submit", "check", "auto", "report", "tune", "predict", "enter"} <= found


@pytest.fixture
def no_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--plugin FILE` would run a file of the reader."""
    monkeypatch.setattr(options, "load_plugins", lambda sources: sources)


@pytest.mark.parametrize(("page", "arguments"), CALLS, ids=lambda value: str(value)[:60])
def test_every_experiment_that_is_named_is_shipped(page, arguments, no_plugins):
    if arguments[0] in NAMED and arguments[1:] not in ([], ["-h"]):
        chosen = parse(arguments).params
        names = chosen.get("names") or chosen.get("name") or ()
        names = [names] if isinstance(names, str) else names
        plain = {name.split("+")[0] for name in names if not name.endswith(".toml")}
        assert plain <= {*experiment_files(), *OWN}


def test_the_page_of_experiments_names_each_of_them():
    text = (ROOT / "docs" / "how-to" / "choose.md").read_text(encoding="utf-8")
    shipped = [name for name in experiment_files() if not name.endswith("-tuned")]
    assert [name for name in shipped if f"`{name}`" not in text] == []


@pytest.mark.parametrize("block", BLOCKS, ids=place)
def test_every_block_is_readable(block):
    assert block.language in LANGUAGES
    assert block.reason is None or len(block.reason.split()) > 2
    if block.language == "python":
        ast.parse(block.text)
    if block.language == "toml":
        tomllib.loads(block.text)
    if block.language == "json":
        json.loads(block.text)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language in SHELL], ids=place)
def test_a_block_that_is_run_has_only_commands_of_pairrank(block):
    others = [words for words in lines_of(block) if arguments_of(words) is None]
    assert block.reason or not others, "say above the block why it is not run: <!-- not run: … -->"


# The blocks without a reason are run, page by page, each in a folder of its own


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages assume: the sample, a reader's battles in several forms, and two finished runs on them."""
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        shutil.copytree(ROOT / "Dataset" / "sample", "Dataset/sample")
        run(patch, "simulate", "my-battles", "--train", "150", "--test", "20", "--seed", "5")
        battles = read_battles("my-battles/train.csv")
        pairs = (battles.labels != Winner.TIE) & (battles.response_a != battles.response_b)
        write_battles(battles.take(pairs), Path("pairs.jsonl"), "trl_preference")
        write_battles(battles, Path("votes.jsonl"), "chatbot_arena")
        run(patch, "run", "prior", "structure", "--data", "my-battles")
        shutil.copy("runs/my-battles/structure/oof.csv", "oof.csv")
    return folder


def run(patch: pytest.MonkeyPatch, *arguments: str) -> None:
    patch.setattr(sys, "argv", ["pairrank", *arguments])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 0, arguments


def is_run(block: Block) -> bool:
    return block.reason is None and block.language in {"sh", "python"}


PAGES = {page: [block for block in blocks_of(page) if is_run(block)] for page in pages()}


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page, run_here in PAGES.items() if run_here], ids=lambda page: page.name)
def test_the_commands_and_programs_of_a_page_run(page, prepared, tmp_path, monkeypatch):
    folder = tmp_path / "here"
    shutil.copytree(prepared, folder)
    monkeypatch.chdir(folder)
    names: dict = {}
    for block in PAGES[page]:
        if block.language == "python":
            first = block.text.splitlines()[0]
            if first.endswith(".py") and first.startswith("# "):  # a file that the page asks for
                Path(first.removeprefix("# ")).write_text(block.text, encoding="utf-8")
            else:
                exec(compile(block.text, place(block), "exec"), names)  # noqa: S102  # a page of this repository
        else:
            for words in lines_of(block):
                run(monkeypatch, *arguments_of(words))
