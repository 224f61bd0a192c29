"""A finding says whether a model keeps a law of the contract, and what was found."""

import traceback
from dataclasses import dataclass
from pathlib import Path

from pairrank.contract.laws import LAWS, BrokenLawError
from pairrank.contract.subject import Subject
from pairrank.errors import described
from pairrank.plugins import place_of


@dataclass(frozen=True)
class Finding:
    """Whether a model keeps a law."""

    law: str
    """The law as a sentence."""
    holds: bool
    found: str
    """The numbers that were found, or the error."""


def check_law(name: str, subject: Subject) -> Finding:
    """Return whether the subject keeps a law of `LAWS`; an error of the model's code breaks it."""
    law = LAWS[name]
    title = (law.__doc__ or name).strip().split("\n")[0].rstrip(".")
    try:
        return Finding(title, True, law(subject))
    except BrokenLawError as broken:
        return Finding(title, False, str(broken))
    except (Exception, SystemExit) as error:
        place = place_of(error) or _place_here(error)
        return Finding(title, False, f"{place}: {described(error)}")


def check_contract(subject: Subject) -> list[Finding]:
    """Return a finding for each law."""
    return [check_law(name, subject) for name in LAWS]


def _place_here(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}, line {frame.lineno}"
