"""Prompt, A and B share a window: tokens that one does not need go to the others, and A and B are treated alike."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pairrank.data.battles import TEXTS, Battles
from pairrank.data.turns import Turns, cut_middle, join_turns
from pairrank.errors import UserError

Budget = Literal["fair", "head+tail", "latest", "right"]
"""What is kept of texts that do not fit: see `cut_rounds`, and `template_rows` for "right"."""
Cells = Literal["turns", "json"]
"""Whether a text is read as its turns, or as the JSON list in the competition's file."""
Tokens = npt.NDArray[np.int32]
"""(length,) token ids of one text."""
Round = tuple[Tokens, ...]
"""The tokens of one turn of several texts: of the prompt and both answers, or of the prompt and one answer."""

WEIGHTS = (1, 2, 2)
"""Shares of prompt, A and B in a window that each would fill alone, as in the better public solutions."""

BLOCK = 1_000
"""Battles that are tokenised together."""


@dataclass(frozen=True)
class TokenCoverage:
    """How many tokens of n battles reached the model, and how many did not fit its window."""

    kept: dict[str, int]
    """Tokens that reached the model, summed over the battles, under "prompt", "response_a" and "response_b"."""
    total: dict[str, int]
    """Tokens before anything was cut, under the same names."""
    lost_a_side: int
    """Battles that lost all tokens of one answer; the fair budgets aim at 0."""
    cut: npt.NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, dtype=np.bool_), compare=False)
    """(n,) whether a battle lost any token."""


def fair_shares(lengths: Sequence[int], total: int, weights: Sequence[int] = WEIGHTS) -> tuple[int, ...]:
    """Return how many tokens of a window of `total` each part gets, by water-filling.

    A part shorter than its weighted share keeps all its tokens and leaves the rest of its share to the others. If
    both answers are cut, they get the same number, so one token of the window may stay unused. Fractions of a
    token go to the prompt, which is the first part; with a window one token larger, the prompt may therefore get
    one token less.
    """
    granted, left = [0] * len(lengths), total
    open_parts = list(range(len(lengths)))
    while open_parts:
        weight = sum(weights[i] for i in open_parts)
        fitting = [i for i in open_parts if lengths[i] * weight <= weights[i] * left]
        if not fitting:
            break
        for i in fitting:
            granted[i] = lengths[i]
        left -= sum(lengths[i] for i in fitting)
        open_parts = [i for i in open_parts if i not in fitting]
    for i in open_parts:
        granted[i] = weights[i] * left // sum(weights[j] for j in open_parts)
    if 0 in open_parts:
        granted[0] += min(left - sum(granted[i] for i in open_parts), lengths[0] - granted[0])
    return tuple(granted)


def keep_head(tokens: Tokens, count: int) -> Tokens:
    """Return the first `count` tokens."""
    return tokens[:count]


def keep_both_ends(tokens: Tokens, count: int) -> Tokens:
    """Return `count` tokens, half from each end. If `count` is odd, the head gets one more."""
    if count >= len(tokens):
        return tokens
    tail = count // 2
    return np.concatenate([tokens[: count - tail], tokens[len(tokens) - tail :]])


def cut_rounds(rounds: Sequence[Round], total: int, budget: Budget) -> tuple[Tokens, ...]:
    """Return the tokens of prompt, A and B that fit a window of `total`; A and B are treated alike.

    "fair" and "head+tail" share the window between the three texts of the whole conversation and keep the head or
    both ends of each. "latest" first shares the window between the texts of the newest turn, then what remains
    between those of the turn before, and so on, so that the oldest turns are lost. "right" is handled by
    `template_rows`.
    """
    if budget == "latest":
        kept: list[tuple[Tokens, ...]] = []
        for latest in reversed(rounds):
            shares = fair_shares([len(part) for part in latest], total)
            kept.append(tuple(part[:share] for part, share in zip(latest, shares, strict=True)))
            total -= sum(shares)
        return tuple(np.concatenate(parts) for parts in zip(*reversed(kept), strict=True))
    whole = tuple(np.concatenate(parts) for parts in zip(*rounds, strict=True))
    cut = keep_both_ends if budget == "head+tail" else keep_head
    shares = fair_shares([len(part) for part in whole], total)
    return tuple(cut(part, share) for part, share in zip(whole, shares, strict=True))


