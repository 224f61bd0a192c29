"""The preference file of HelpSteer2, whose columns have other names than those of HelpSteer3.

Source: the data set card of HelpSteer2 (preference), by public code that reads it.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pairrank.data.battles import Battles
from pairrank.data.conversations import Message
from pairrank.data.formats.base import register, text_cell
from pairrank.data.formats.helpsteer import HelpSteer
from pairrank.errors import UserError

SPEAKER = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")
"""What stands before each later turn of a HelpSteer2 prompt."""


@register
class HelpSteer2(HelpSteer):
    """One row per pair of answers, with the strength of the preference from -3 to 3."""

    about = "NVIDIA's HelpSteer2 preferences"
    required = ("prompt", "response_1", "response_2", "preference_strength")
    optional = ("id",)
    is_written = False
    carries = ("strength", "both_bad")

    verdict = ("preference_strength",)
    answers = ("response_1", "response_2")

    def context(self, row: Mapping[str, Any]) -> list[Message]:
        """Return the turns of the prompt."""
        first, *pieces = SPEAKER.split(text_cell(row, "prompt"))
        later = zip(pieces[::2], pieces[1::2], strict=True)
        return [Message("user", first), *(Message(speaker.lower(), text) for speaker, text in later)]

    def columns(self, battles: Battles) -> dict[str, Sequence[Any]]:
        """Raise UserError: the schema `helpsteer` holds more."""
        raise UserError("the schema of HelpSteer2 is read, not written. Choose helpsteer.")
