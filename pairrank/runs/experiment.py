"""An experiment is one model with its hyperparameters, what it builds on, and the split it is scored on."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from pairrank.data.extra import Extra
from pairrank.errors import UserError
from pairrank.evaluation.run_record import MOST_FOLDS, column_name
from pairrank.models.base import Model, build
from pairrank.models.corrected import WithEvidence

RUN_FILE = "experiment.toml"
"""The file of the resolved experiment in a run's folder. An experiment read from it has the name of the run."""

TOML_KEYS = (
    "about",
    "submittable",
    "inputs",
    "extra",
    "soft_targets",
    "teacher",
    "teacher_weight",
    "evidence",
    "seconds",
    "model",
    "split",
    "tuned_on",
)
"""Parts of a resolved experiment that an experiment file may hold, in their order there."""

ENCODER_PARAMETERS = ("encoder", "likelihood")
"""Hyperparameters that name pretrained encoders, in order of preference. A model has one of them at most."""

LONGEST_CHANGE, LONGEST_LABEL = 60, 120
"""Largest numbers of characters in a name; Windows allows 260 for a whole path."""


@dataclass(frozen=True)
class Split:
    """Which battles are used, and how they are split into folds."""

    folds: int = 5
    """Number of folds; each is predicted by a model that was trained on the others."""
    salt: str = ""
    """Salt of the scored folds; "" gives the folds of every published figure."""
    limit: int = 0
    """Number of battles to use, from the first one on; 0 uses all."""
    nested: bool = False
    """Train the inputs again inside each fold's training battles, so that no scored winner enters them."""
    train_size: int = 0
    """Number of training battles in each fold, rounded up to whole prompts; 0 uses all. The folds are scored
    whole."""
    train_sample: int = 0
    """Which random subset of this size is drawn. A subset contains all smaller ones of the same number."""

    def __post_init__(self) -> None:
        if not 2 <= self.folds <= MOST_FOLDS:
            raise UserError(
                f"folds = {self.folds}: expected 2 to {MOST_FOLDS:,}. A fold's model is trained on the others."
            )
        if self.limit < 0:
            raise UserError(f"limit = {self.limit}: expected 0 (all battles) or more.")
        for key, value in (("train_size", self.train_size), ("train_sample", self.train_sample)):
            if value < 0:
                raise UserError(f"{key} = {value}: expected 0 or more.")