def tokenise(battles: Battles, tokenizer: Any, cells: Cells = "turns") -> list[list[Round]]:
    """Return the tokens of every turn of every battle, uncut and without special tokens.

    With `cells="json"` a text is a single turn: the JSON list from the competition's file, brackets and quotes
    included. The published notebook uses this text.
    """
    texts = list(zip(*(getattr(battles, name) for name in TEXTS), strict=True))
    if cells == "json":
        texts = [tuple((join_turns(turns),) for turns in battle) for battle in texts]
    return tokenise_turns(texts, tokenizer)


def tokenise_turns(texts: Sequence[tuple[Turns, ...]], tokenizer: Any, separator: str = "\n") -> list[list[Round]]:
    """Return the tokens of every turn of texts that belong together, such as a prompt and an answer.

    A text with fewer turns than the others is padded with empty turns. Every turn but the first begins with the
    separator.
    """
    flat: list[str] = []
    counts = [max(1, *map(len, parts)) for parts in texts]
    for parts, count in zip(texts, counts, strict=True):
        for i in range(count):
            # A line break between turns, for tokenizers that do not ignore it.
            flat += [(separator if i else "") + turns[i] if i < len(turns) else "" for turns in parts]
    tokens = iter([np.array(t, dtype=np.int32) for t in encode(tokenizer, flat)])
    return [
        [tuple(next(tokens) for _ in parts) for _ in range(count)]
        for parts, count in zip(texts, counts, strict=True)
    ]


def iterate_rounds(battles: Battles, tokenizer: Any, cells: Cells = "turns") -> Iterator[list[Round]]:
    """Yield what `tokenise` returns, in blocks: the uncut tokens of 57,477 battles would need gigabytes."""
    for start in range(0, len(battles), BLOCK):
        yield from tokenise(battles.take(slice(start, start + BLOCK)), tokenizer, cells)


