"""A chat template is rendered around markers and split there, so that battle text never becomes a control token."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pairrank.encoders.windows import Budget, Round, Tokens, cut_rounds
from pairrank.errors import UserError, shorten

LEAST_PER_TURN = 4
"""Tokens of text for which a turn needs room in the window, so that prompt and answer are not lost."""


DATE = "26 Jul 2024"
"""The date that a template writes if it asks for today's, so that scores do not depend on the day."""

FIXED_DATE = "{%- macro strftime_now(format) -%}" + DATE + "{%- endmacro -%}"
"""Beginning of a template that replaces the function of transformers for the present date."""


def has_chat_template(tokenizer: Any) -> bool:
    """Return whether a tokenizer of transformers has a chat template."""
    return bool(getattr(tokenizer, "chat_template", None))


@dataclass
class ChatLayout:
    """Writes a prompt and an answer of one or more turns as the conversation that a chat template describes.

    The template's own text and the texts of the battle are tokenised apart, the latter without special tokens.
    Without cuts the tokens are those of the rendered template, except that a tokenizer which merges tokens across
    their border, or which begins each text with a space, may split there.
    """

    tokenizer: Any
    folder: Path
    """Where the tokenizer comes from, for messages."""
    pieces: dict[int, list[Tokens]] = field(default_factory=dict)
    """Number of turns -> the 4 turns + 1 ... pieces around the texts, rendered once."""

    def row(self, rounds: Sequence[Round], window: int, budget: Budget) -> tuple[Tokens, tuple[int, int]]:
        """Return the tokens of a conversation, at most `window`, and how many are of the prompt and of the answer.

        `rounds` has the tokens of prompt and answer of each turn. A turn without room in the window is left out:
        the oldest with the budget "latest", else the newest. Raises UserError if no turn has room.
        """
        rounds = self._fitting(rounds, window, budget)
        room = window - sum(map(len, self._around(len(rounds))))
        kept = [turn for turn in _cut_turns(rounds, room, budget) if any(map(len, turn))]
        kept = kept or [(np.array([], dtype=np.int32),) * 2]
        texts = [text for turn in kept for text in turn]
        around = self._around(len(kept))
        row = np.concatenate([part for pair in zip(around, texts, strict=False) for part in pair] + [around[-1]])
        return row, (sum(map(len, texts[::2])), sum(map(len, texts[1::2])))

    def _fitting(self, rounds: Sequence[Round], window: int, budget: Budget) -> Sequence[Round]:
        """Return the turns that the window has room for."""
        for count in range(len(rounds), 0, -1):
            needed = sum(map(len, self._around(count))) + LEAST_PER_TURN * count
            if needed <= window:
                return rounds[-count:] if budget == "latest" else rounds[:count]
        raise UserError(
            f"max_tokens = {window}: the window has no room for the chat template of {self.folder} and a text. "
            f"Set it to {needed} or more."
        )

    def _around(self, turns: int) -> list[Tokens]:
        """Return the tokens of the template before, between and after the 2 `turns` texts of a conversation."""
        if turns not in self.pieces:
            markers = [f"xq{i}qx" for i in range(2 * turns)]
            pieces = []
            rest = self._render(markers)
            for marker in markers:
                before, found, rest = rest.partition(marker)
                if not found or marker in rest:
                    raise UserError(
                        f"{self.folder}: its chat template does not show each message of a conversation once and "
                        "in order. Remove the template, or use another model."
                    )
                pieces.append(before)
            encoded = self.tokenizer([*pieces, rest], add_special_tokens=False, verbose=False)["input_ids"]
            self.pieces[turns] = [np.array(ids, dtype=np.int32) for ids in encoded]
        return self.pieces[turns]

    def _render(self, texts: Sequence[str]) -> str:
        """Return the conversation of these messages as the template writes it."""
        messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]
        try:
            rendered: str = self.tokenizer.apply_chat_template(
                messages,
                chat_template=FIXED_DATE + self.tokenizer.get_chat_template(),
                tokenize=False,
                date_string=DATE,
            )
        except Exception as error:  # of the template, which is code of the folder
            raise UserError(
                f"{self.folder}: its chat template cannot be used ({type(error).__name__}: "
                f"{shorten(str(error), 200)}). Remove the template, or use another model."
            ) from error
        return rendered


def _cut_turns(rounds: Sequence[Round], room: int, budget: Budget) -> list[Round]:
    """Return the turns cut to `room` tokens in all, as `cut_rounds` cuts the whole conversation."""
    ends = [np.cumsum([len(turn[part]) for turn in rounds]) for part in range(2)]
    # The places of the tokens are cut in place of the tokens, so that each kept one is found in its turn again.
    places = [
        tuple(np.arange(end[i] - len(text), end[i], dtype=np.int32) for end, text in zip(ends, turn, strict=True))
        for i, turn in enumerate(rounds)
    ]
    kept = cut_rounds(places, room, budget)
    return [
        tuple(text[np.isin(place, chosen)] for text, place, chosen in zip(turn, at, kept, strict=True))
        for turn, at in zip(rounds, places, strict=True)
    ]
