"""An architecture is one file in this folder: a dataclass that implements `Model` and is registered by name."""

import dataclasses
import importlib
import inspect
import logging
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar, cast

from pairrank import plugins
from pairrank.data.battles import Battles
from pairrank.data.probabilities import Proba
from pairrank.errors import UserError, excerpt, unknown_name
from pairrank.nested import dotted_items, from_mapping, set_dotted
from pairrank.training.monitor import Monitor

SHARED = ("base", "corrected", "fine_tuned", "linear_reader", "saving")
"""Modules of this package that are no architectures."""

logger = logging.getLogger(__name__)

Progress = Literal["", "epochs", "quarters of its rounds"]
"""The unit of the steps after which a model's training reports a loss, in the plural; "" for a single step."""

UseOfInputs = Literal["ignored", "read", "needed"]
"""What a model does with the predictions of other experiments: ignore, use if present, or require them."""


class NotFittedError(UserError, AttributeError):
    """A model was used before it had learned anything."""


class Model(ABC):
    """A dataclass whose fields are its hyperparameters; what it learns is kept in attributes that end in `_`.

    The properties below say what a model can do. Each has a default, which a model overrides where it differs: with
    a class attribute (`symmetric: ClassVar[bool] = True`), or with a property where it depends on hyperparameters.
    """

    model_name: ClassVar[str] = ""
    """The registered name, or that of file and class for a model of the user's own."""

    renamed: ClassVar[Mapping[str, str]] = {}
    """Former names of hyperparameters with their present dotted names; files that use the former ones are read."""

    @property
    def symmetric(self) -> bool:
        """Whether predictions for swapped battles are the swapped predictions, to 1e-6 in float32."""
        return False

    @property
    def learns(self) -> bool:
        """Whether `fit` estimates anything from the winners of the training battles."""
        return True

    @property
    def progress(self) -> Progress:
        """The unit of training steps after which `fit` reports a loss to its `monitor`.

        "epochs" also means that the model is fine-tuned, which several processes can share.
        """
        return ""

    @property
    def needs_names(self) -> bool:
        """Whether predictions need the names of the answering models, which test battles lack."""
        return False

    @property
    def inputs(self) -> UseOfInputs:
        """What the model does with `battles.inputs`, the predictions of other experiments."""
        return "ignored"

    @property
    def averages_inputs(self) -> bool:
        """Whether each prediction is a mean of the inputs for this battle."""
        return False

    @property
    def bare(self) -> "Model":
        """The model itself, without a correction of its predictions."""
        return self

    @property
    def has_adapter(self) -> bool:
        """Whether the weights of an encoder stay unchanged under a trained adapter and head.

        Then the fold models of a run share one encoder. Such a model also implements `read_trained_weights`,
        `set_trained_weights` and `load_merged`.
        """
        return False

    def read_trained_weights(self, folder: Path) -> dict[str, Any]:
        """Return the tensors of adapter and head, by name, of a model of the same parameters that `save` wrote."""
        raise self._no_adapter()

    def set_trained_weights(self, weights: Mapping[str, Any]) -> None:
        """Replace adapter and head, for example by those of another fold's model."""
        raise self._no_adapter()

    def load_merged(self, folder: Path) -> Self:
        """Read what `save` wrote into a model without an adapter, which is added to the encoder's weights."""
        raise self._no_adapter()

    def _no_adapter(self) -> UserError:
        return UserError(f"the model {self.model_name!r} has no adapter. Set adapter.rank and train it again.")

    def __getattr__(self, name: str) -> Any:
        """Raise UserError, and AttributeError for hasattr, if a learned attribute does not exist yet."""
        if name.endswith("_") and not name.endswith("__"):
            raise NotFittedError(f"this {type(self).__name__} model is not fitted. Call fit or load first.")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @abstractmethod
    def fit(self, train: Battles, folder: Path | None = None, monitor: Monitor | None = None) -> Self:
        """Learn from battles with winners.

        A long training keeps its checkpoints in `folder`, so that it can resume. A model with `progress` reports
        its loss to `monitor` after each step, and is the same when fitted without one. Others ignore `monitor`.
        """

    @abstractmethod
    def predict_proba(self, battles: Battles) -> Proba:
        """Return the (n, 3) probabilities of A, B and tie; no row depends on another."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write everything that `load` needs; never a pickle."""

    @abstractmethod
    def load(self, folder: Path) -> Self:
        """Read what `save` wrote into a model that was built with the same hyperparameters."""

    @abstractmethod
    def report(self) -> dict[str, Any]:
        """Return what the leaderboard shows besides scores: parameter count, encoder, tokens kept, warnings."""


def require_battles(train: Battles) -> None:
    """Raise UserError if there is nothing to learn from."""
    if not len(train):
        raise UserError("there are no battles to learn from. Expected one or more.")


OWN_MODEL = "A model of your own is named by its file and class: ./mine.py:MyModel."

M = TypeVar("M", bound=type)
_REGISTRY: dict[str, type[Model]] = {}


def register(name: str) -> Callable[[M], M]:
    """Return a class decorator that makes a `Model` available under `name`, the name of its file.

    The decorator raises TypeError for a class that does not inherit `Model`, and UserError for one that is not of
    this package.
    """

    def add(cls: M) -> M:
        if not issubclass(cls, Model):
            raise TypeError(f"model {name!r}: the class {cls.__name__} must inherit pairrank.models.base.Model")
        if cls.__module__.startswith(f"{plugins.PACKAGE}."):
            raise UserError(
                f"@register({name!r}) names a model of pairrank itself. Leave it out: a model of your own is named "
                f"by its file and class, such as mine.py:{cls.__name__}."
            )
        cls.model_name = name
        _REGISTRY[name] = cls
        return cls

    return add


