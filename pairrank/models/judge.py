"""A language model reads the prompt and both answers, and the outcome is read from its last position."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from pairrank.atomic import atomic_path
from pairrank.data.battles import Battles
from pairrank.data.probabilities import Proba, average_orders, softmax
from pairrank.encoders.adapter_settings import AdapterSettings, Bits, require_libraries
from pairrank.encoders.adapters import add_adapter, base_options
from pairrank.encoders.catalogue import Encoder, find_encoder
from pairrank.encoders.chat import Template
from pairrank.encoders.decoder import last_hidden, open_causal
from pairrank.encoders.devices import Precision, device_name
from pairrank.encoders.encoder_record import find_recorded_encoder, write_encoder_record
from pairrank.encoders.inference import Batch, compute_outputs, pad
from pairrank.encoders.judge_windows import Counts, JudgeText, coverage_of, judge_template, judge_texts
from pairrank.encoders.outcome_logits import OutcomeReader, Readings
from pairrank.encoders.quiet import quiet_transformers
from pairrank.encoders.windows import Budget, Tokens
from pairrank.files import write_json
from pairrank.memo import memoise
from pairrank.models.base import Progress, register, require_battles
from pairrank.models.fine_tuned import FineTuned
from pairrank.models.heads.calibration import Calibration, fit_calibration
from pairrank.training.history import reading_report
from pairrank.training.monitor import Monitor
from pairrank.training.recipe import Recipe, tokens_in_prediction
from pairrank.vector_cache import open_cache

HEAD_FILE, CALIBRATION_FILE = "head.safetensors", "calibration.json"
BLOCK = 1_000
"""Battles whose tokens are held at once in prediction."""


class _Judge(nn.Module):
    """Maps token ids to logits (B, 3) by a linear layer on the last hidden state of a decoder."""

    def __init__(self, decoder: nn.Module, width: int, seed: int) -> None:
        super().__init__()
        self.decoder, self.head = decoder, nn.Linear(width, 3)
        # Hidden states of language models are large: with the usual 0.02, SmolLM2's first loss is 1.4 on average.
        nn.init.normal_(self.head.weight, std=1 / width, generator=torch.Generator().manual_seed(seed))
        nn.init.zeros_(self.head.bias)

    @property
    def pretrained(self) -> nn.Module:
        return self.decoder

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return (B, 3) logits of token ids (B, T) with padding on either side, computed in float32."""
        hidden = last_hidden(self.decoder, input_ids, attention_mask)
        with torch.autocast(hidden.device.type, enabled=False):
            logits: torch.Tensor = self.head(hidden.float())
        return logits

    def activation_checkpointing_enable(self, **options: Any) -> None:
        self.decoder.activation_checkpointing_enable(**options)  # type: ignore[operator]


