"""The version of pairrank and, in a checkout, its commit."""

import tomllib
from importlib import metadata
from pathlib import Path

from pairrank.runs.provenance import commit


def version_line() -> str:
    """Return `pairrank 0.2.0 (commit …)`; "+changes" follows a commit from which files differ."""
    made_from = commit()
    return f"pairrank {_version()}" + (f" (commit {made_from})" if made_from else "")


def _version() -> str:
    # A checkout that is on the path but not installed has no metadata.
    file = Path(__file__).parents[2] / "pyproject.toml"
    project = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {}) if file.is_file() else {}
    if project.get("name") == "pairrank":
        return str(project["version"])
    return metadata.version("pairrank")