@dataclass(frozen=True)
class Experiment:
    """One model with its hyperparameters, what it builds on, and the split it is scored on."""

    name: str
    """The file's name without .toml, or the run's name if the file is a run's own."""
    about: str
    """One sentence on what the experiment is and what it is for."""
    model: str
    """Name of the model."""
    parameters: dict[str, Any]
    """Every hyperparameter, defaults included."""
    submittable: bool = True
    """False for a diagnostic that uses columns which test battles lack."""
    soft_targets: str = ""
    """A prediction file (ids and probabilities) that training battles learn from instead of their winners."""
    inputs: tuple[str, ...] = ()
    """Experiments whose predictions are columns: out-of-fold ones in training, a fold model's for test battles.

    A name may have changes of the model, as in "structure+seed=1".
    """
    extra: tuple[Extra, ...] = ()
    """Battles of other sources that training may use."""
    teachers: tuple[str, ...] = ()
    """Experiments that are trained inside each fold's training battles, to give them soft targets."""
    teacher_weight: float = 1.0
    """Share of the teachers in the soft targets; the rest is that of the winners."""
    evidence: bool = True
    """Whether the votes on identical and empty answers correct the predictions (`features.evidence`)."""
    seconds: float = 0.0
    """Approximate seconds for all folds of 1,000 battles on two cores; 0 if not measured."""
    folds: int = 5
    """`Split.folds`."""
    salt: str = ""
    """`Split.salt`."""
    limit: int = 0
    """`Split.limit`."""
    nested: bool = False
    """`Split.nested`."""
    train_size: int = 0
    """`Split.train_size`."""
    train_sample: int = 0
    """`Split.train_sample`."""
    search: Mapping[str, Any] = field(default_factory=dict)
    """The table [search] of the file: what `tune` may change, and within which bounds."""
    tuned_on: tuple[int, ...] = ()
    """The folds that a search for this setting has used: their scores are too good and are left out."""
    overrides: tuple[str, ...] = ()
    """Changes from the command line, as key=value."""
    encoder: str = ""
    """The encoder in use, if it is not the experiment's first choice."""
    starts_code: bool = True
    """Whether it can make code of the user's own run. A file of a run, and what it builds on, cannot."""

    @property
    def label(self) -> str:
        """The run's name: plain only if nothing differs from the experiment file and its first encoder was used.

        It can name a folder on every system, and two different changes never share one.
        """
        changes = [f"@{_folder_name(Path(self.encoder).name, '[^a-zA-Z0-9._@-]')}"] if self.encoder else []
        # Lower case only: on a file system that ignores case, C=1 and c=1 would share a folder.
        changes += [f"+{_folder_name(change, '[^a-z0-9._=,-]')}" for change in self.overrides]
        # The size comes last and is never cut off: a learning curve knows its runs by what is before it.
        size = [change for change in changes if change.startswith(("+train_size=", "+train_sample="))]
        others = "".join(change for change in changes if change not in size)
        return _folder_name(self.name + others, r'[<>:"/\\|?*\x00-\x1f\x7f]', LONGEST_LABEL) + "".join(size)

    @property
    def column(self) -> str:
        """Name of its predictions among the inputs of another experiment, and among teachers."""
        return column_name(self.name, self.overrides)

    @property
    def encoder_parameter(self) -> str:
        """The hyperparameter that names pretrained encoders; "" for a model without one."""
        return next((name for name in ENCODER_PARAMETERS if name in self.parameters), "")

    @property
    def encoders(self) -> Sequence[str]:
        """The encoders that the model may use, in order of preference; empty for none."""
        names: Sequence[str] = self.parameters.get(self.encoder_parameter, ())
        return names

    def build(self, parameters: Mapping[str, Any] | None = None) -> Model:
        """Return the unfitted model, with its own hyperparameters or others."""
        model = build(self.model, **(self.parameters if parameters is None else parameters))
        return WithEvidence(model) if self.evidence else model

    def resolved(self) -> dict[str, Any]:
        """Return all settings as plain values."""
        return {
            "name": self.name,
            "about": self.about,
            "submittable": self.submittable,
            "inputs": list(self.inputs),
            "extra": [source.settings() for source in self.extra],
            "soft_targets": self.soft_targets,
            # A string where there is one teacher at most, as in records of versions that had no lists.
            "teacher": list(self.teachers) if len(self.teachers) > 1 else "".join(self.teachers),
            "teacher_weight": self.teacher_weight,
            "evidence": self.evidence,
            "seconds": self.seconds,
            "model": {"name": self.model, **self.parameters},
            "split": {"folds": self.folds, "salt": self.salt, "limit": self.limit, "nested": self.nested}
            # Only if they are set, so that they do not change the identity of runs that use every training battle.
            | ({"train_size": self.train_size, "train_sample": self.train_sample} if self.train_size else {}),
            "tuned_on": list(self.tuned_on),
            "overrides": list(self.overrides),
        }

    def to_toml(self) -> str:
        """Return the resolved experiment as the text of a file that can be run again."""
        resolved = self.resolved()
        return tomli_w.dumps({key: resolved[key] for key in TOML_KEYS})


def _folder_name(text: str, unsafe: str, longest: int = LONGEST_CHANGE) -> str:
    """Return the text as part of a folder's name; if that changes it, a hash keeps it distinct from all others."""
    safe = re.sub(unsafe, "-", text)[:longest].rstrip(". ")
    return safe if safe == text else f"{safe}~{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:8]}"
