"""An experiment is a short TOML file that says only what differs from the defaults; here it is resolved."""

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from pairrank.data.extra import Extra
from pairrank.data.folds import name_folds
from pairrank.errors import UserError, unknown_name
from pairrank.models.base import Model, build, current_name, model_class, parameters_of, with_current_names
from pairrank.nested import from_mapping
from pairrank.runs.experiment_files import KEYS, experiment_files, read_table
from pairrank.runs.overrides import override, parse_change, refuse_infinite

logger = logging.getLogger(__name__)

RUN_FILE = "experiment.toml"
"""The resolved experiment in a run's folder: run again, it keeps the run's name."""

LONGEST_CHANGE, LONGEST_LABEL = 60, 120
"""Characters; Windows allows 260 for a whole path."""


@dataclass(frozen=True)
class Split:
    """Which battles are used, and how they are cut into folds."""

    folds: int = 5
    salt: str = ""
    """Of the scored folds; "" makes the folds of every published figure."""
    limit: int = 0
    """Use only the first battles; 0 uses all."""
    nested: bool = False
    """Remake the inputs inside each fold's training battles, so that no winner of the scored fold shaped them."""

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise UserError(f"folds = {self.folds}: expected 2 or more, since a fold is judged by the others.")
        if self.limit < 0:
            raise UserError(f"limit = {self.limit}: expected 0 (all battles) or more.")


@dataclass(frozen=True)
class Experiment:
    """One model with its hyperparameters, and the split it is scored on."""

    name: str
    """The file's name without .toml, or the run's name where the file is a run's own."""
    about: str
    """One sentence: what this is and why."""
    model: str
    """Name of the model."""
    parameters: dict[str, Any]
    """Every hyperparameter, defaults included."""
    submittable: bool = True
    """False for a diagnostic that uses what a test row does not have."""
    soft_targets: str = ""
    """A prediction file (ids and probabilities) that training battles learn from instead of their winners."""
    inputs: tuple[str, ...] = ()
    """Experiments whose predictions are columns of the battles: out of fold in training, a fold model's in test."""
    extra: tuple[Extra, ...] = ()
    """Battles of other sources that training may use."""
    teacher: str = ""
    """An experiment that is remade inside each fold's training battles, to give them soft targets."""
    seconds: float = 0.0
    """About how long 1,000 battles take on two cores, all folds; 0 where nobody has said."""
    folds: int = 5
    salt: str = ""
    """Of the scored folds; "" makes the folds of every published figure."""
    limit: int = 0
    """Use only the first battles; 0 uses all."""
    nested: bool = False
    """The inputs are remade inside each fold's training battles."""
    search: Mapping[str, Any] = field(default_factory=dict)
    """The table [search] as the file has it: what `tune` may change, and within which bounds."""
    tuned_on: tuple[int, ...] = ()
    """The folds that a search for this setting has seen: no score of theirs is of any worth."""
    overrides: tuple[str, ...] = ()
    """What the command line changed, as key=value."""
    encoder: str = ""
    """The encoder in use, where it is not the experiment's first choice."""

    @property
    def label(self) -> str:
        """The run's name: plain only if nothing differs from the experiment file and its first encoder was used.

        It can name a folder on every system, and two different changes never share one.
        """
        changes = [f"@{_distinct(Path(self.encoder).name, '[^a-zA-Z0-9._@-]')}"] if self.encoder else []
        # Small letters only: where a file system ignores case, C=1 and c=1 would share a folder.
        changes += [f"+{_distinct(change, '[^a-z0-9._=,-]')}" for change in self.overrides]
        return _distinct(self.name + "".join(changes), r'[<>:"/\\|?*\x00-\x1f\x7f]', LONGEST_LABEL)

    def build(self) -> Model:
        """The unfitted model."""
        return build(self.model, **self.parameters)

    def resolved(self) -> dict[str, Any]:
        """Everything that makes the result, as plain values."""
        return {
            "name": self.name,
            "about": self.about,
            "submittable": self.submittable,
            "inputs": list(self.inputs),
            "extra": [asdict(source) for source in self.extra],
            "soft_targets": self.soft_targets,
            "teacher": self.teacher,
            "seconds": self.seconds,
            "model": {"name": self.model, **self.parameters},
            "split": {"folds": self.folds, "salt": self.salt, "limit": self.limit, "nested": self.nested},
            "tuned_on": list(self.tuned_on),
            "overrides": list(self.overrides),
        }

    def to_toml(self) -> str:
        """The resolved experiment as a file that can be run again."""
        resolved = self.resolved()
        return tomli_w.dumps({key: resolved[key] for key in KEYS if key in resolved})


