"""What a model is, and how one is found by name: adding an architecture is adding a file beside this one."""

import dataclasses
import importlib
import json
import pkgutil
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from pairrank.data.battles import Battles
from pairrank.data.predictions import Proba
from pairrank.errors import UserError, unknown
from pairrank.files import write_json


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
        raise UserError(unknown("model", name, model_names()))
    importlib.import_module(f"pairrank.models.{name}")
    return _REGISTRY[name]


def build(name: str, **parameters: Any) -> Model:
    """An unfitted model; raises UserError for an unknown name or parameter, or a value of the wrong type."""
    model: Model = from_mapping(model_class(name), parameters, f"model {name!r}")
    return model


def from_mapping(cls: type, values: Mapping[str, Any], place: str) -> Any:
    """A dataclass from plain values (as TOML gives them), nested ones included, every one checked."""
    known = {f.name: f for f in dataclasses.fields(cls) if f.init}
    hints = typing.get_type_hints(cls)
    complaints, ready = [], {}
    for key, value in values.items():
        if isinstance(value, str) and hints.get(key) == list[str]:
            value = [value]  # one name is a list of one
        if key not in known:
            complaints.append(unknown("parameter", key, known))
        elif dataclasses.is_dataclass(hints[key]) and isinstance(value, Mapping):
            # What a table does not say is as the model has it, not as the table's class has it.
            whole = _default_of(known[key]) | dict(value)
            ready[key] = from_mapping(typing.cast(type, hints[key]), whole, f"{place}, {key}")
        elif dataclasses.is_dataclass(hints[key]) and not isinstance(value, typing.cast(type, hints[key])):
            complaints.append(f"{key} = {value!r}: expected a table.")
        elif (wrong := _mismatch(value, hints[key])) is not None:
            complaints.append(f"{key} = {value!r}: expected {wrong}.")
        else:
            ready[key] = _as_declared(value, hints[key])
    if complaints:
        raise UserError(f"{place}: " + " ".join(complaints))
    try:
        return cls(**ready)
    except UserError as error:
        raise UserError(f"{place}: {error}") from None


def _default_of(nested: dataclasses.Field[Any]) -> dict[str, Any]:
    """A nested dataclass that its model fills with other defaults than its own, as plain values."""
    factory = nested.default_factory
    return {} if factory is dataclasses.MISSING else dataclasses.asdict(factory())


def _as_declared(value: Any, hint: Any) -> Any:
    """A checked value in the type of its field: TOML and JSON know no tuples, and write 1 for 1.0."""
    if hint is float:
        return float(value)
    return tuple(value) if typing.get_origin(hint) is tuple else value


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


def _mismatch(value: Any, hint: Any) -> str | None:
    """What `hint` would accept, if it does not accept `value`; None if it does."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return None if value in options else "one of " + ", ".join(map(repr, options))
    if origin in (list, tuple):
        good = isinstance(value, list | tuple) and all(_mismatch(item, options[0]) is None for item in value)
        return None if good else f"a list of {options[0].__name__}"
    if isinstance(hint, type):
        numeric = hint is float and isinstance(value, int) and not isinstance(value, bool)
        exact = isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
        return None if numeric or exact else f"a value of type {hint.__name__}"
    # A union: any member will do.
    wrong = [_mismatch(value, option) for option in options]
    return None if not options or None in wrong else " or ".join(filter(None, wrong))
