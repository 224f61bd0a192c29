"""One encoder reads each answer after its prompt, and a head compares the two vectors."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from pairrank.atomic import atomic_path
from pairrank.data.battles import Battles
from pairrank.data.probabilities import Proba, average_orders, softmax
from pairrank.encoders.adapter_settings import AdapterSettings
from pairrank.encoders.adapters import add_adapter, base_options
from pairrank.encoders.answer_tokens import TextRow
from pairrank.encoders.architecture import PoolingMode
from pairrank.encoders.backend_choice import Sample
from pairrank.encoders.backends import Backend
from pairrank.encoders.catalogue import Encoder
from pairrank.encoders.chat import Template
from pairrank.encoders.devices import device
from pairrank.encoders.inference import Batch, compute_outputs
from pairrank.encoders.opening import check_positions
from pairrank.encoders.pair_texts import paired_sides
from pairrank.encoders.quiet import quiet_transformers
from pairrank.encoders.reward_model import RewardModel
from pairrank.encoders.side_windows import Layout, Share, SideTexts, side_texts
from pairrank.encoders.transformer import TextEncoder
from pairrank.encoders.windows import TokenCoverage
from pairrank.errors import UserError, bounds_complaints
from pairrank.features.groups import group_complaints
from pairrank.models.base import UseOfInputs, register
from pairrank.models.fine_tuned import FineTuned
from pairrank.models.heads.neural import ScoreHead, begin_at_zero, build_head, head_class
from pairrank.models.heads.offsets import OffsetModel, fit_offsets, offsets_of
from pairrank.models.heads.sides import SiameseNetwork
from pairrank.training.monitor import Monitor
from pairrank.training.recipe import Recipe, tokens_in_prediction

HEAD_FILE = "head.safetensors"
PRETRAINED = "encoder.transformer."
"""Prefix of the names of the encoder's weights."""
HEAD_BATCH = 1_024
"""Battles per batch of the head in prediction."""


