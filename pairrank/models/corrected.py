"""Any model can be corrected by the votes on identical and empty answers."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from pairrank.data.battles import Battles
from pairrank.data.probabilities import Proba
from pairrank.features.evidence import Evidence, count_evidence, triple
from pairrank.files import write_json
from pairrank.models.base import Model, Progress, UseOfInputs
from pairrank.training.monitor import Monitor

FILE = "evidence.json"


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

    def fit(self, train: Battles, folder: Path | None = None, monitor: Monitor | None = None) -> Self:
        """Fit the model, and count the evidence in its training battles."""
        self.inner.fit(train, folder, monitor)
        self.evidence_: Evidence = count_evidence(train)
        return self

    def predict_proba(self, battles: Battles) -> Proba:
        """Return the (n, 3) corrected probabilities."""
        return self.evidence_.correct(battles, self.inner.predict_proba(battles))

    def save(self, folder: Path) -> None:
        """Write the model and evidence.json."""
        self.inner.save(folder)
        write_json(folder / FILE, asdict(self.evidence_))

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote."""
        self.inner.load(folder)
        counts = json.loads((folder / FILE).read_text(encoding="utf-8"))
        self.evidence_ = Evidence(triple(counts["identical"]), triple(counts["one_empty"]))
        return self

    def report(self) -> dict[str, Any]:
        """Return what the model reports, and how many battles gave evidence."""
        return self.inner.report() | {"evidence": {name: sum(v) for name, v in asdict(self.evidence_).items()}}
