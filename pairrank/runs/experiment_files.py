"""Where experiment files are looked for, and what may stand in one; `config` says what it then means."""

import tomllib
from pathlib import Path
from typing import Any

from pairrank.data.folder import shipped
from pairrank.errors import UserError, combined_error, unknown_name

KEYS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "about": (str, "a text"),
    "submittable": (bool, "true or false"),
    "inputs": (list, "a list of experiments"),
    "extra": (list, 'a list of paths, or of tables such as {path = "…", weight = 0.2}'),
    "soft_targets": (str, "the path of a prediction file"),
    "teacher": (str, "the name of an experiment"),
    "seconds": ((int, float), "a number"),
    "model": (dict, 'a table [model] with name = "…"'),
    "split": (dict, "a table [split]"),
    "search": (dict, "a table [search]"),
    "tuned_on": (list, "a list of folds"),
}
"""What may stand at the top of an experiment file, and what it must be."""


def experiment_folders() -> list[Path]:
    """Where experiment files are looked for: the user's own ./experiments first."""
    return [Path("experiments"), shipped("experiments", "experiments")]


def experiment_files() -> dict[str, Path]:
    """Every experiment by name."""
    found: dict[str, Path] = {}
    for folder in experiment_folders():
        for file in sorted(folder.glob("[!.]*.toml")):
            found.setdefault(file.stem, file)
    return found


def read_about(path: Path) -> str:
    """What an experiment file says of itself, its model unseen; raises UserError if it cannot be read."""
    return str(read_table(path).get("about", ""))


def read_table(path: Path) -> dict[str, Any]:
    """The content of an experiment file, its keys and their types checked, but for the model's own."""
    try:
        # Windows editors like to begin a file with a byte-order mark.
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such experiment file.") from None
    except OSError as error:
        raise UserError(f"{path}: cannot read this file ({error.strerror}).") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not TOML: {error}") from None
    complaints = [unknown_name("key", key, KEYS) for key in table if key not in KEYS]
    for key, (kind, expected) in KEYS.items():
        if key in table and not isinstance(table[key], kind):
            complaints.append(f"{key} = {table[key]!r}: expected {expected}.")
    model = table.get("model", {})
    if isinstance(model, dict) and not isinstance(model.get("name"), str):
        complaints.append('no model. Expected a table [model] with name = "…".')
    if complaints:
        raise combined_error(str(path), complaints, "README.md shows an experiment file.")
    return table
