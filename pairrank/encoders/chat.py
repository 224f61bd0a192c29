"""A chat template is rendered around markers and split there, so that battle text never becomes a control token."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from pairrank.encoders.windows import Budget, Round, Tokens, cut_rounds
from pairrank.errors import UserError, excerpt, shorten

Template = Literal["auto", "chat", "plain"]
"""Whether texts are laid out by the tokenizer's chat template, or as plain text. "auto" is "chat" if it has one."""

CHAT_FILES = ("chat_template.jinja",)
"""Files on which the tokens of a chat depend besides those of `cached_batches.source_hashes`."""

DATE = "26 Jul 2024"
"""The date that a template writes if it asks for today's, so that results do not depend on the day."""

FIXED_CLOCK = "{%- macro strftime_now(format) -%}" + DATE + "{%- endmacro -%}"
"""Beginning of a template that asks for the time: its own function replaces the one of transformers."""

USE_PLAIN = 'Set template to "plain", or use another model.'
"""What a user can do about a template that cannot be used, where plain text is possible."""


def uses_chat(tokenizer: Any, template: Template) -> bool:
    """Return whether texts are laid out by a chat template; raises UserError for "chat" if there is none."""
    exists = bool(getattr(tokenizer, "chat_template", None))
    if template == "chat" and not exists:
        raise UserError(f'{_place(tokenizer)} has no chat template. Set template to "auto" or "plain".')
    return exists and template != "plain"


def chat_pieces(
    tokenizer: Any, messages: Sequence[Sequence[str]], remedy: str, generate: bool = False
) -> list[str]:
    """Return the text of a chat around the gaps in its messages: n + 1 pieces for n gaps.

    The messages are those of user and assistant in turn. Each is given as its parts, with a gap between every two.
    With `generate`, the last piece ends where the assistant's next message begins, and a model that could think
    before it answers is told not to. Raises UserError, which ends with `remedy`, for a template that fails or that
    does not show every message whole, once and in order.
    """
    contents: list[str] = []
    expected: list[list[str]] = [[]]
    for first, *others in messages:
        expected[-1].append(first)
        content = first
        for part in others:
            content += _marker(len(expected)) + part
            expected.append([part])
        contents.append(content)
    rest = rendered = _render(tokenizer, contents, remedy, generate)
    markers = [_marker(gap) for gap in range(1, len(expected))]
    pieces = []
    for marker in markers:
        before, _, rest = rest.partition(marker)
        pieces.append(before)
    pieces.append(rest)
    places = [rendered.find(marker) for marker in markers]
    is_ordered = places == sorted(places) and all(rendered.count(marker) == 1 for marker in markers)
    is_whole = all(text.strip() in piece for piece, texts in zip(pieces, expected, strict=True) for text in texts)
    if not is_ordered or not is_whole:
        raise UserError(
            f"{_place(tokenizer)}: its chat template does not show every message whole, once and in order: "
            f"{excerpt(rendered)}. {remedy}"
        )
    return pieces


def _marker(gap: int) -> str:
    """Return the text that stands for a gap while a template is rendered."""
    return f"xq{gap}qx"


def _render(tokenizer: Any, contents: Sequence[str], remedy: str, generate: bool) -> str:
    """Return the chat of these messages as the template writes it."""
    messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(contents)]
    # Without this option, some templates would let the model think.
    options = {"add_generation_prompt": True, "enable_thinking": False} if generate else {}
    try:
        template = tokenizer.get_chat_template()
        template = FIXED_CLOCK + template if "strftime_now" in template else template
        rendered = tokenizer.apply_chat_template(
            messages, chat_template=template, tokenize=False, date_string=DATE, **options
        )
    except Exception as error:  # a template is a program, which may fail in any way
        raise UserError(
            f"{_place(tokenizer)}: its chat template fails ({type(error).__name__}: {shorten(str(error), 200)}). "
            f"{remedy}"
        ) from error
    return str(rendered)


def _place(tokenizer: Any) -> str:
    """Return the folder of a tokenizer, for messages."""
    return getattr(tokenizer, "name_or_path", "") or "the tokenizer"


def encode_layout(tokenizer: Any, text: str) -> Tokens:
    """Return the tokens of a piece of a layout, in which the names of special tokens become these tokens.

    Texts of battles must go through `windows.encode` instead.
    """
    ids = tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"] if text else []
    return np.array(ids, dtype=np.int32)


@dataclass(frozen=True)
class Conversations:
    """The tokens that a chat template puts around the turns of a prompt and an answer."""

    tokenizer: Any
    remedy: str
    """End of the message about a template that cannot be used."""
    known: dict[int, tuple[Tokens, ...]] = field(default_factory=dict, compare=False)
    """Number of turns -> `around`, rendered once."""

    def around(self, turns: int) -> tuple[Tokens, ...]:
        """Return the 2 `turns` + 1 pieces before, between and after the texts of so many turns."""
        if turns not in self.known:
            texts = chat_pieces(self.tokenizer, [("", "")] * 2 * turns, self.remedy)
            self.known[turns] = tuple(encode_layout(self.tokenizer, text) for text in texts)
        return self.known[turns]


def keep_turns(rounds: Sequence[Round], count: int, budget: Budget) -> Sequence[Round]:
    """Return `count` turns of a conversation: the latest with the budget "latest", else the first."""
    return rounds[-count:] if budget == "latest" else rounds[:count]


def cut_turns(rounds: Sequence[Round], room: int, budget: Budget) -> list[tuple[Round, Round]]:
    """Return each turn that keeps any tokens, cut and uncut, if all turns together have `room` tokens.

    The whole conversation is cut as `cut_rounds` cuts it, and each token stays in its turn. Without any tokens, the
    first turn is returned.
    """
    ends = np.cumsum([[len(text) for text in turn] for turn in rounds], axis=0)
    # The places of the tokens are cut in place of the tokens, so that each kept one is found in its turn again.
    places = [
        tuple(np.arange(end - len(text), end, dtype=np.int32) for end, text in zip(last, turn, strict=True))
        for last, turn in zip(ends, rounds, strict=True)
    ]
    kept = cut_rounds(places, room, budget)
    cut: list[tuple[Round, Round]] = [
        (tuple(text[np.isin(place, few)] for text, place, few in zip(turn, at, kept, strict=True)), turn)
        for turn, at in zip(rounds, places, strict=True)
    ]
    return [turn for turn in cut if any(map(len, turn[0]))] or cut[:1]
