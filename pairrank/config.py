"""An experiment is a short TOML file that says only what differs from the defaults; here it is resolved."""

import dataclasses
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from pairrank.data_folder import shipped
from pairrank.errors import UserError, unknown
from pairrank.models.base import Model, build, parameters_of

KEYS = {"about", "model", "submittable", "soft_targets"}


@dataclass(frozen=True)
class Experiment:
    """One model with its hyperparameters, and the split it is scored on."""

    name: str
    """The file's name without .toml."""
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
    folds: int = 5
    salt: str = ""
    """Of the scored folds; "" makes the folds of every published figure."""
    limit: int = 0
    """Use only the first battles; 0 uses all."""
    overrides: tuple[str, ...] = ()
    """What the command line changed, as key=value."""
    encoder: str = ""
    """The encoder in use, where it is not the experiment's first choice."""

    @property
    def label(self) -> str:
        """The run's name: plain only if nothing differs from the experiment file and its first encoder was used."""
        return (
            self.name
            + (f"@{Path(self.encoder).name}" if self.encoder else "")
            + "".join(f"+{change.replace('/', '-')}" for change in self.overrides)
        )

    def build(self) -> Model:
        """The unfitted model."""
        return build(self.model, **self.parameters)

    def resolved(self) -> dict[str, Any]:
        """Everything that makes the result, as plain values."""
        return {
            "name": self.name,
            "about": self.about,
            "submittable": self.submittable,
            "soft_targets": self.soft_targets,
            "model": {"name": self.model, **self.parameters},
            "split": {"folds": self.folds, "salt": self.salt, "limit": self.limit},
            "overrides": list(self.overrides),
        }

    def to_toml(self) -> str:
        """The resolved experiment as a file that can be run again."""
        resolved = self.resolved()
        return tomli_w.dumps({key: resolved[key] for key in ("about", "submittable", "soft_targets", "model")})


def experiment_folders() -> list[Path]:
    """Where experiment files are looked for: the user's own ./experiments first."""
    return [Path("experiments"), shipped("experiments", "experiments")]


def experiment_files() -> dict[str, Path]:
    """Every experiment by name."""
    found: dict[str, Path] = {}
    for folder in experiment_folders():
        for file in sorted(folder.glob("*.toml")):
            found.setdefault(file.stem, file)
    return found


def load_experiment(
    name: str,
    overrides: Sequence[str] = (),
    *,
    seed: int | None = None,
    salt: str = "",
    limit: int = 0,
) -> Experiment:
    """The experiment of this name, or in this .toml file, with `key=value` overrides of its model's parameters.

    Raises UserError for an unknown name, a file that is not TOML, or unknown or ill-typed keys.
    """
    files = experiment_files()
    path = Path(name) if name.endswith(".toml") else files.get(name)
    if path is None:
        raise UserError(unknown("experiment", name, files))
    table = _read_toml(path)
    if strange := [unknown("key", key, KEYS) for key in table if key not in KEYS]:
        raise UserError(f"{path}: " + " ".join(strange))
    model = table.get("model", {})
    if not isinstance(model, dict) or not isinstance(model.get("name"), str):
        raise UserError(f'{path}: no model. Expected a table [model] with name = "…".')
    parameters = {key: value for key, value in model.items() if key != "name"}
    changes = [*overrides]
    if seed is not None and _takes_seed(model["name"]) and seed != parameters.get("seed", 0):
        changes.append(f"seed={seed}")
    for change in changes:
        _override(parameters, change)
    try:
        complete = parameters_of(build(model["name"], **parameters))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    changes += [f"salt={salt}"] if salt else []
    changes += [f"limit={limit}"] if limit else []
    return Experiment(
        name=path.stem,
        about=str(table.get("about", "")),
        model=model["name"],
        parameters=complete,
        submittable=bool(table.get("submittable", True)),
        soft_targets=str(table.get("soft_targets", "")),
        salt=salt,
        limit=limit,
        overrides=tuple(changes),
    )


def _takes_seed(model: str) -> bool:
    return "seed" in {f.name for f in dataclasses.fields(build(model))}  # type: ignore[arg-type]


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such experiment file.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not TOML: {error}") from None


def _override(parameters: dict[str, Any], change: str) -> None:
    """Put `key=value` or `table.key=value` into nested parameters; the value is TOML, or else text."""
    key, equals, text = change.partition("=")
    if not equals or not key:
        raise UserError(f"--set {change}: expected key=value, such as --set training.epochs=1.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *tables, last = key.strip().split(".")
    for table in tables:
        parameters[table] = dict(parameters.get(table, {}))
        parameters = parameters[table]
    parameters[last] = value
