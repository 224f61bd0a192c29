"""A reward model reads a prompt with one answer, as its chat template writes them or as a plain pair of texts."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pairrank.data.battles import Battles
from pairrank.encoders.cached_batches import Text
from pairrank.encoders.chat import ChatLayout, has_chat_template
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

Template = Literal["auto", "chat", "plain"]
"""How prompt and answer are written: as the tokenizer's chat template does, or as a plain pair of texts.

"auto" is "chat" if the tokenizer has a template.
"""


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


def choose_layout(template: Template, model: RewardModel) -> PairLayout | ChatLayout:
    """Return the layout of a reward model's texts; raises UserError for "chat" without a chat template."""
    has_template = has_chat_template(model.tokenizer)
    if template == "chat" and not has_template:
        raise UserError(f'{model.folder}: its tokenizer has no chat template. Set template to "auto" or "plain".')
    if template == "plain" or not has_template:
        return PairLayout(*special_token_wrapper(model.tokenizer, 2, model.closed))
    return ChatLayout(model.tokenizer, model.folder)


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
