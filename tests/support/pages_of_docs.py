"""Code blocks and commands in README, CONTRIBUTING and the pages of docs/."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(
    r"^(?:<!-- not run: (?P<reason>.*?) -->\n)?```(?P<language>[\w{}-]*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
INLINE = re.compile(r"(?<!`)`(pairrank [^`\n]+)`(?!`)")
SHELL = {"sh", "powershell", "text"}


@dataclass(frozen=True)
class Block:
    """A code block of a page."""

    page: str
    line: int
    language: str
    text: str
    reason: str | None
    """Why the block is not run; None if a test runs it."""


def pages() -> list[Path]:
    """Return README, CONTRIBUTING and the pages of docs that are written by hand."""
    folders = (ROOT / "docs" / name for name in ("start", "how-to", "concepts"))
    found = [ROOT / "docs" / "index.md", *(page for folder in folders for page in sorted(folder.glob("*.md")))]
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *found]


def name_of(page: Path) -> str:
    """Return the path of a page from the root of the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks_of(page: Path) -> list[Block]:
    """Return the code blocks of a page, in order."""
    text, found = page.read_text(encoding="utf-8"), []
    for match in FENCE.finditer(text):
        line = text[: match.start("language")].count("\n") + 1
        found.append(Block(name_of(page), line, match["language"], match["text"], match["reason"]))
    return found


def lines_of(block: Block) -> Iterator[list[str]]:
    """Yield the commands of a shell block as words; comments and lines of a notebook's Python are left out."""
    for line in block.text.splitlines():
        if block.language == "text" and not line.startswith("!"):
            continue
        for part in re.split(r"&&|;", line.removeprefix("!")):
            if words := shlex.split(part, comments=True, posix=block.language != "powershell"):
                yield words


def arguments_of(words: list[str]) -> list[str] | None:
    """Return the arguments that a command gives to pairrank, or None if it starts another program."""
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    program = re.split(r"[/\\]", words[0])[-1] if words else ""
    if program == "pairrank":
        return words[1:]
    for module in ("pairrank", "pairrank.experiments"):
        if module in words and words[words.index(module) - 1] == "-m":
            return words[words.index(module) + 1 :]
    return None


def inline_commands(page: Path) -> list[list[str]]:
    """Return the arguments of the commands in the running text of a page, such as `pairrank list --all`."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return [shlex.split(found.replace("…", "x"))[1:] for found in INLINE.findall(text)]
