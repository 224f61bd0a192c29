"""Code of the user's own: Python files and modules that the user names, and entry points of installed packages.

A file of a run or of a saved model can name such code, but never makes it run. A file or module is run by
`load_plugin` alone, which is called for what the user names: in an experiment file, with `--plugin`, or in
$PAIRRANK_PLUGINS.
"""

import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pairrank.errors import UserError, described, excerpt, unknown_name

if TYPE_CHECKING:  # `--help` need not load it
    from importlib.metadata import EntryPoint

PACKAGE = "pairrank_plugins"
"""Package in whose name files are imported, so that they hide no other module; it does not exist."""

VARIABLE = "PAIRRANK_PLUGINS"
"""Environment variable with files and modules to load, separated as in $PATH, in this process and its children."""

KINDS = {"name": "models", "groups": "features", "head": "heads"}
"""Hyperparameters that can name code of the user's own, with the kind of code; "pairrank.KIND" are entry points."""


@dataclass(frozen=True)
class Source:
    """A file or module of the user's own, which has been run."""

    name: str
    """The name of the file, such as "mine.py", or of the module, such as "package.module"."""
    module: ModuleType
    path: Path
    """The file as the user named it, or that of the module."""
    root: Path
    """The absolute path of the file, or of the folder of the package to which the module belongs."""
    digest: str = ""
    """Hash of the file when it was run; "" for a module, which is imported once."""

    def file_of(self, module: str) -> Path | None:
        """Return the file of a module of this code, if its source exists; None for modules of other projects.

        That is the file itself, a module beside a file, or one of the same package. Nothing is imported.
        """
        if module == self.module.__name__:
            return self.path
        if not self.digest and module.partition(".")[0] != self.name.partition(".")[0]:
            return None
        place = self.root.parent.joinpath(*module.split("."))
        return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


_loaded: dict[str, Source] = {}


def is_reference(name: str) -> bool:
    """Return whether a name has the form FILE.py, FILE.py:NAME or MODULE:NAME."""
    source, attribute = split(name)
    return bool(attribute) or source.endswith(".py")


def split(reference: str) -> tuple[str, str]:
    """Return the file or module and the object that a reference names; "" if it names no object."""
    source, colon, attribute = reference.rpartition(":")
    # The colon of a drive is followed by a path.
    return (source, attribute) if colon and source and attribute.isidentifier() else (reference, "")


def load_plugin(source: str | Path, folder: Path | None = None) -> Source:
    """Run a Python file, relative to `folder`, or import a module, unless that was done before.

    A file that has changed since is run again. Raises UserError if there is no such code, if it fails, and if it
    has the name of another file that was loaded.
    """
    source = str(source)
    found = _load_file(Path(folder or "", source).expanduser()) if source.endswith(".py") else _load_module(source)
    _loaded[found.name] = found
    return found


def _load_file(path: Path) -> Source:
    if not path.is_file():
        raise UserError(f"{path}: no Python file here. Expected the path of a .py file.")
    if "." in path.stem:
        raise UserError(f"{path}: its name is {path.stem!r}. Give the file a name without another dot.")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if known := _loaded.get(path.name):
        if known.path.resolve() != path.resolve():
            raise UserError(f"{known.path} and {path} have the same name. Rename one of them.")
        if known.digest == digest:
            return known
    name = f"{PACKAGE}.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path}: no Python file. Expected the path of a .py file.")
    module = importlib.util.module_from_spec(spec)
    before, sys.modules[name] = sys.modules.get(name), module  # dataclasses look for it there
    try:
        with _own_errors(path, lambda file: file == str(path)):
            # Not through the loader: a compiled file can be older than a change within the same second.
            exec(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), vars(module))  # noqa: S102
    except UserError:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before
        raise
    return Source(path.name, module, path, path.absolute(), digest)


def _load_module(name: str) -> Source:
    if not all(part.isidentifier() for part in name.split(".")):
        raise UserError(
            f"{name}: no Python file and no module. Expected a .py file, or a module like package.module."
        )
    first = name.partition(".")[0]
    if first == "pairrank":
        raise UserError(f"{name}: a module of pairrank itself. Use the names that `describe` and `list` show.")
    with _own_errors(Path(name), lambda file: first in (*Path(file).parts, Path(file).stem)):
        module = importlib.import_module(name)
    places = [*getattr(sys.modules[first], "__path__", ()), sys.modules[first].__file__ or name]
    return Source(name, module, Path(module.__file__ or name), Path(places[0]).absolute())


@contextmanager
def _own_errors(path: Path, is_own: Callable[[str], bool]) -> Iterator[None]:
    """Raise UserError with file and line for whatever the code of a file or module raises."""
    try:
        yield
    except (Exception, SystemExit) as error:
        place = _syntax_place(error) or _place_in(error, is_own) or path
        if isinstance(error, UserError):
            raise UserError(f"{place}: {error}") from None
        raise UserError(f"{place}: this code fails ({described(error)}).") from error


def _syntax_place(error: BaseException) -> str:
    return f"{error.filename}, line {error.lineno}" if isinstance(error, SyntaxError) and error.filename else ""


def _place_in(error: BaseException, is_own: Callable[[str], bool]) -> str:
    """Return file and line of the innermost call of own code that led to an error; "" if there is none."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_own(frame.filename)]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else ""


def place_of(error: BaseException) -> str:
    """Return the file and line of code of the user's own that led to an error; "" if none took part in it."""
    return _place_in(
        error, lambda file: any(Path(file).absolute().is_relative_to(s.root) for s in _loaded.values())
    )


# Objects in loaded code


