"""Any model can be corrected by the votes on identical and empty answers."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import numpy as np

from pairrank.data.battles import Battles
from pairrank.data.probabilities import SMALLEST, Proba, from_logs
from pairrank.features.evidence import Evidence, count_evidence, triple
from pairrank.files import write_json
from pairrank.models.base import Model, Progress, UseOfInputs
from pairrank.training.monitor import Monitor

FILE = "evidence.json"
PREFIX = "evidence."
"""Beginning of the names of the counts among the weights of an adapter."""


class WithEvidence(Model):
    """A model whose predictions are corrected by the evidence that its training battles give.

    What `inner` reports to a monitor, and its early stopping, use its own predictions.
    """

    def __init__(self, inner: Model) -> None:
        self.inner = inner

    @property
    def symmetric(self) -> bool:
        """As the model itself: the correction commutes with exchanging the sides."""
        return self.inner.symmetric

    @property
    def learns(self) -> bool:
        """As the model itself, whose inputs the correction does not use."""
        return self.inner.learns

    @property
    def progress(self) -> Progress:
        """As the model itself."""
        return self.inner.progress

    @property
    def needs_names(self) -> bool:
        """As the model itself."""
        return self.inner.needs_names

    @property
    def inputs(self) -> UseOfInputs:
        """As the model itself."""
        return self.inner.inputs

    @property
    def bare(self) -> Model:
        """The model without the correction."""
        return self.inner

    @property
    def has_adapter(self) -> bool:
        """As the model itself."""
        return self.inner.has_adapter

    def fit(self, train: Battles, folder: Path | None = None, monitor: Monitor | None = None) -> Self:
        """Fit the model, and count the evidence in its training battles."""
        self.inner.fit(train, folder, monitor)
        self.evidence_: Evidence = count_evidence(train)
        return self

    def predict_proba(self, battles: Battles) -> Proba:
        """Return the (n, 3) corrected probabilities.

        Inputs are corrected by their own experiments, and corrected again, the votes would count twice. A mean of
        inputs therefore stays as it is. Another model of inputs may have undone the correction, so that for the
        battles that evidence concerns, the result is the geometric mean of the inputs.
        """
        proba = self.inner.predict_proba(battles)
        if battles.inputs is None:
            return self.evidence_.correct(battles, proba)
        if self.inner.averages_inputs:
            return proba
        mean = from_logs(np.log(np.clip(battles.inputs, SMALLEST, None)).mean(axis=1))
        return np.where(self.evidence_.concerns(battles)[:, None], mean, proba)

    def save(self, folder: Path) -> None:
        """Write the model and evidence.json."""
        self.inner.save(folder)
        write_json(folder / FILE, asdict(self.evidence_))

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote."""
        self.inner.load(folder)
        self.evidence_ = _read(folder)
        return self

    def read_trained_weights(self, folder: Path) -> dict[str, Any]:
        """Return the tensors of adapter and head, and the counts of evidence as arrays."""
        counts = {f"{PREFIX}{name}": np.array(values) for name, values in asdict(_read(folder)).items()}
        return self.inner.read_trained_weights(folder) | counts

    def set_trained_weights(self, weights: Mapping[str, Any]) -> None:
        """Replace adapter, head and counts, for example by those of another fold's model."""
        self.inner.set_trained_weights({name: w for name, w in weights.items() if not name.startswith(PREFIX)})
        self.evidence_ = Evidence(triple(weights[f"{PREFIX}identical"]), triple(weights[f"{PREFIX}one_empty"]))

    def load_merged(self, folder: Path) -> Self:
        """Read what `save` wrote into a model without an adapter."""
        merged = type(self)(self.inner.load_merged(folder))
        merged.evidence_ = _read(folder)
        return merged

    def report(self) -> dict[str, Any]:
        """Return what the model reports, and how many battles gave evidence."""
        return self.inner.report() | {"evidence": {name: sum(v) for name, v in asdict(self.evidence_).items()}}


def _read(folder: Path) -> Evidence:
    counts = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return Evidence(triple(counts["identical"]), triple(counts["one_empty"]))