@register("judge")
@dataclass
class Judge(FineTuned):
    """A causal language model judges both answers behind one prompt, with a trained head or in its own words."""

    encoder: list[str] = field(default_factory=lambda: ["smollm2"])
    """Language models in order of preference: a folder, a hub id with a pinned revision, or a catalogue name."""
    head: Literal["trained", "zero-shot"] = "trained"
    """A linear layer on the last position, fine-tuned with the model; or the model's own logits of A, B and C."""
    max_tokens: int = 1024
    """Tokens of the window, layout included; bounded by the positions of the model."""
    budget: Literal["fair", "head+tail", "latest"] = "fair"
    """What is kept of texts that do not fit: their beginning, both ends, or the latest turns."""
    template: Template = "auto"
    """Lay out the text by the model's chat template, or as plain text. "auto" is "chat" if there is a template."""
    both_sides: bool = True
    """Average the predictions for both orders (geometric mean). Without it, a trained head needs half the time."""
    calibrated: bool = True
    """Fit a temperature and a tie offset for "zero-shot" on the training battles; otherwise nothing is learned."""
    swap_augmentation: bool = False
    """Train on both orders of every battle."""
    soft_targets: bool = False
    """Learn from `battles.soft`, if the battles carry it, instead of the winners."""
    training: Recipe = field(
        default_factory=lambda: Recipe(learning_rate=2e-5, head_rate=10.0, epochs=1, batch_size=16)
    )
    """Epochs, learning rates and other settings of fine-tuning; "zero-shot" uses the precision alone."""
    adapter: AdapterSettings = field(default_factory=AdapterSettings)
    """The adapter that is trained instead of the model's own weights; none by default.

    "zero-shot" uses `base_bits` alone, the bits per weight.
    """
    seed: int = 0
    """Seed of the new head, the adapter, the order of the battles and the dropout."""

    def _complaints(self) -> list[str]:
        complaints = super()._complaints()
        if self.head == "zero-shot":
            if not self.both_sides:
                complaints.append('both_sides = false: head = "zero-shot" always averages both orders.')
            if self.swap_augmentation:
                complaints.append('swap_augmentation = true: head = "zero-shot" trains no weights.')
            if self.adapter.is_used:
                complaints.append(
                    f'adapter.rank = {self.adapter.rank}: head = "zero-shot" trains nothing. Set it to "trained".'
                )
            if self.soft_targets and not self.calibrated:
                complaints.append("soft_targets = true: nothing is learned without calibration.")
        return complaints

    @property
    def symmetric(self) -> bool:
        """True if both orders are averaged."""
        return self.both_sides

    @property
    def learns(self) -> bool:
        """False for "zero-shot" without calibration."""
        return self.head == "trained" or self.calibrated

    @property
    def progress(self) -> Progress:
        """The unit of fine-tuning; a calibration is a single step."""
        return "epochs" if self.head == "trained" else ""

    def fit(self, train: Battles, folder: Path | None = None, monitor: Monitor | None = None) -> Self:
        """Fine-tune, or read the training battles and fit the calibration.

        With a `folder`, an interrupted fine-tuning resumes from its last complete epoch. `monitor` receives the log
        loss of held-out training prompts after each epoch.
        """
        if self.head == "trained":
            return super().fit(train, folder, monitor)
        require_libraries(self.adapter, training=False)
        self.encoder_, self.coverage_ = find_encoder(self.encoder), None
        self.calibration_ = Calibration()
        if self.calibrated:
            require_battles(train)
            self.calibration_ = fit_calibration(self._read(train).proba, train, self.soft_targets)
        return self

    def predict_proba(self, battles: Battles) -> Proba:
        """Return (n, 3) probabilities of A, B and tie; tokens of at most `BLOCK` battles are held at once."""
        if not len(battles):
            return np.empty((0, 3))
        if self.head == "zero-shot":
            calibration, readings = self.calibration_, self._read(battles)
            self.coverage_ = readings.coverage
            return calibration(readings.proba)
        starts = range(0, len(battles), BLOCK)
        parts = [self._predict(battles.take(slice(start, start + BLOCK))) for start in starts]
        self.coverage_ = coverage_of(np.concatenate([counts for _, counts in parts]))
        return np.concatenate([proba for proba, _ in parts])

    def save(self, folder: Path) -> None:
        """Write the fine-tuned decoder and its head, or what was learned with name and hash of a frozen model."""
        if self.head == "trained":
            super().save(folder)
            return
        write_encoder_record(self._frozen, folder)
        write_json(folder / CALIBRATION_FILE, asdict(self.calibration_))

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote; raises UserError if a frozen model has changed since."""
        if self.head == "trained":
            return super().load(folder)
        require_libraries(self.adapter, training=False)
        self.encoder_, self.coverage_ = find_recorded_encoder(self.encoder, folder), None
        self.calibration_ = Calibration(**json.loads((folder / CALIBRATION_FILE).read_text(encoding="utf-8")))
        return self

    def report(self) -> dict[str, Any]:
        """Return the number of parameters, the model, the tokens kept, and the calibration or the history."""
        if self.head == "trained":
            return super().report()
        return (
            {"parameters": 2 * self.calibrated, "device": device_name(self.training.precision)}
            | reading_report(self.encoder_, self.coverage_)
            | asdict(self.calibration_)
        )

    def _save_whole(self, folder: Path) -> None:
        with quiet_transformers():
            self.module_.decoder.save_pretrained(folder)  # type: ignore[operator]
            self.tokenizer_.save_pretrained(folder)
        with atomic_path(folder / HEAD_FILE) as path:
            save_file(self.module_.head.state_dict(), path)

    def _load_whole(self, folder: Path) -> None:
        self._open(folder)
        self.module_.head.load_state_dict(load_file(folder / HEAD_FILE))

    def _start_from(self, encoder: Encoder) -> None:
        self._open(encoder.folder)

    def _open(self, folder: Path) -> None:
        """Open the decoder in `folder` and give it a new head and the adapter."""
        decoder, self.tokenizer_ = open_causal(folder, self.max_tokens, False, base_options(self.adapter))
        add_adapter(decoder, self.adapter, self.seed)
        self.template_ = judge_template(self.tokenizer_, self.template)
        self.module_: _Judge = _Judge(decoder, decoder.config.get_text_config().hidden_size, self.seed)

    def _rows(self, battles: Battles) -> list[Tokens]:
        return [self._row(text) for text in self._texts(battles)]

    def _texts(self, battles: Battles) -> list[JudgeText]:
        return list(judge_texts(battles, self.tokenizer_, self.template_, self.max_tokens, self.budget))

    def _row(self, text: JudgeText, swapped: bool = False) -> Tokens:
        """Return the tokens of a battle, with B first if it is `swapped`."""
        first, second = (text.b, text.a) if swapped else (text.a, text.b)
        return self.template_.row(text.prompt, first, second)

    def _predict(self, battles: Battles) -> tuple[Proba, Counts]:
        """Return probabilities of battles, and the tokens of their texts before and after cutting."""
        texts = self._texts(battles)
        straight = self._outputs([self._row(text) for text in texts])
        counts = np.stack([text.counts for text in texts])
        if not self.both_sides:
            return straight, counts
        return average_orders(straight, self._outputs([self._row(text, swapped=True) for text in texts])), counts

    def _outputs(self, rows: list[Tokens]) -> Proba:
        most = tokens_in_prediction(self.module_, self.training)
        logits = compute_outputs(self.module_, rows, self._collate, self.training.precision, most)
        return softmax(logits / self.temperature_)

    def _collate(self, rows: Sequence[Tokens]) -> Batch:
        """Return token ids and attention mask (B, T). The mask alone shows what is padding."""
        return pad(rows, 0)

    def _read(self, battles: Battles) -> Readings:
        return _readings_of(
            battles,
            self._frozen,
            self.max_tokens,
            self.budget,
            self.template,
            self.training.precision,
            self.adapter.base_bits,
        )


@memoise
def _readings_of(
    battles: Battles,
    encoder: Encoder,
    max_tokens: int,
    budget: Budget,
    template: Template,
    precision: Precision,
    bits: Bits,
) -> Readings:
    return OutcomeReader(encoder, max_tokens, budget, template, precision, bits, open_cache()).read(battles)