def loaded() -> list[Source]:
    """Return all code that has been loaded, and load that of $PAIRRANK_PLUGINS."""
    for source in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        load_plugin(source)
    return list(_loaded.values())


def variable() -> dict[str, str]:
    """Return the environment variable with which another process loads the same code; {} without any."""
    names = [str(each.path.absolute()) if each.digest else each.name for each in loaded()]
    return {VARIABLE: os.pathsep.join(names)} if names else {}


def find(kind: str, name: str) -> Any:
    """Return the object that a reference or the name of an entry point stands for.

    The code that a reference names must be loaded already: this runs no file. Raises UserError if it is not, and
    if it has no such object.
    """
    if not is_reference(name):
        return _entry_object(kind, name)
    return _attribute(_source_of(name), split(name)[1])


def _attribute(source: Source, name: str) -> Any:
    if not name or not hasattr(source.module, name):
        raise UserError(f"{source.path}: {unknown_name('class or function', name, _own_names(source))}")
    return getattr(source.module, name)


def _source_of(reference: str) -> Source:
    key = _key(split(reference)[0])
    known = {each.name: each for each in loaded()}
    if key not in known:
        place = f"PATH{os.sep}{key}" if key.endswith(".py") else key
        raise UserError(
            f"{excerpt(reference)} is code outside pairrank, which no file of a run or model can start. If you "
            f"trust it, name it: --plugin {place}, or pairrank.load_plugin({place!r}) in Python."
        )
    return known[key]


def _key(source: str) -> str:
    """Return the name of a file without its folder, or that of a module."""
    return source.replace("\\", "/").rpartition("/")[2] if source.endswith(".py") else source


def _own_names(source: Source) -> list[str]:
    """Return the names of the classes and functions that a module defines itself."""
    items = vars(source.module).items()
    return [name for name, value in items if getattr(value, "__module__", "") == source.module.__name__]


def canonical(reference: str, folder: Path, fits: Callable[[Any], bool], what: str) -> str:
    """Load the code that the user names, and return the reference as files of a run have it: "mine.py:MyModel".

    `folder` is the one that paths are relative to. A reference without an object means the only one of the file for
    which `fits` is true. Raises UserError, which calls such an object `what`, if there is none or more than one.
    """
    place, attribute = split(reference)
    is_elsewhere = place.endswith(".py") and place in _loaded and not Path(folder, place).is_file()
    source = _loaded[place] if is_elsewhere else load_plugin(place, folder)
    if attribute:
        _attribute(source, attribute)
        return f"{source.name}:{attribute}"
    fitting = [name for name in _own_names(source) if fits(getattr(source.module, name))]
    if len(fitting) == 1:
        return f"{source.name}:{fitting[0]}"
    if not fitting:
        raise UserError(
            f"{source.path}: it defines no {what}. Found: {', '.join(_own_names(source)) or 'nothing'}."
        )
    raise UserError(f"{source.path}: it defines {', '.join(fitting)}. Name one: {place}:{fitting[0]}")


def sources_in(parameters: Mapping[str, Any]) -> list[Source]:
    """Return the code of the user's own that the table of a model names."""
    found: dict[str, Source] = {}
    for key, kind in KINDS.items():
        values = parameters.get(key, ())
        for name in [values] if isinstance(values, str) else filter(lambda each: isinstance(each, str), values):
            if is_reference(name):
                source = _source_of(name)
            elif name in installed(kind):
                source = _load_module(_entry_point(kind, name).module)
            else:
                continue
            found[source.name] = source
    return list(found.values())


def relative_to(parameters: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the table of a model for an experiment file in `folder`, in which files are named by their paths."""
    return {key: _relative(value, folder) if key in KINDS else value for key, value in parameters.items()}


def _relative(value: Any, folder: Path) -> Any:
    if isinstance(value, list | tuple):
        return [_relative(each, folder) for each in value]
    source, attribute = split(value) if isinstance(value, str) else ("", "")
    if not source.endswith(".py") or source not in _loaded:
        return value
    path = os.path.relpath(_loaded[source].root, folder.absolute())
    return f"{Path(path).as_posix()}:{attribute}"


# Entry points


@cache
def _entry_points(kind: str) -> dict[str, "list[EntryPoint]"]:
    from importlib.metadata import entry_points

    found: dict[str, list[EntryPoint]] = {}
    for each in entry_points(group=f"pairrank.{kind}"):
        if each.value not in [other.value for other in found.get(each.name, [])]:
            found.setdefault(each.name, []).append(each)
    return found


def installed(kind: str) -> list[str]:
    """Return the names that installed packages give to their models, features, formats or heads."""
    return sorted(_entry_points(kind))


def refuse_twin(kind: str, name: str) -> None:
    """Raise UserError if an installed package uses a name of this kind that is part of pairrank."""
    if name in _entry_points(kind):
        raise UserError(f"{_described(_entry_point(kind, name))}: {name!r} is part of pairrank. Rename it there.")


def _entry_point(kind: str, name: str) -> "EntryPoint":
    first, *others = _entry_points(kind)[name]
    if others:
        raise UserError(
            f"{_described(first)} and {_described(others[0])}: both are called {name!r}. Uninstall one."
        )
    return first


def _described(entry: "EntryPoint") -> str:
    package = entry.dist.name if entry.dist else entry.module
    return f"the package {package}, entry point {entry.group}"


def _entry_object(kind: str, name: str) -> Any:
    entry = _entry_point(kind, name)
    try:
        found = load_plugin(entry.module).module
        for part in filter(None, entry.attr.split(".")):
            found = getattr(found, part)
    except (UserError, AttributeError) as error:
        raise UserError(f"{_described(entry)}: {error}") from error
    return found
