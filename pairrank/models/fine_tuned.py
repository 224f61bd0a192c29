"""All models that fine-tune an encoder are trained, saved, loaded and merged in one way."""

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self, cast

import torch
from torch import nn

from pairrank.data.battles import Battles, evenly_spaced
from pairrank.encoders.adapter_files import read_trained, write_trained
from pairrank.encoders.adapter_settings import AdapterSettings, require_libraries
from pairrank.encoders.adapters import merge_adapter, set_trained_weights
from pairrank.encoders.attention import set_attention
from pairrank.encoders.backend_choice import SAMPLED, Sample, choose_backend, read_backend, write_backend
from pairrank.encoders.backends import ATTENTIONS, Backend, open_backend, require_backend
from pairrank.encoders.catalogue import Encoder, find_encoder
from pairrank.encoders.devices import choose_precision, device
from pairrank.encoders.encoder_record import find_recorded_encoder
from pairrank.encoders.inference import Batch, Compute, Row
from pairrank.encoders.windows import TokenCoverage
from pairrank.errors import UserError, bounds_complaints
from pairrank.files import write_json
from pairrank.models.base import Model, Progress
from pairrank.training.fine_tuning import fine_tune_battles
from pairrank.training.history import TrainingHistory, training_report
from pairrank.training.monitor import Monitor
from pairrank.training.recipe import Recipe, require_available

DROPOUT = ("attention_dropout", "hidden_dropout", "head_dropout")
"""Hyperparameters that are shares, in the models that have them."""
TEMPERATURE, TEMPERATURE_FILE = "temperature", "temperature.json"
"""Name of the temperature among the weights of an adapter, and its file, which is missing if it is 1."""


