"""What a model is, and how one is found by name: adding an architecture is adding a file beside this one."""

import dataclasses
import importlib
import json
import pkgutil
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from pairrank.data.battles import Battles
from pairrank.data.probabilities import Proba
from pairrank.errors import UserError, unknown_name
from pairrank.files import write_json
from pairrank.nested import from_mapping


class Model(Protocol):
    """A dataclass whose fields are its hyperparameters; what it learns is kept in attributes that end in `_`."""

    @property
    def symmetric(self) -> bool:
        """Whether predictions for swapped battles are the swapped predictions, to 1e-6 in float32."""
        ...

    def fit(self, train: Battles, folder: Path | None = None) -> Self:
        """Learn from battles with winners. What a long training must not lose is kept in `folder`."""
        ...

    def predict_proba(self, battles: Battles) -> Proba:
        """(n, 3) probabilities of A, B, tie. Rows do not depend on each other."""
        ...

    def save(self, folder: Path) -> None:
        """Write everything `load` needs; never a pickle."""
        ...

    def load(self, folder: Path) -> Self:
        """Take up what `save` wrote; the hyperparameters are set already."""
        ...

    def report(self) -> dict[str, Any]:
        """What the leaderboard should know besides scores: parameters, encoder, tokens kept."""
        ...


M = TypeVar("M", bound=type)
_REGISTRY: dict[str, type] = {}


def register(name: str) -> Callable[[M], M]:
    """Make a dataclass known as the model `name`."""

    def add(cls: M) -> M:
        cls.model_name = name  # type: ignore[attr-defined]
        _REGISTRY[name] = cls
        return cls

    return add


def model_names() -> list[str]:
    """The names of all models; a model's file is imported only when it is built."""
    package = importlib.import_module("pairrank.models")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name != "base" and not m.ispkg)


def model_class(name: str) -> type:
    """The class of the model `name`, from the file of that name."""
    if name not in model_names():
        raise UserError(unknown_name("model", name, model_names()))
    importlib.import_module(f"pairrank.models.{name}")
    return _REGISTRY[name]


def build(name: str, **parameters: Any) -> Model:
    """An unfitted model; raises UserError for an unknown name or parameter, or a value of the wrong type."""
    model: Model = from_mapping(model_class(name), parameters, f"model {name!r}")
    return model


def save_model(model: Model, folder: Path) -> None:
    """Save a fitted model with its name and hyperparameters, so that `load_model` needs the folder alone."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder)
    write_json(
        folder / "model.json", {"model": typing.cast(Any, model).model_name, "parameters": parameters_of(model)}
    )


def parameters_of(model: Model) -> dict[str, Any]:
    """The hyperparameters of a model as plain values, nested dataclasses as dictionaries."""
    fields = dataclasses.fields(typing.cast(Any, model))
    values = {f.name: getattr(model, f.name) for f in fields if f.init}
    return {k: dataclasses.asdict(v) if dataclasses.is_dataclass(v) else v for k, v in values.items()}  # type: ignore[arg-type]


def load_model(folder: str | Path) -> Model:
    """The fitted model that `save_model` left in `folder`."""
    file = Path(folder) / "model.json"
    if not file.is_file():
        raise UserError(f"{folder}: no saved model here (model.json is missing). Give the folder of a fold.")
    kept = json.loads(file.read_text(encoding="utf-8"))
    return build(kept["model"], **kept["parameters"]).load(Path(folder))
