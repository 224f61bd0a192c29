"""Schemas are found by their files: those of this folder, and those of the user that $PAIRRANK_SCHEMAS names."""

import importlib
import importlib.util
import os
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from pairrank.data.formats.base import REGISTERED, Schema, described
from pairrank.data.formats.vote import CARRIED
from pairrank.data.tables import Table
from pairrank.errors import UserError, combined_error, excerpt, unknown_name

OWN_PACKAGE = "pairrank_schemas"
"""Package in whose name files of the user's own are imported; it does not exist."""

OWN = "PAIRRANK_SCHEMAS"
"""Environment variable with the paths of Python files, separated as in $PATH, each of which registers a schema."""


def schemas() -> dict[str, type[Schema]]:
    """Return all schemas by name; raises UserError for a file in $PAIRRANK_SCHEMAS that registers none."""
    own: dict[str, type[Schema]] = {}
    for path in dict.fromkeys(filter(None, os.environ.get(OWN, "").split(os.pathsep))):
        found = schema_file(path)
        other = own.setdefault(found.name, found)
        if Path(other.source).resolve() != Path(path).resolve():
            raise UserError(f"${OWN}: {other.source} and {path} have the same name. Rename one of them.")
    return _shipped() | own


@cache
def _shipped() -> dict[str, type[Schema]]:
    found = pkgutil.iter_modules([str(Path(__file__).parent)])
    names = sorted(module.name for module in found if module.name not in ("base", "registry"))
    for name in names:
        importlib.import_module(f"pairrank.data.formats.{name}")
    return {name: REGISTERED[name] for name in names if name in REGISTERED}


@cache
def schema_file(path: str) -> type[Schema]:
    """Run a Python file of the user's own and return the schema it registers; its name is that of the file.

    The file is code: only its user may name it, and never a file of battles or a data.toml beside one. Raises
    UserError if there is no such file, if it fails, or if it registers no schema of a name that is still free.
    """
    name = Path(path).stem
    module = f"{OWN_PACKAGE}.{name}"  # a name that hides no other module
    spec = importlib.util.spec_from_file_location(module, path)
    if spec is None or spec.loader is None or not Path(path).is_file():
        raise UserError(f"{path}: no Python file with a schema. Expected the path of a .py file.")
    if "." in name:
        raise UserError(f"{path}: the schema is called {name!r}. Give the file a name without another dot.")
    if name in _shipped():
        raise UserError(f"{path}: a schema {name} is part of pairrank. Give the file another name.")
    REGISTERED.pop(name, None)  # of another file of this name
    sys.modules[module] = importlib.util.module_from_spec(spec)  # dataclasses look for it there
    try:
        spec.loader.exec_module(sys.modules[module])
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (Exception, SystemExit) as error:
        del sys.modules[module]
        raise UserError(f"{path}: this schema fails ({described(error)}).") from error
    if name not in REGISTERED:
        raise UserError(f"{path}: registers no schema. Put `@register` before a subclass of Schema or RowSchema.")
    found = REGISTERED[name]
    if complaints := _class_complaints(found):
        raise combined_error(path, complaints, "Correct the class; Dataset/README.md has an example.")
    found.source = path
    found.is_written = found.is_written and found.columns is not Schema.columns
    return found


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
