"""A reward model reads a prompt with one answer, as its chat template writes them or as a plain pair of texts."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pairrank.data.battles import Battles
from pairrank.encoders.cached_batches import Text
from pairrank.encoders.chat import USE_PLAIN, Conversations, Template, cut_turns, keep_turns, uses_chat
from pairrank.encoders.reward_model import RewardModel
from pairrank.encoders.side_windows import SideTexts
from pairrank.encoders.windows import (
    BLOCK,
    Budget,
    Round,
    TokenCoverage,
    Tokens,
    cut_rounds,
    measure_coverage,
    special_token_wrapper,
    tokenise_turns,
)
from pairrank.errors import UserError

LEAST_PER_TURN = 4
"""Tokens of text for which a turn needs room in the window, so that prompt and answer are not lost."""


@dataclass(frozen=True)
class PairLayout:
    """Writes prompt and answer between the tokenizer's special tokens, as a sentence pair."""

    wrap: Callable[..., Tokens]
    special: int
    """Number of special tokens that `wrap` adds."""

    def row(self, rounds: Sequence[Round], window: int, budget: Budget) -> tuple[Tokens, tuple[int, int]]:
        """Return the tokens of prompt and answer, at most `window`, and how many of them are of each.

        `rounds` has the tokens of prompt and answer of each turn. Raises UserError if the window has no room.
        """
        if window < self.special + 2:
            raise UserError(
                f"max_tokens = {window}: the window has no room for a text. Set it to {self.special + 2} or more."
            )
        prompt, answer = cut_rounds(rounds, window - self.special, budget)
        return self.wrap(prompt, answer), (len(prompt), len(answer))


@dataclass(frozen=True)
class ChatLayout:
    """Writes prompt and answer as the conversation that a chat template describes.

    The template's own text and the texts of the battle are tokenised apart, the latter without special tokens.
    Without cuts the tokens are those of the rendered template, except that a tokenizer which merges tokens across
    their border, or which begins each text with a space, may split there.
    """

    chat: Conversations

    def row(self, rounds: Sequence[Round], window: int, budget: Budget) -> tuple[Tokens, tuple[int, int]]:
        """Return the tokens of a conversation, at most `window`, and how many are of the prompt and of the answer.

        `rounds` has the tokens of prompt and answer of each turn. A turn without room in the window is left out:
        the oldest with the budget "latest", else the newest. Raises UserError if no turn has room.
        """
        rounds = self._fitting(rounds, window, budget)
        room = window - self._overhead(len(rounds))
        texts = [text for cut, _ in cut_turns(rounds, room, budget) for text in cut]
        around = self.chat.around(len(texts) // 2)
        row = np.concatenate([part for pair in zip(around, texts, strict=False) for part in pair] + [around[-1]])
        return row, (sum(map(len, texts[::2])), sum(map(len, texts[1::2])))

    def _fitting(self, rounds: Sequence[Round], window: int, budget: Budget) -> Sequence[Round]:
        """Return the turns that the window has room for."""
        for count in range(len(rounds), 0, -1):
            needed = self._overhead(count) + LEAST_PER_TURN * count
            if needed <= window:
                return keep_turns(rounds, count, budget)
        raise UserError(
            f"max_tokens = {window}: the window has no room for the chat template and a text. "
            f"Set it to {needed} or more."
        )

    def _overhead(self, turns: int) -> int:
        """Return the number of tokens of the template in a conversation of so many turns."""
        return sum(map(len, self.chat.around(turns)))


def choose_layout(template: Template, model: RewardModel) -> PairLayout | ChatLayout:
    """Return the layout of a reward model's texts; raises UserError for "chat" without a chat template."""
    if uses_chat(model.tokenizer, template):
        return ChatLayout(Conversations(model.tokenizer, USE_PLAIN))
    return PairLayout(*special_token_wrapper(model.tokenizer, 2, model.closed))


def iterate_rows(
    texts: Sequence[Text], model: RewardModel, window: int, budget: Budget, template: Template
) -> Iterator[tuple[Tokens, tuple[int, int], tuple[int, int]]]:
    """Yield for each prompt with an answer its row of tokens, at most `window` long, and two pairs of numbers.

    The pairs are the tokens of prompt and answer in the row, and those before anything was cut.
    """
    layout = choose_layout(template, model)
    # The template separates turns itself.
    separator = "" if isinstance(layout, ChatLayout) else "\n"
    for start in range(0, len(texts), BLOCK):
        for rounds in tokenise_turns(texts[start : start + BLOCK], model.tokenizer, separator):
            prompt, answer = (sum(len(turn[part]) for turn in rounds) for part in range(2))
            yield *layout.row(rounds, window, budget), (prompt, answer)


def reward_sides(
    battles: Battles, model: RewardModel, window: int, budget: Budget, template: Template = "auto"
) -> tuple[list[SideTexts], TokenCoverage]:
    """Return both sides of each battle as a reward model reads them, and how many tokens were kept."""
    texts = [
        text
        for battle in zip(battles.prompt, battles.response_a, battles.response_b, strict=True)
        for text in ((battle[0], battle[1]), (battle[0], battle[2]))
    ]
    sides = iterate_rows(texts, model, window, budget, template)
    rows = []
    kept, lengths = np.zeros((len(battles), 3), dtype=int), np.zeros((len(battles), 3), dtype=int)
    for i, ((a, kept_a, all_a), (b, kept_b, all_b)) in enumerate(zip(sides, sides, strict=True)):
        # The prompt may be cut differently on the two sides: the shorter copy counts.
        kept[i] = min(kept_a[0], kept_b[0]), kept_a[1], kept_b[1]
        lengths[i] = all_a[0], all_a[1], all_b[1]
        log_a, log_b = np.log1p(lengths[i, 1:]).tolist()
        rows.append(SideTexts(a, b, np.array([], dtype=np.int32), (log_a, log_b)))
    return rows, measure_coverage(kept, lengths)
