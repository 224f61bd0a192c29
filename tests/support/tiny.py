"""Random encoders, 2 layers and 32 wide, in folders as a user would have them; and battles they can learn."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, PreTrainedTokenizerFast

from pairrank.data.battles import Battles, object_array
from pairrank.encoders.quiet import quiet_transformers
from pairrank.training.fine_tuning import Rows
from pairrank.training.recipe import Recipe

MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
WORDS = (  # noqa: SIM905  # a list of single words would take a page
    "prompt response a b yes no good bad short long apple pear river stone why how what is the of and red blue one "
    "two three four five six seven eight nine ten left right up down tree leaf bird fish cat dog sun moon rain snow"
).split()
VOCABULARY = list(dict.fromkeys([*MARKS, *LETTERS, *(f"##{letter}" for letter in LETTERS), *WORDS]))
WINDOW = 64
"""Tokens that the tiny encoders have positions for."""

FAST = Recipe(
    learning_rate=3e-3,
    epochs=2,
    batch_size=8,
    hold_out=0.0,
    precision="fp32",
)
"""What a random encoder learns something with in a second."""


def wordpiece() -> Tokenizer:
    """A tokenizer of the BERT kind, in which every printable character is a token."""
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(MARKS)
    ends = [(mark, VOCABULARY.index(mark)) for mark in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=ends
    )
    return tokenizer


def write_encoder(folder: Path, kind: str = "bert") -> Path:
    """config.json, model.safetensors and the tokenizer's files of a random encoder."""
    names = {name: f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    torch.manual_seed(0)
    if kind == "bert":
        encoder = BertModel(
            BertConfig(
                vocab_size=len(VOCABULARY),
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=64,
                max_position_embeddings=WINDOW,
                initializer_range=0.1,
            )
        )
    else:
        encoder = DistilBertModel(
            DistilBertConfig(
                vocab_size=len(VOCABULARY),
                dim=32,
                n_layers=2,
                n_heads=2,
                hidden_dim=64,
                max_position_embeddings=WINDOW,
                initializer_range=0.1,
            )
        )
    with quiet_transformers():
        encoder.save_pretrained(folder)
        PreTrainedTokenizerFast(
            tokenizer_object=wordpiece(), **{f"{name}_token": mark for name, mark in names.items()}
        ).save_pretrained(folder)
    return folder


def plain_battles(*rows: tuple[str, str, str], winner: list[int] | None = None) -> Battles:
    """Battles of one turn each, from (prompt, answer A, answer B)."""
    return conversations(*(tuple((text,) for text in row) for row in rows), winner=winner)


def conversations(*rows, winner: list[int] | None = None) -> Battles:
    """Battles from (turns of the prompt, turns of A, turns of B)."""
    columns = zip(*rows, strict=True) if rows else ((), (), ())
    prompt, a, b = (object_array(list(column)) for column in columns)
    return Battles(
        id=object_array([f"b{i}" for i in range(len(rows))]),
        prompt=prompt,
        response_a=a,
        response_b=b,
        winner=None if winner is None else np.array(winner, dtype=np.int64),
    )


def arena_of_words(n: int, seed: int = 0) -> Battles:
    """Battles in which "good" beats "bad" and two alike tie; prompts differ and lengths vary."""
    rng = np.random.default_rng(seed)
    rows, winners = [], []
    for i in range(n):
        a, b = rng.choice(["good", "bad"], 2)
        prompt, more_a, more_b = (" ".join(rng.choice(WORDS, rng.integers(0, 8))) for _ in range(3))
        rows.append((f"why {i} {prompt}", f"{a} {more_a}", f"{b} {more_b}"))
        winners.append(2 if a == b else int(a == "bad"))
    return plain_battles(*rows, winner=winners)


class Bag(nn.Module):
    """The mean of a text's word vectors, read by a linear layer: the smallest thing that can be fine-tuned."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(7)
            self.words = nn.Embedding(12, 8)
            self.dropout = nn.Dropout(dropout)
            self.head = nn.Linear(8, 3)

    @property
    def pretrained(self) -> nn.Module:
        return self.words

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        mask = attention_mask[:, :, None].float()
        mean = (self.words(input_ids) * mask).sum(1) / mask.sum(1)
        return self.head(self.dropout(mean))


def collate(rows: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
    width = max(map(len, rows))
    padded = np.stack([np.pad(row, (0, width - len(row))) for row in rows])
    mask = np.stack([np.arange(width) < len(row) for row in rows])
    return {"input_ids": torch.tensor(padded, dtype=torch.long), "attention_mask": torch.tensor(mask)}


def some_rows(n: int, seed: int = 0, shift: int = 0) -> Rows:
    """Texts of 1 to 9 words whose first word, modulo 3, is the outcome (or another one, by `shift`)."""
    rng = np.random.default_rng(seed)
    tokens = [rng.integers(0, 12, rng.integers(1, 10)).astype(np.int32) for _ in range(n)]
    # Said twice more, so that a bag of words can tell.
    tokens = [np.concatenate([row, [row[0]] * 9]).astype(np.int32) for row in tokens]
    return Rows(tokens, np.eye(3)[[(row[0] + shift) % 3 for row in tokens]])
