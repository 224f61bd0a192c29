"""Laws of every command, whatever it is given: one message, no traceback, no hang, no raw control codes."""

import re

from benchmarks.reliability.commands import Ended

LONGEST_MESSAGE = 4_000
"""Characters that a command may write to standard error because of a mistake of its user."""

RAW = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that act on a terminal: control characters except line ends and tabs, and marks of direction."""


def faults_of(
    ended: Ended, codes: tuple[int, ...] = (0, 2), megabytes: float = 1_500, may_be_long: bool = False
) -> list[str]:
    """Return what is wrong with the way a command ended.

    `megabytes` bounds its peak memory. A command that `may_be_long` may be ended by Ctrl-C.
    """
    text = ended.out + ended.err
    found = []
    if ended.hung or (ended.interrupted and not may_be_long):
        found.append(f"it hung: ended after {ended.seconds:.0f} s")
    elif ended.code not in codes and not (ended.interrupted and ended.code == 130):
        found.append(f"exit code {ended.code}, expected {' or '.join(map(str, codes))}")
    if "Traceback (most recent call last)" in text:
        found.append(f"a traceback: {text.strip().splitlines()[-1][:200]}")
    elif "This is a bug" in text or "this is a bug" in text:
        found.append(f"a bug by its own message: {text.strip()[-300:]}")
    if "Segmentation fault" in text or "core dumped" in text:
        found.append("a crash of a library")
    if ended.code == 2 and not ended.err.strip() and not ended.hung:
        found.append("exit code 2 without a message")
    if len(ended.err) > 2 * LONGEST_MESSAGE or any(len(line) > LONGEST_MESSAGE + 200 for line in text.split("\n")):
        found.append(f"messages of {len(ended.err):,} characters, expected at most {LONGEST_MESSAGE:,}")
    if raw := RAW.search(text):
        found.append(f"the raw character {raw.group()!r} in its output")
    if ended.peak_mb > megabytes:
        found.append(f"{ended.peak_mb:,.0f} MB of memory, expected at most {megabytes:,.0f}")
    return found
