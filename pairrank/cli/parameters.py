"""The hyperparameters of a model are read from its source, so that neither the model nor torch is imported."""

import ast
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from inspect import cleandoc
from pathlib import Path
from typing import Any

from pairrank.models.base import build, model_class, parameters_of, shipped_models
from pairrank.nested import dotted_items

WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a string"}
"""Type -> description of its values."""


class _Unknown:
    """A default that is computed, so that the source does not show its value."""


UNKNOWN = _Unknown()


@dataclass(frozen=True)
class Parameter:
    """One hyperparameter as its dataclass declares it."""

    key: str
    """Dotted for a parameter of a nested table: training.epochs."""
    accepts: str
    """Description of its type or its choices, and of its bounds."""
    default: Any
    about: str
    """The docstring under the field; "" if there is none."""


def model_parameters(model: str) -> tuple[str, list[Parameter]]:
    """Return the docstring of a registered model and its hyperparameters, in the order of the source."""
    if model in shipped_models():
        module = f"pairrank.models.{model}"
        [cls] = [node for node in _tree(module).body if isinstance(node, ast.ClassDef) and _is_registered(node)]
    else:
        found_class = model_class(model)
        module = found_class.__module__
        cls = _class(module, found_class.__name__)
    found = list(_parameters(module, cls))
    if any(each.default is UNKNOWN for each in found):
        # Only models without an encoder compute a default, and these are quick to import.
        known = dict(dotted_items(parameters_of(build(model))))
        found = [replace(each, default=known[each.key]) for each in found]
    return cleandoc(ast.get_docstring(cls) or ""), found


def class_parameters(module: str, name: str, before: str = "") -> list[Parameter]:
    """Return the fields of a dataclass of this module; `before` is put before each key."""
    return list(_parameters(module, _class(module, name), before))


def _parameters(module: str, cls: ast.ClassDef, before: str = "") -> Iterator[Parameter]:
    """Yield the fields of a dataclass. A field that is a dataclass itself is replaced by its own fields."""
    bounds = _bounds(cls)
    for node, following in zip(cls.body, [*cls.body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        if ast.unparse(node.annotation).startswith("ClassVar") or "init=False" in ast.unparse(node):
            continue
        key = before + node.target.id
        place, kind = _resolve(module, node.annotation)
        if isinstance(kind, ast.ClassDef):
            changed = _changes(node.value)
            for inner in _parameters(place, kind, f"{key}."):
                name = inner.key.removeprefix(f"{key}.")
                yield replace(inner, default=changed.get(name, inner.default))
            continue
        kind_in_words, bound = _in_words(kind), bounds.get(node.target.id, "")
        # "a share from 0 to 1" already contains the type; "1 or more" does not.
        accepts = (
            bound if bound.startswith(("a share", "a number")) else ", ".join(filter(None, [kind_in_words, bound]))
        )
        yield Parameter(key, accepts, _default(module, node.value), _text(following))


def _is_registered(cls: ast.ClassDef) -> bool:
    return any(ast.unparse(decorator).startswith("register(") for decorator in cls.decorator_list)


@cache
def _tree(module: str) -> ast.Module:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return ast.Module([], [])
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def _class(module: str, name: str) -> ast.ClassDef:
    return next(node for node in _tree(module).body if isinstance(node, ast.ClassDef) and node.name == name)


def _resolve(module: str, kind: ast.AST) -> tuple[str, ast.AST]:
    """Return the module and the type of an annotation or a name, which may be an alias or imported."""
    if not isinstance(kind, ast.Name):
        return module, kind
    for node in _tree(module).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("pairrank."):
            if kind.id in [alias.name for alias in node.names]:
                return _resolve(node.module, kind)
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == kind.id:
            return _resolve(module, node.value)
        elif isinstance(node, ast.ClassDef) and node.name == kind.id:
            return module, node
    return module, kind


def _in_words(kind: ast.AST) -> str:
    if isinstance(kind, ast.BinOp):
        return f"{_in_words(kind.left)} or {_in_words(kind.right)}"
    text = ast.unparse(kind)
    if isinstance(kind, ast.Subscript) and text.startswith("Literal["):
        choices = kind.slice.elts if isinstance(kind.slice, ast.Tuple) else [kind.slice]
        return "one of " + ", ".join(shown(ast.literal_eval(choice)) for choice in choices)
    if isinstance(kind, ast.Subscript) and text.startswith(("list[", "tuple[")):
        inner = kind.slice.elts[0] if isinstance(kind.slice, ast.Tuple) else kind.slice
        return f"a list of {WORDS.get(ast.unparse(inner), ast.unparse(inner)).removeprefix('a ')}s"
    return WORDS.get(text, text)


def _default(module: str, value: ast.AST | None) -> Any:
    """Return a default as a value, or UNKNOWN if it is computed."""
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "field":
        factory = next(keyword.value for keyword in value.keywords if keyword.arg == "default_factory")
        if isinstance(factory, ast.Name):
            return {"list": [], "dict": {}, "tuple": []}.get(factory.id, UNKNOWN)
        value = factory.body if isinstance(factory, ast.Lambda) else factory
    if isinstance(value, ast.Name):
        _, value = _resolve(module, value)
    try:
        return ast.literal_eval(value) if value is not None else UNKNOWN
    except ValueError:
        return UNKNOWN


def _changes(value: ast.AST | None) -> dict[str, Any]:
    """Return the values that a field gives its nested dataclass instead of the defaults of that class."""
    made = next((node for node in ast.walk(value) if isinstance(node, ast.Lambda)), None) if value else None
    if made is None or not isinstance(made.body, ast.Call):
        return {}
    return {each.arg: ast.literal_eval(each.value) for each in made.body.keywords if each.arg}


def _bounds(cls: ast.ClassDef) -> dict[str, str]:
    """Return the expected values of the fields of a class, from its table of (is valid, expected) by name."""
    found: dict[str, str] = {}
    for table in (node for node in ast.walk(cls) if isinstance(node, ast.Dict)):
        for key, value in zip(table.keys, table.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(value, ast.Tuple) and len(value.elts) == 2:
                expected = value.elts[1]
                if isinstance(expected, ast.Constant) and isinstance(expected.value, str):
                    found[str(key.value)] = expected.value
    return found


def _text(node: ast.AST | None) -> str:
    """Return the string literal under a field."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return " ".join(node.value.value.split())
    return ""


def shown(value: Any) -> str:
    """Return a value in the form of an experiment file."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {shown(inner)}" for key, inner in value.items()) + "}"
    return f'"{value}"' if isinstance(value, str) else str(value)