def load_experiment(
    name: str,
    overrides: Sequence[str] = (),
    *,
    seed: int | None = None,
    salt: str = "",
    limit: int = 0,
    nested: bool = False,
    extra: Sequence[Extra] = (),
) -> Experiment:
    """The experiment of this name, or in this .toml file, with `key=value` overrides of its model's parameters.

    `extra` replaces the file's own.

    Raises UserError for an unknown name, a file that is not TOML, or unknown or ill-typed keys.
    """
    files = experiment_files()
    path = Path(name) if name.endswith(".toml") else files.get(name)
    if path is None:
        raise UserError(unknown_name("experiment", name, files))
    table = read_table(path)
    given = dict(table["model"])
    model = given.pop("name")
    # By key, so that the last of two values for one key counts, as it does in the label.
    changes = dict(map(parse_change, overrides))
    place = f"{path}{''.join(f' --set {key}={text}' for key, text in changes.items())}"
    try:
        given = with_current_names(model, given, f"{path}, [model]")
        search = with_current_names(model, table.get("search", {}), f"{path}, [search]")
        changes = _with_current_keys(model, changes)
    except UserError as error:
        raise UserError(f"{place}: {error}") from None
    for key, text in changes.items():
        override(given, key, text)
    try:
        refuse_infinite(given)
        parameters = parameters_of(from_mapping(model_class(model), given, f"model {model!r}"))
        split = from_mapping(Split, table.get("split", {}), "[split]")
        sources = tuple(map(_source, table.get("extra", [])))
    except UserError as error:
        raise UserError(f"{place}: {error}") from None
    if seed is not None and parameters.get("seed", seed) != seed:
        changes["seed"] = str(seed)
        parameters["seed"] = seed
    asked = {key: value for key, value in {"salt": salt, "limit": limit, "nested": nested}.items() if value}
    whole = asdict(split) | asked
    told = {key: str(value).lower() for key, value in asked.items() if value != getattr(split, key)}
    if extra and tuple(extra) != sources:
        sources = tuple(extra)
        told["extra"] = ",".join(f"{source.path},{source.weight:g}" for source in extra)
    changes |= told
    experiment = Experiment(
        name=path.resolve().parent.name if path.name == RUN_FILE else path.stem,
        about=table.get("about", ""),
        model=model,
        parameters=parameters,
        submittable=table.get("submittable", True),
        soft_targets=table.get("soft_targets", ""),
        inputs=tuple(table.get("inputs", [])),
        extra=sources,
        teacher=table.get("teacher", ""),
        seconds=float(table.get("seconds", 0)),
        search=search,
        tuned_on=tuple(table.get("tuned_on", [])),
        overrides=tuple(f"{key}={text}" for key, text in changes.items()),
        **whole,
    )
    _refuse_contradictions(experiment, place)
    if experiment.tuned_on:
        _refuse_other_cut(experiment, split, place)
    return experiment


def _with_current_keys(model: str, changes: Mapping[str, str]) -> dict[str, str]:
    """Return changes of the command line with present names in place of former ones, each of which is logged."""
    current = {}
    for key, text in changes.items():
        name = current_name(model, key)
        if name != key:
            logger.warning("--set %s: %s is now %s. The former name is still read.", f"{key}={text}", key, name)
        current[name] = text
    return current


def _source(value: Any) -> Extra:
    """One entry of `extra`: a path, or a table with a path and a weight."""
    if not isinstance(value, str | dict) or (isinstance(value, dict) and "path" not in value):
        raise UserError(f"extra: {value!r}: expected {KEYS['extra'][1]}.")
    source: Extra = from_mapping(Extra, {"path": value} if isinstance(value, str) else value, "extra")
    return source


def _refuse_contradictions(experiment: Experiment, place: str) -> None:
    """Raise UserError where two keys of an experiment cannot both be meant."""
    wrong = []
    teachers = [key for key in ("soft_targets", "teacher") if getattr(experiment, key)]
    if teachers and experiment.parameters.get("soft_targets") is not True:
        wrong.append(
            f"{teachers[0]} is given, but the model does not learn from it: [model] needs soft_targets = true, "
            "which not every model has."
        )
    if len(teachers) == 2:
        wrong.append("soft_targets and teacher: expected one of them.")
    if wrong_names := [name for name in experiment.inputs if not isinstance(name, str)]:
        wrong.append(f"inputs: {wrong_names[0]!r}: expected the name of an experiment.")
    if twice := {name for name in experiment.inputs if experiment.inputs.count(name) > 1}:
        wrong.append(f"inputs: {', '.join(sorted(map(str, twice)))} is named more than once.")
    if experiment.inputs and experiment.extra:
        wrong.append("inputs and extra: the inputs' out-of-fold predictions do not cover extra battles.")
    model = experiment.build()
    if experiment.submittable and model.needs_names:
        wrong.append("the model reads names, which test battles lack: a diagnostic. Add submittable = false.")
    if experiment.inputs and model.inputs == "ignored":
        wrong.append(f"inputs: the model {experiment.model!r} does not read what other experiments say.")
    if model.inputs == "needed" and not experiment.inputs:
        wrong.append(
            f'inputs: the model {experiment.model!r} has nothing else: inputs = ["structure"], for instance.'
        )
    if experiment.nested and not experiment.inputs:
        wrong.append("nested = true: this experiment has no inputs to remake.")
    if wrong:
        raise UserError(f"{place}: {' '.join(wrong)}")


def _refuse_other_cut(experiment: Experiment, file: Split, place: str) -> None:
    """Raise UserError for folds that are not those of a search, or leave none that it has not seen."""
    seen = experiment.tuned_on
    if not all(type(fold) is int and 0 <= fold < file.folds for fold in seen) or len(set(seen)) != len(seen):
        wanted = f"numbers from 0 to {file.folds - 1}, each once"
        raise UserError(f"{place}: tuned_on = {list(seen)}: expected {wanted}.")
    if len(seen) == file.folds:
        raise UserError(f"{place}: tuned_on names every fold, so there is none to score this setting on.")
    if (experiment.folds, experiment.salt) != (file.folds, file.salt):
        raise UserError(
            f"{place}: its setting was searched on {name_folds(seen)} of salt {file.salt!r}. Cut another way (salt "
            f"{experiment.salt!r}), no fold is left that the search has not seen."
        )


def _distinct(text: str, unsafe: str, longest: int = LONGEST_CHANGE) -> str:
    """The text as part of a folder's name; where that changes it, a hash keeps it apart from all others."""
    safe = re.sub(unsafe, "-", text)[:longest].rstrip(". ")
    return safe if safe == text else f"{safe}~{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:8]}"