def encode(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Return the token ids of texts without special tokens, even if a text contains their names.

    Only a very long text loses its middle.
    """
    if not texts:
        return []
    texts = [cut_middle(text) for text in texts]
    # Prompts contain "[SEP]" and "</s>": unless they are split, they would become special tokens of the model.
    encoded = tokenizer(texts, add_special_tokens=False, split_special_tokens=True, truncation=False, verbose=False)
    ids: list[list[int]] = encoded["input_ids"]
    return ids


def template_rows(
    battles: Battles,
    tokenizer: Any,
    window: int,
    budget: Budget = "fair",
    cells: Cells = "turns",
    closed: bool = False,
) -> tuple[list[Tokens], TokenCoverage]:
    """Return one row of tokens per battle, and how many tokens were kept.

    A row is `Prompt: … Response A: … Response B: …` between the tokenizer's special tokens, at most `window` long.
    With the budget "right" the text is cut where the window ends, as in the published notebook, so that little or
    nothing may remain of B. `closed` is that of `special_token_wrapper`. Raises UserError if the window has no room
    for the template.
    """
    names = encode(tokenizer, ["Prompt:", "\nResponse A:", "\nResponse B:"])
    heads = [np.array(name, dtype=np.int32) for name in names]
    wrap, special = special_token_wrapper(tokenizer, closed=closed)
    space = window - special
    room = space - sum(map(len, heads))
    if room < 3:
        least = window - room + 3
        raise UserError(f"a window of {window} tokens has no room for prompt, A and B. Set it to {least} or more.")
    rows, kept, lengths = [], np.zeros((len(battles), 3), dtype=int), np.zeros((len(battles), 3), dtype=int)
    for i, conversation in enumerate(iterate_rounds(battles, tokenizer, cells)):
        lengths[i] = [sum(len(turn[part]) for turn in conversation) for part in range(3)]
        if budget == "right":
            parts = tuple(np.concatenate(parts) for parts in zip(*conversation, strict=True))
            before = np.cumsum([0, *(len(h) + len(p) for h, p in zip(heads, parts, strict=True))])[:3]
            kept[i] = [
                int(np.clip(space - start - len(head), 0, len(part)))
                for start, head, part in zip(before, heads, parts, strict=True)
            ]
        else:
            parts = cut_rounds(conversation, room, budget)
            kept[i] = [len(part) for part in parts]
        row = np.concatenate([piece for pair in zip(heads, parts, strict=True) for piece in pair])
        rows.append(wrap(row[:space]))
    return rows, measure_coverage(kept, lengths)


def measure_coverage(kept: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> TokenCoverage:
    """Sum (n, 3) kept tokens and (n, 3) tokens before cutting over the battles; columns are prompt, A and B."""
    lost = ((kept[:, 1:] == 0) & (lengths[:, 1:] > 0)).any(axis=1)
    return TokenCoverage(
        kept=dict(zip(TEXTS, kept.sum(axis=0).tolist(), strict=True)),
        total=dict(zip(TEXTS, lengths.sum(axis=0).tolist(), strict=True)),
        lost_a_side=int(lost.sum()),
        cut=np.asarray((kept < lengths).any(axis=1)),
    )


def special_token_wrapper(
    tokenizer: Any, parts: int = 1, closed: bool = False
) -> tuple[Callable[..., Tokens], int]:
    """Return a function that adds the tokenizer's special tokens to one or two texts, and the number it adds.

    If the tokenizer puts no separator between two texts, they are separated by an empty line. With `closed`, texts
    after which the tokenizer adds nothing end with `closing_tokens`, so that all have the same last token. Raises
    UserError if the tokens of a text are not found among the special ones.
    """
    # A marker in place of each text shows which special tokens come before, between and after the texts.
    [marker] = encode(tokenizer, ["a"])
    wrapped = tokenizer(*["a"] * parts)["input_ids"]
    pieces, at = [], 0
    for _ in range(parts):
        found = next((i for i in range(at, len(wrapped)) if wrapped[i : i + len(marker)] == marker), None)
        if found is None or not marker:
            raise UserError("this tokenizer splits a text differently among special tokens. Use another encoder.")
        pieces.append(np.array(wrapped[at:found], dtype=np.int32))
        at = found + len(marker)
    pieces[1:] = [each if _separates(tokenizer, each) else _plain_separator(tokenizer) for each in pieces[1:]]
    end = np.array(wrapped[at:], dtype=np.int32)
    if closed and not len(end):
        end = closing_tokens(tokenizer)

    def wrap(*texts: Tokens) -> Tokens:
        return np.concatenate([piece for pair in zip(pieces, texts, strict=True) for piece in pair] + [end])

    return wrap, sum(map(len, pieces)) + len(end)


def _separates(tokenizer: Any, between: Tokens) -> bool:
    """Return whether the special tokens between two texts are more than the beginning of a second text."""
    ends = {tokenizer.eos_token_id, tokenizer.sep_token_id}
    return any(token in ends or token != tokenizer.bos_token_id for token in between.tolist())


def _plain_separator(tokenizer: Any) -> Tokens:
    """Return the tokens of an empty line or, for a tokenizer that ignores line breaks, of a vertical bar."""
    found = next((tokens for tokens in encode(tokenizer, ["\n\n", "|"]) if tokens), [])
    return np.array(found, dtype=np.int32)


def closing_tokens(tokenizer: Any) -> Tokens:
    """Return the end-of-text token or the separator of a tokenizer or, if it has neither, a line break."""
    for token in (tokenizer.eos_token_id, tokenizer.sep_token_id):
        if token is not None:
            return np.array([token], dtype=np.int32)
    found = next((tokens for tokens in encode(tokenizer, ["\n", "|"]) if tokens), [])
    return np.array(found, dtype=np.int32)
