"""The provenance of a number: the code, versions, commit and memory that produced it."""

import ast
import functools
import hashlib
import importlib.util
import platform
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import psutil

from pairrank.encoders.cpu import release_memory
from pairrank.plugins import Source

PACKAGES = (
    *("numpy", "scikit-learn", "lightgbm", "torch", "transformers", "sentence-transformers", "accelerate"),
    *("peft", "bitsandbytes"),
)


def versions() -> dict[str, str]:
    """Return the versions that a result depends on; "missing" for a package that is not installed."""
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


@functools.cache
def commit() -> str:
    """Return `commit_of` this package when the process first asked: that of the code which it has loaded."""
    return commit_of(Path(__file__))


def commit_of(file: Path) -> str:
    """Return the commit of the checkout that tracks a file of the package `runs`; "" outside one.

    "+changes" follows if any file of pairrank differs from the commit.
    """
    folder = file.parents[1]
    try:
        # An environment may lie inside the checkout of another project, whose commit would be meaningless.
        _git(folder, "ls-files", "--error-unmatch", str(file.relative_to(folder)))
        head = _git(folder, "rev-parse", "--short=12", "HEAD")
        return head + ("+changes" if _git(folder, "status", "--porcelain", "--", str(folder)) else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def code_hash(module: str) -> str:
    """Return a hash (16 hexadecimal digits) of a pairrank module and every one that it imports, directly or not.

    Comments, docstrings and layout are left out, so that a change of them does not make a finished fold stale.
    """
    return _code_hash(module, _source)


def own_code_hash(source: Source) -> str:
    """Return the same hash for code of the user's own: its file, the modules of its package, those beside a file.

    The modules of pairrank that it imports are part of it as well, other installed packages are not.
    """
    return _code_hash(source.module.__name__, lambda name: _source(name) or source.file_of(name))


def _code_hash(module: str, find: Callable[[str], Path | None]) -> str:
    seen: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = find(name) if name and name not in seen else None
        if path is None:
            continue
        seen[name], imported = _read_code(path.read_text(encoding="utf-8"))
        parent = name.rpartition(".")[0]
        package = name if path.name == "__init__.py" else parent
        waiting += [_absolute(each, package) for each in imported]
        if not name.startswith("pairrank."):  # whose packages are empty
            waiting.append(parent)
    return hashlib.sha256(repr(sorted(seen.items())).encode()).hexdigest()[:16]


def restart_peak_memory() -> None:
    """Reset the peak of `peak_memory_mb` where the system can (Linux), so that each fold reports its own."""
    release_memory()
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def peak_memory_mb() -> float:
    """Return the peak memory of this process in MiB, since `restart_peak_memory` or since it started."""
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset) / 2**20
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


@functools.cache
def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"


def _source(module: str) -> Path | None:
    """Return the file of a pairrank module, or None for other modules and for the package itself."""
    if not module.startswith("pairrank.") or not _is_package(module.rpartition(".")[0]):
        return None
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec and spec.origin else None


def _is_package(module: str) -> bool:
    """Return whether a module of pairrank is a package.

    `find_spec` would import a module in which it looks for another, and torch with it.
    """
    path = None if module == "pairrank" else _source(module)
    return module == "pairrank" or (path is not None and path.name == "__init__.py")


@functools.lru_cache(maxsize=1024)
def _read_code(source: str) -> tuple[str, tuple[str, ...]]:
    """Return the syntax of a module without docstrings, and the names that it may import as modules."""
    tree = _without_docstrings(ast.parse(source))
    imported: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            joined = module if module.endswith(".") else f"{module}."
            imported += [module, *(f"{joined}{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
    return ast.dump(tree), tuple(imported)


def _absolute(name: str, package: str) -> str:
    """Return the absolute name of a module that is imported in this package; "" outside of it."""
    try:
        return importlib.util.resolve_name(name, package)
    except ImportError:
        return ""


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [s for s in body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
    return tree


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603  # constant
    return done.stdout.strip()
