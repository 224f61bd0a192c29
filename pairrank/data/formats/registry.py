"""Schemas are found by their files: those of this folder, of installed packages, and those that the user names."""

import importlib
import os
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from pairrank import plugins
from pairrank.data.formats.base import REGISTERED, Schema
from pairrank.data.formats.vote import CARRIED
from pairrank.data.tables import Table
from pairrank.errors import UserError, combined_error, described, excerpt, unknown_name

OWN = "PAIRRANK_SCHEMAS"
"""Environment variable with the paths of Python files, separated as in $PATH, each of which registers a schema."""


def schemas() -> dict[str, type[Schema]]:
    """Return all schemas by name: those of pairrank, of installed packages, and of files that the user names.

    The latter are files in $PAIRRANK_SCHEMAS and plug-ins. Raises UserError for one that registers no valid schema,
    and for a name that is part of pairrank.
    """
    for path in filter(None, os.environ.get(OWN, "").split(os.pathsep)):
        if own_schema(plugins.load_plugin(path)) is None:
            raise UserError(
                f"{path}: registers no schema. Put `@register` before a subclass of Schema or RowSchema."
            )
    installed = {name: _installed(name) for name in plugins.installed("formats")}
    own = [found for source in plugins.loaded() if (found := own_schema(source))]
    return _shipped() | installed | {each.name: each for each in own if each not in installed.values()}


@cache
def _shipped() -> dict[str, type[Schema]]:
    found = pkgutil.iter_modules([str(Path(__file__).parent)])
    names = sorted(module.name for module in found if module.name not in ("base", "registry"))
    for name in names:
        importlib.import_module(f"pairrank.data.formats.{name}")
    return {name: REGISTERED[name] for name in names if name in REGISTERED}


@cache
def own_schema(source: plugins.Source) -> type[Schema] | None:
    """Return the schema that code of the user's own registers, under the name of its file; None if there is none.

    The code has been run: only its user may name it, and never a file of battles or a data.toml beside one. Raises
    UserError if the name is part of pairrank, or if the class is incomplete.
    """
    registered = [each for each in vars(source.module).values() if _is_registered(each, source.module.__name__)]
    if not registered:
        return None
    found = registered[-1]
    if found.name in _shipped():
        raise UserError(f"{source.path}: a schema {found.name} is part of pairrank. Give the file another name.")
    return _checked(found, str(source.path))


def _is_registered(value: object, module: str) -> bool:
    return (
        isinstance(value, type)
        and issubclass(value, Schema)
        and value.__module__ == module
        and "name" in vars(value)
    )


@cache
def _installed(name: str) -> type[Schema]:
    """Return the schema of an installed package."""
    if name in _shipped():
        plugins.refuse_twin("formats", name)
    found = plugins.find("formats", name)
    if not (isinstance(found, type) and issubclass(found, Schema)):
        expected = "expected a subclass of Schema or RowSchema"
        raise UserError(f"the entry point pairrank.formats:{name}: found {excerpt(found, 60)}, {expected}.")
    found.name = name
    return _checked(found, sys.modules[found.__module__].__file__ or name)


def _checked(schema: type[Schema], path: str) -> type[Schema]:
    if complaints := _class_complaints(schema):
        raise combined_error(path, complaints, "Correct the class; Dataset/README.md has an example.")
    schema.source = path
    schema.is_written = schema.is_written and schema.columns is not Schema.columns
    return schema


def _class_complaints(schema: type[Schema]) -> list[str]:
    """Return what is wrong with the class of a schema of the user's own."""
    about = getattr(schema, "about", None)
    complaints = [] if isinstance(about, str) and about else [f"about is {excerpt(about, 40)}, expected a text"]
    for name in ("required", "optional", "verdict", "carries"):
        found = getattr(schema, name, ())
        if not isinstance(found, tuple | list) or not all(isinstance(each, str) and each for each in found):
            complaints.append(f"{name} is {excerpt(found, 40)}, expected a tuple of names")
    if complaints:
        return complaints
    if not getattr(schema, "required", ()):
        complaints.append("required is missing or empty, expected the columns that tell the schema")
    if unknown := set(schema.verdict) - {*schema.required, *schema.optional}:
        complaints.append(f"verdict: {', '.join(sorted(unknown))} is neither required nor optional")
    if unknown := set(getattr(schema, "carries", ())) - set(CARRIED):
        complaints.append(f"carries: found {', '.join(sorted(unknown))}, expected some of {', '.join(CARRIED)}")
    if missing := sorted(getattr(schema, "__abstractmethods__", ())):
        complaints.append(f"the method {', '.join(missing)} is missing")
    return complaints


@contextmanager
def own_errors(schema: type[Schema]) -> Iterator[None]:
    """Raise UserError, which names the file, for whatever a schema of the user's own raises."""
    try:
        yield
    except (Exception, SystemExit) as error:
        if not schema.source:
            raise
        raise UserError(f"{schema.source}: this schema fails ({described(error)}).") from error


def find_schema(name: str) -> type[Schema]:
    """Return the schema of this name; raises UserError for an unknown one."""
    if name not in schemas():
        raise UserError(f"{unknown_name('schema', name, schemas())} ${OWN} names files with schemas of your own.")
    return schemas()[name]


def all_columns() -> frozenset[str]:
    """Return the columns that any schema reads."""
    return frozenset(name for each in schemas().values() for name in (*each.required, *each.optional))


def recognise(table: Table) -> type[Schema] | None:
    """Return the schema whose columns the first table of a file has; None if there is none.

    Of several, it is the one that requires the most columns, and then the one that reads the most.
    """
    found = set(table.columns)

    def rank(schema: type[Schema]) -> tuple[int, int]:
        return len(schema.required), len(found & set(schema.optional))

    fitting = [each for each in schemas().values() if set(each.required) <= found and _accepts(each, table)]
    return max(fitting, key=rank, default=None)


def _accepts(schema: type[Schema], table: Table) -> bool:
    with own_errors(schema):
        return schema.accepts(table)


def nearest(table: Table) -> tuple[type[Schema], list[str]]:
    """Return the schema that lacks the smallest share of its columns, and those columns."""
    found = set(table.columns)

    def lacking(schema: type[Schema]) -> list[str]:
        return [name for name in schema.required if name not in found]

    best = min(
        schemas().values(), key=lambda each: (len(lacking(each)) / len(each.required), each.name != "kaggle")
    )
    return best, lacking(best)
