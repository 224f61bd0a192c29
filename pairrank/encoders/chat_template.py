"""A tokenizer's chat template lays out a message with gaps; the tokens of battles fill the gaps afterwards."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pairrank.encoders.windows import Tokens
from pairrank.errors import UserError, excerpt, shorten

DATE = "26 Jul 2024"
"""The date that a template writes if it asks for today's, so that results do not depend on the day."""

FIXED_DATE = "{%- macro strftime_now(format) -%}" + DATE + "{%- endmacro -%}"
"""Beginning of a template that replaces the function of transformers for the present date."""


def chat_pieces(tokenizer: Any, message: Sequence[str]) -> list[str]:
    """Return the text of a chat around the gaps of one message from the user: n pieces for the n of `message`.

    The last piece ends where the assistant's answer begins. A model that could think before it answers is told not
    to. Raises UserError for a template that does not show the message whole and once.
    """
    gaps = [f"<<gap {i}>>" for i in range(1, len(message))]
    content = "".join(part + gap for part, gap in zip(message, [*gaps, ""], strict=True))
    rest = _render(tokenizer, content)
    pieces = []
    for gap in gaps:
        before, _, rest = rest.partition(gap)
        pieces.append(before)
    pieces.append(rest)
    shown = all(part.strip() in piece for part, piece in zip(message, pieces, strict=True))
    if not shown or any(gap in piece for gap in gaps for piece in pieces):
        raise UserError(
            f"the chat template of the tokenizer does not show a message whole and once: {excerpt(pieces[0])}. "
            'Set template to "plain", or use another language model.'
        )
    return pieces


def _render(tokenizer: Any, content: str) -> str:
    """Return the text of a chat of one message, up to the assistant's answer."""
    try:
        rendered = tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
            chat_template=FIXED_DATE + tokenizer.get_chat_template(),
            tokenize=False,
            add_generation_prompt=True,
            date_string=DATE,
            enable_thinking=False,
        )
    except Exception as error:  # a template is a program, which may fail in any way
        raise UserError(
            f"the chat template of the tokenizer fails ({type(error).__name__}: {shorten(str(error), 200)}). "
            'Set template to "plain", or use another language model.'
        ) from error
    return str(rendered)


def encode_layout(tokenizer: Any, text: str) -> Tokens:
    """Return the tokens of a piece of the layout, in which the names of special tokens become these tokens.

    Texts of battles must go through `windows.encode` instead.
    """
    ids = tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"] if text else []
    return np.array(ids, dtype=np.int32)


def opening_tokens(tokenizer: Any) -> Tokens:
    """Return the special tokens that the tokenizer puts before a plain text."""
    bare, whole = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
    start = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
    return np.array(whole[:start], dtype=np.int32)