class FineTuned(Model):
    """A model that fine-tunes an encoder, or an adapter inside it, together with a head.

    A model declares the hyperparameters below as fields, and implements the five abstract methods that follow them.
    """

    encoder: list[str]
    """Encoders in order of preference."""
    max_tokens: int
    """Tokens of one text at most."""
    training: Recipe
    """Epochs, learning rates, batches, precision and the other settings of fine-tuning."""
    adapter: AdapterSettings
    """The adapter that is trained instead of the encoder's own weights."""
    soft_targets: bool
    """Whether to train on `battles.soft`, if the battles carry it, instead of the winners."""
    swap_augmentation: bool = False
    """Whether to train on both orders of every battle."""
    backend: Backend = "auto"
    """What computes the predictions; a model that has this field implements `_sample`."""
    seed: int
    """Seed of the head, the adapter, the order of the battles and the dropout."""

    module_: Any
    """The network. `fine_tune` says what it needs."""
    encoder_: Encoder | None
    """The encoder from which the training started; None in a loaded model that holds all weights itself."""
    coverage_: TokenCoverage | None
    """How many tokens of the battles that were predicted last reached the model."""
    history_: TrainingHistory | None
    """The measurements of the training; None in a loaded model."""
    temperature_: float = 1.0
    """Number by which the logits are divided in prediction; other than 1 only if `training.choose_by` fits it."""

    backend_: str = ""
    """The backend of all predictions of this model; "" in a model that computes them in another way."""
    compute_: Compute | None = None
    """The opened backend, which has the present weights; None until the first prediction with them."""

    @abstractmethod
    def _start_from(self, encoder: Encoder) -> None:
        """Open a pretrained encoder, with a new head and the adapter drawn from the seed, as `module_`."""

    @abstractmethod
    def _rows(self, battles: Battles) -> Sequence[Row]:
        """Return the tokens of each battle, cut to the window."""

    @abstractmethod
    def _collate(self, rows: Sequence[Any]) -> Batch:
        """Return the arguments of `module_` for rows."""

    @abstractmethod
    def _save_whole(self, folder: Path) -> None:
        """Write all weights and the tokenizer."""

    @abstractmethod
    def _load_whole(self, folder: Path) -> None:
        """Read what `_save_whole` wrote as `module_`."""

    def _sample(self, battles: Battles) -> Sample | None:
        """Return the module that predicts and its rows; None in a model that does not choose a backend."""
        return None

    def __post_init__(self) -> None:
        if complaints := self._complaints():
            raise UserError(" ".join(complaints))

    def _complaints(self) -> list[str]:
        """Return a sentence for each hyperparameter that is out of bounds or does not fit another one."""
        bounds = {"max_tokens": (self.max_tokens >= 1, "1 or more")}
        for name in DROPOUT:
            share = getattr(self, name, 0.0)
            bounds[name] = (0 <= share < 1, "a share from 0 to below 1")
        return bounds_complaints(self, bounds)

    @property
    def progress(self) -> Progress:
        """The unit of fine-tuning."""
        return "epochs"

    @property
    def has_adapter(self) -> bool:
        """Whether an adapter is trained instead of the encoder."""
        return self.adapter.is_used

    @property
    def _frozen(self) -> Encoder:
        """The encoder whose own weights are not trained, which is saved by its name and hash."""
        assert self.encoder_ is not None  # noqa: S101  # only a model that is saved whole may not know it
        return self.encoder_

    def fit(self, train: Battles, folder: Path | None = None, monitor: Monitor | None = None) -> Self:
        """Fine-tune; with a `folder`, an interrupted training resumes from its last complete epoch.

        `monitor` receives the log loss of held-out training prompts after each epoch.
        """
        require_available(self.training, self.adapter)
        require_backend(self.backend)
        self.encoder_, self.coverage_ = find_encoder(self.encoder), None
        self._start_from(self.encoder_)
        if self.backend in ATTENTIONS:
            set_attention(self.module_, ATTENTIONS[self.backend])
        self.history_ = fine_tune_battles(
            self.module_,
            train,
            self._rows,
            self._collate,
            self.training,
            folder,
            self.seed,
            self.soft_targets,
            self.swap_augmentation,
            monitor=monitor,
        )
        self.temperature_ = self.history_.temperature
        self.backend_, self.compute_ = self._choose_backend(train), None
        return self

    def _choose_backend(self, train: Battles) -> str:
        """Return the backend for the predictions, which is measured on some of the battles if that pays."""
        some = evenly_spaced(train, SAMPLED)
        sample = self._sample(some)
        if sample is None:
            return ""
        tokens = len(train) / len(some) * sum(map(len, sample.rows))
        of = type(self).__name__.lower(), getattr(self, "pooling", "logits")
        kind = f"{', '.join(of)}, adapter of rank {self.adapter.rank}, {self.adapter.base_bits} bits"
        return choose_backend(
            self.backend, self._frozen, kind, self.training.precision, self.max_tokens, tokens, lambda: sample
        )

    def _open_backend(self, module: nn.Module) -> Compute | None:
        """Return what computes the outputs of the module that predicts, with its present weights."""
        if self.compute_ is None and self.backend_:
            self.compute_ = open_backend(
                self.backend_, module.to(device()), choose_precision(self.training.precision)
            )
        return self.compute_

    def save(self, folder: Path) -> None:
        """Write the model as transformers reads it; with an adapter, only adapter and head are written.

        The encoder under an adapter is named with its hash.
        """
        if self.has_adapter:
            write_trained(self.module_, self._frozen, folder)
        else:
            self._save_whole(folder)
        if self.temperature_ != 1:
            write_json(folder / TEMPERATURE_FILE, self.temperature_)
        if self.backend_:
            write_backend(self.backend_, folder)

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote; raises UserError if the encoder under an adapter has changed since."""
        require_libraries(self.adapter, training=False)
        self.encoder_, self.coverage_, self.history_ = None, None, None
        self.temperature_ = _read_temperature(folder)
        self.backend_, self.compute_ = read_backend(folder), None
        if self.has_adapter:
            self.encoder_ = find_recorded_encoder(self.encoder, folder)
            self._start_from(self.encoder_)
            set_trained_weights(self.module_, read_trained(folder))
        else:
            self._load_whole(folder)
        return self

    def report(self) -> dict[str, Any]:
        """Return the number of parameters, the encoder, the tokens kept, the history and warnings."""
        report = training_report(
            self.module_, self.training.precision, self.encoder_, self.coverage_, self.history_
        )
        return report | ({"device": f"{report['device']}, {self.backend_}"} if self.backend_ else {})

    def read_trained_weights(self, folder: Path) -> dict[str, torch.Tensor]:
        """Return the weights of adapter and head that `save` wrote, and the temperature.

        Raises UserError for another encoder.
        """
        find_recorded_encoder(self.encoder, folder)
        return {TEMPERATURE: torch.tensor(_read_temperature(folder), dtype=torch.float64)} | read_trained(folder)

    def set_trained_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Replace adapter, head and temperature by those of another fold's model."""
        self.temperature_, self.compute_ = float(weights[TEMPERATURE]), None
        set_trained_weights(self.module_, {name: value for name, value in weights.items() if name != TEMPERATURE})

    def load_merged(self, folder: Path) -> Self:
        """Read what `save` wrote into a model without an adapter; quantised weights are read in 16 bits."""
        bits: Literal[32, 16] = 32 if self.adapter.base_bits == 32 else 16
        copy: Self = replace(cast(Any, self), adapter=replace(self.adapter, base_bits=bits))
        opened = copy.load(folder)
        merge_adapter(opened.module_)
        opened.compute_ = None
        opened.adapter = AdapterSettings(base_bits=bits)
        return opened


def _read_temperature(folder: Path) -> float:
    file = folder / TEMPERATURE_FILE
    return float(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else 1.0