@register("siamese")
@dataclass
class Siamese(FineTuned):
    """One encoder for both sides; a difference head turns their vectors into a margin and a tie logit."""

    encoder: list[str] = field(default_factory=lambda: ["minilm"])
    """Encoders in order of preference: a local folder, a hub id with a pinned revision, or a catalogue name."""
    head: Literal["difference", "concat", "pretrained"] | str = "difference"
    """"difference" is symmetric by construction, "concat" is the usual [a, b, a-b, a*b].

    "pretrained" begins with the head of a reward model, which `encoder` then names: half the difference of both
    scores is the margin, and a tie is the less likely the larger it is. `hidden` and `head_dropout` have no effect.
    Another head is named by its file and class: "./mine.py:MyHead".
    """
    hidden: int = 128
    """Width of the head's hidden layer."""
    pooling: PoolingMode = "auto"
    """How the vectors of the tokens become one: their mean, that of the last or first token, or a learned mean.

    "auto" is "last" for a causal decoder, in which only the last token has seen the whole text, and else "mean".
    "answer" is the mean over the answer's tokens, which have seen the prompt; an answer without tokens has the mean
    of all.
    """
    layout: Layout = "pair"
    """Encode prompt and answer as one sentence pair per side; "apart": the answers alone, and the prompt once."""
    max_tokens: int = 512
    """Tokens of one text at most, special tokens included; bounded by the positions of the encoder."""
    budget: Literal["fair", "head+tail", "latest"] = "fair"
    """What is kept of a side that does not fit: its beginning, both ends, or the latest turns."""
    template: Template = "auto"
    """Lay out a prompt with an answer by the tokenizer's chat template, or as a plain pair of texts.

    "auto" is "chat" for the head "pretrained" if there is a template, which then belongs to the reward model, and
    else "plain".
    """
    share: Share = "side"
    """"battle": what one side leaves of its window goes to the other."""
    lengths: bool = True
    """Give the head the logarithm of each answer's length as well, which a mean over tokens does not contain."""
    features: list[str] = field(default_factory=list)
    """Groups of counted features, as in `structure`; [] for none.

    Their logistic models are fitted before the training and stay fixed. The head starts at 0 and adds to their
    margin and tie logit, whose scales are learned. The predictions of inputs are added in the same way.
    """
    attention_dropout: float = 0.0
    """Dropout of attention weights. Above 0, PyTorch's fast attention is not used."""
    hidden_dropout: float = 0.0
    """Dropout of the encoder's hidden states. On a CPU, its masks take a third of the training time."""
    head_dropout: float = 0.1
    """Dropout on the vectors that the head compares, with one mask for both sides."""
    both_sides: bool = False
    """Average the predictions for both orders (geometric mean); makes the "concat" head symmetric."""
    soft_targets: bool = False
    """Train on `battles.soft`, if the battles carry it, instead of the winners."""
    training: Recipe = field(
        default_factory=lambda: Recipe(
            learning_rate=3e-5, head_rate=30.0, frozen_layers=4, epochs=2, batch_size=16, patience=1
        )
    )
    """Epochs, learning rates, batches, precision and the other settings of fine-tuning."""
    adapter: AdapterSettings = field(default_factory=AdapterSettings)
    """The adapter that is trained instead of the encoder's own weights; none by default."""
    backend: Backend = "auto"
    """What computes the vectors in prediction; "auto" is measured where it pays."""
    seed: int = 0
    """Seed of the head, the adapter, the order of the battles and the dropout."""

    offset_model_ = OffsetModel()
    # Without an annotation it is no field: the sources of offsets before anything is fitted or loaded.

    def _complaints(self) -> list[str]:
        complaints = super()._complaints() + bounds_complaints(self, {"hidden": (self.hidden >= 1, "1 or more")})
        if self.head != "pretrained":
            head_class(self.head)  # raises UserError for an unknown name
        if self.head == "pretrained" and (refused := self._refused_by_scores()):
            complaints.append(f'head = "pretrained": {" ".join(refused)}')
        if self.pooling == "answer" and self.layout == "apart":
            complaints.append('pooling = "answer": the layout "apart" reads an answer alone. Set layout to "pair".')
        if self.template == "chat" and self.layout == "apart":
            complaints.append('template = "chat": a chat has a prompt and an answer. Set layout to "pair".')
        if self.template == "chat" and self.share == "battle":
            complaints.append('template = "chat": each side has a window of its own. Set share to "side".')
        return complaints + self._complaints_of_features()

    @property
    def symmetric(self) -> bool:
        """Whether the head is, or both orders are averaged."""
        head = ScoreHead if self.head == "pretrained" else head_class(self.head)
        return head.symmetric or self.both_sides

    @property
    def inputs(self) -> UseOfInputs:
        """Predictions of other experiments are offsets of the head, except of one that was pretrained."""
        return "ignored" if self.head == "pretrained" else "read"

    def fit(self, train: Battles, folder: Path | None = None, monitor: Monitor | None = None) -> Self:
        """Fit the logistic models of `features`, if there are any, then fine-tune as `FineTuned.fit` does."""
        if self.inputs == "ignored":
            train = replace(train, inputs=None, input_names=())
        self.offset_model_, with_offsets = fit_offsets(train, self.features)
        return super().fit(with_offsets, folder, monitor)

    def save(self, folder: Path) -> None:
        """Write the model, and what its offsets need."""
        super().save(folder)
        self.offset_model_.save(folder)

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote; raises UserError as `FineTuned.load` does."""
        self.offset_model_ = OffsetModel.load(folder)
        return super().load(folder)

    def predict_proba(self, battles: Battles) -> Proba:
        """Return (n, 3) probabilities of A, B and tie; each text is encoded once, in batches of similar length."""
        if not len(battles):
            return np.empty((0, 3))
        rows, self.coverage_ = self._texts(self.offset_model_.attach(battles))
        encoder, recipe = self.module_.encoder, self.training
        most, compute = tokens_in_prediction(self.module_, recipe), self._open_backend(encoder)
        vectors = compute_outputs(encoder, _texts_of(rows), encoder.collate, recipe.precision, most, compute)
        a, b, *prompt = torch.from_numpy(vectors).float().view(len(rows), -1, encoder.width).unbind(1)
        lengths, offsets = torch.tensor([row.lengths for row in rows]), _offsets_of_rows(rows)
        straight = self._compare(a, b, prompt, lengths, offsets)
        if not self.both_sides:
            return straight
        return average_orders(
            straight, self._compare(b, a, prompt, lengths.flip(1), offsets * torch.tensor([-1.0, 1.0]))
        )

    def _save_whole(self, folder: Path) -> None:
        """Write the encoder as transformers reads it, and the head and the pooling in a file of their own."""
        with quiet_transformers():
            self.module_.encoder.transformer.model.save_pretrained(folder)
            self.module_.encoder.tokenizer.save_pretrained(folder)
        learned = {
            name: value for name, value in self.module_.state_dict().items() if not name.startswith(PRETRAINED)
        }
        with atomic_path(folder / HEAD_FILE) as path:
            save_file(learned, path)

    def _load_whole(self, folder: Path) -> None:
        self._open(folder)
        learned = load_file(folder / HEAD_FILE)
        missing = self.module_.load_state_dict(learned, strict=False)
        if missing.unexpected_keys or [name for name in missing.missing_keys if not name.startswith(PRETRAINED)]:
            raise UserError(f"{folder / HEAD_FILE}: this file is not a head of this model. Train the model again.")

    def _refused_by_scores(self) -> list[str]:
        """Return what a reward model, which reads prompt and answer together and has its own pooling, cannot do."""
        refused = {
            'layout = "apart": a reward model reads prompt and answer together. Set layout to "pair".': (
                self.layout == "apart"
            ),
            f'pooling = "{self.pooling}": a reward model has a pooling of its own. Set pooling to "auto".': (
                self.pooling != "auto"
            ),
            'share = "battle": each side has a window of its own. Set share to "side".': self.share == "battle",
            "adapter.rank: a reward model is trained whole. Set adapter.rank to 0.": self.adapter.is_used,
        }
        return [complaint for complaint, applies in refused.items() if applies]

    def _complaints_of_features(self) -> list[str]:
        if not self.features:
            return []
        complaints = group_complaints(self.features, needs_sides=True, name="features")
        if self.head == "pretrained":
            complaints.append('features: the head "pretrained" does not read them. Set head to "difference".')
        if self.adapter.is_used:
            complaints.append("features: folds that share an encoder cannot share them. Set adapter.rank to 0.")
        return complaints

    def _start_from(self, encoder: Encoder) -> None:
        self._open(encoder.folder)

    def _open(self, folder: Path) -> None:
        """Open the encoder in `folder` and give it a new head and the adapter."""
        dropout = self.attention_dropout, self.hidden_dropout
        encoder: TextEncoder | RewardModel
        if self.head == "pretrained":
            encoder = RewardModel(folder, *dropout)
        else:
            encoder = TextEncoder(folder, self.pooling, *dropout, base_options(self.adapter))
        check_positions(folder, encoder.positions, self.max_tokens)
        add_adapter(encoder.transformer.model, self.adapter, self.seed)
        sources = len(self.offset_model_)
        self.module_: SiameseNetwork = SiameseNetwork(encoder, self._new_head(encoder.width), sources)

    def _new_head(self, width: int) -> torch.nn.Module:
        """Return a new head for vectors of this width."""
        if self.head == "pretrained":
            return ScoreHead(1 + self.lengths)
        shared = width if self.layout == "apart" else 0
        sides = width + shared + self.lengths
        head = build_head(self.head, sides, shared, self.hidden, self.head_dropout, self.seed)
        if len(self.offset_model_):
            begin_at_zero(head)
        return head

    def _rows(self, battles: Battles) -> list[SideTexts]:
        return self._texts(battles)[0]

    def _sample(self, battles: Battles) -> Sample:
        encoder = self.module_.encoder
        return Sample(encoder, _texts_of(self._rows(battles)), encoder.collate)

    def _texts(self, battles: Battles) -> tuple[list[SideTexts], TokenCoverage]:
        """Return the rows of battles whose `inputs` are the sources of offsets, and how many tokens were kept."""
        encoder = self.module_.encoder
        if isinstance(encoder, RewardModel):
            return paired_sides(battles, encoder, self.max_tokens, self.budget, self.template)
        rows, coverage = self._sides(battles, encoder)
        known = [tuple((margin, tie) for margin, tie in row) for row in offsets_of(battles).tolist()]
        return [replace(row, offsets=each) for row, each in zip(rows, known, strict=True)], coverage

    def _sides(self, battles: Battles, encoder: TextEncoder) -> tuple[list[SideTexts], TokenCoverage]:
        """Return the rows of battles by template and layout."""
        if self.template == "chat":
            return paired_sides(battles, encoder, self.max_tokens, self.budget, self.template)
        return side_texts(
            battles,
            encoder.tokenizer,
            self.max_tokens,
            self.layout,
            self.budget,
            self.share,
            encoder.positions,
            encoder.closed,
            encoder.pools_answer,
        )

    def _compare(
        self,
        a: torch.Tensor,
        b: torch.Tensor,
        prompt: Sequence[torch.Tensor],
        lengths: torch.Tensor,
        offsets: torch.Tensor,
    ) -> Proba:
        """Return (n, 3) probabilities from vectors (n, d) of both sides, and of the prompts with layout "apart"."""
        shared = prompt[0] if prompt else None, lengths if self.lengths else None, offsets
        module, where = self.module_.eval(), device()
        parts = []
        with torch.inference_mode():
            for start in range(0, len(a), HEAD_BATCH):
                rows = slice(start, start + HEAD_BATCH)
                more = [None if values is None else values[rows].to(where) for values in shared]
                parts.append(module.compare(a[rows].to(where), b[rows].to(where), *more).double().cpu())
        return softmax(torch.cat(parts).numpy() / self.temperature_)

    def _collate(self, rows: Sequence[SideTexts]) -> Batch:
        """Return token ids and attention mask (B, 2, T), lengths (B, 2), and prompts (B, P) with layout "apart"."""
        encoder = self.module_.encoder
        texts = encoder.collate([text for row in rows for text in (row.a, row.b)])
        batch = {name: value.view(len(rows), 2, -1) for name, value in texts.items()}
        if self.lengths:
            batch["lengths"] = torch.tensor([row.lengths for row in rows])
        if len(self.offset_model_):
            batch["offsets"] = _offsets_of_rows(rows)
        if self.layout == "apart":
            prompts = encoder.collate([row.prompt for row in rows])
            batch |= {"prompt_ids": prompts["input_ids"], "prompt_mask": prompts["attention_mask"]}
        return batch


def _texts_of(rows: Sequence[SideTexts]) -> list[TextRow]:
    """Return the texts that are encoded: those of both sides, and the prompt of each battle with layout "apart"."""
    return [text for row in rows for text in (row.a, row.b, row.prompt) if len(text)]


def _offsets_of_rows(rows: Sequence[SideTexts]) -> torch.Tensor:
    """Return (n, k, 2) known margins and tie logits."""
    return torch.tensor([row.offsets for row in rows], dtype=torch.float32).view(len(rows), -1, 2)
