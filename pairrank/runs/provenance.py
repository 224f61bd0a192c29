"""A number has a name: the code, versions, commit and device that made it."""

import ast
import hashlib
import importlib.util
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import psutil

from pairrank.encoders.cpu import release_memory

PACKAGES = ("numpy", "scikit-learn", "lightgbm", "torch", "transformers", "sentence-transformers", "accelerate")


def versions() -> dict[str, str]:
    """The versions that a result depends on, "missing" where a package is not installed."""
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


def commit() -> str:
    """The commit of the checkout pairrank runs from, with "+changes" if files differ from it; "" outside one."""
    folder = Path(__file__).parent
    try:
        # An environment may lie inside a checkout of something else, whose commit would say nothing.
        _git(folder, "ls-files", "--error-unmatch", Path(__file__).name)
        head = _git(folder, "rev-parse", "--short=12", "HEAD")
        return head + ("+changes" if _git(folder, "status", "--porcelain", "--", str(folder)) else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def code_hash(module: str) -> str:
    """16 hexadecimal digits over a pairrank module and every pairrank module it imports, directly or not.

    Comments, docstrings and layout do not count, so that only a change of behaviour makes a finished fold stale.
    """
    seen: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _source(name)
        if name in seen or path is None:
            continue
        tree = _without_docstrings(ast.parse(path.read_text(encoding="utf-8")))
        seen[name] = ast.dump(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
    return hashlib.sha256(repr(sorted(seen.items())).encode()).hexdigest()[:16]


def restart_peak_memory() -> None:
    """Forget earlier peaks where the system can (Linux): a fold does not report those of its forerunners."""
    release_memory()
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def peak_memory_mb() -> float:
    """The most memory this process has held, in MiB, since `restart_peak_memory` or else since it started."""
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset) / 2**20
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"


def _source(module: str) -> Path | None:
    """The file of a pairrank module other than the package itself, which only re-exports."""
    if not module.startswith("pairrank."):
        return None
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec and spec.origin else None


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