def model_names() -> list[str]:
    """Return the names of all models, of pairrank and of installed packages.

    The file of a model is imported only when the model is built.
    """
    return sorted({*shipped_models(), *plugins.installed("models")})


def shipped_models() -> list[str]:
    """Return the names of the models of pairrank."""
    package = importlib.import_module("pairrank.models")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name not in SHARED and not m.ispkg)


def model_class(name: str) -> type[Model]:
    """Import the file of the model `name` and return its class.

    The name may be that of a class in code that the user has loaded: "mine.py:MyModel". Raises UserError for an
    unknown name, for code that is not loaded, and for a class that is no model.
    """
    if name in shipped_models():
        plugins.refuse_twin("models", name)
        importlib.import_module(f"pairrank.models.{name}")
        return _REGISTRY[name]
    if name not in plugins.installed("models") and not plugins.is_reference(name):
        raise UserError(f"{unknown_name('model', name, model_names())} {OWN_MODEL}")
    return _checked_class(plugins.find("models", name), name)


def own_model(reference: str, folder: Path) -> str:
    """Load the code that the user names as a model, and return the model's name, such as "mine.py:MyModel".

    `folder` is the one that paths are relative to. Without a class, the reference means the only model in the
    file. Raises UserError if there is none, or if it is not a model.
    """
    name = plugins.canonical(reference, folder, _is_model, "subclass of pairrank.models.base.Model")
    _checked_class(plugins.find("models", name), name)
    return name


def _is_model(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Model) and not inspect.isabstract(value)


def _checked_class(cls: Any, name: str) -> type[Model]:
    """Return the class of a model of the user's own, which gets this name; raises UserError if it is no model."""
    if not (isinstance(cls, type) and issubclass(cls, Model)):
        raise UserError(f"{name}: found {excerpt(cls, 80)}, expected a subclass of pairrank.models.base.Model.")
    if vars(cls).get("model_name") in shipped_models():
        raise UserError(
            f"{name}: this class is the model {cls.model_name!r} of pairrank. Name it so, or a subclass."
        )
    if missing := sorted(getattr(cls, "__abstractmethods__", ())):
        raise UserError(
            f"{name}: the method {', '.join(missing)} is missing. docs/how-to/own-model.md shows all of them."
        )
    if "__dataclass_fields__" not in vars(cls):
        raise UserError(
            f"{name}: expected a dataclass, whose fields are the hyperparameters. Put @dataclass before it."
        )
    cls.model_name = name
    return cls


def name_of(model: Model) -> str:
    """Return the name under which a model is saved; raises UserError for a class that was not found by a name."""
    cls = type(model.bare)
    if name := vars(cls).get("model_name"):
        return str(name)
    raise UserError(f'{cls.__name__} has no name to be saved under. Make it with build("FILE.py:{cls.__name__}").')


def current_name(model: str, key: str) -> str:
    """Return the present dotted name of a hyperparameter of `model` that may be given by a former name."""
    for former, present in model_class(model).renamed.items():
        if key == former or key.startswith(f"{former}."):
            return present + key.removeprefix(former)
    return key


def with_current_names(model: str, table: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Return a table by hyperparameter (values, or ranges to search) with present names in place of former ones.

    With a `place`, former names are logged in one line. Raises UserError if a hyperparameter is given by both of
    its names.
    """
    current: dict[str, Any] = {}
    changed = {key: name for key in table if (name := current_name(model, key)) != key}
    for key, value in table.items():
        if isinstance(value, Mapping) and isinstance(value.get("when"), Mapping):
            value = {**value, "when": {current_name(model, name): wanted for name, wanted in value["when"].items()}}
        if key in changed:
            set_dotted(current, changed[key], value, key)
        else:
            current[key] = value
    if changed:
        listed = ", ".join(f"{former} is now {present}" for former, present in changed.items())
        if len(list(dotted_items(current))) < len(list(dotted_items(table))):
            raise UserError(f"{listed}, and both names are used. Keep the present name alone.")
        if place:
            logger.warning("%s: %s. Former names are still read; use the present ones in new files.", place, listed)
    return current


def with_current_model_names(experiment: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recorded experiment with present names of hyperparameters in its table `model`.

    A model that does not exist, or a table that gives a hyperparameter by both names, is returned as it is.
    """
    table = dict(experiment["model"])
    name = table.pop("name")
    try:
        table = with_current_names(name, table)
    except UserError:
        return dict(experiment)
    return {**experiment, "model": {"name": name, **table}}


def build(name: str, **parameters: Any) -> Model:
    """Return an unfitted model; raises UserError for an unknown name or parameter, or a value of the wrong type."""
    model: Model = from_mapping(model_class(name), parameters, f"model {name!r}")
    return model


def parameters_of(model: Model) -> dict[str, Any]:
    """Return the hyperparameters of a model as plain values, nested dataclasses as dictionaries."""
    fields = dataclasses.fields(cast(Any, model.bare))
    values = {f.name: getattr(model.bare, f.name) for f in fields if f.init}
    return {k: dataclasses.asdict(v) if dataclasses.is_dataclass(v) else v for k, v in values.items()}  # type: ignore[arg-type]
