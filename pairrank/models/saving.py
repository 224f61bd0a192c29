"""A fitted model is saved in a folder with its hyperparameters, and no file of it is read before it is checked."""

import json
import logging
from functools import cache
from pathlib import Path
from typing import Any

from pairrank.atomic import rename_synced, temporary_folder
from pairrank.errors import UserError
from pairrank.files import damaged_files, read_json, reading, sha256_of, write_json
from pairrank.models.base import Model, build, name_of, parameters_of, with_current_names
from pairrank.models.corrected import WithEvidence

MODEL_FILE = "model.json"
"""The file of a saved model that names it, with its hyperparameters and the hashes of its other files."""

RETRAIN = "Train this fold again with the same `run` command, or copy the folder again."

logger = logging.getLogger(__name__)


def save_model(model: Model, folder: Path) -> None:
    """Save a fitted model with its name and hyperparameters, so that `load_model` needs the folder alone.

    The last file is model.json, which has the hash of every other one. Raises UserError for a class without a name.
    """
    name = name_of(model)
    folder.mkdir(parents=True, exist_ok=True)
    with temporary_folder(folder) as written:
        model.save(written)
        files = sorted(file.relative_to(written) for file in written.rglob("*") if file.is_file())
        hashes = {file.as_posix(): sha256_of(written / file) for file in files}
        for file in files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            rename_synced(written / file, folder / file)
    saved: dict[str, Any] = {"model": name, "parameters": parameters_of(model), "files": hashes}
    write_json(folder / MODEL_FILE, saved | ({"evidence": True} if isinstance(model, WithEvidence) else {}))


def load_model(folder: str | Path) -> Model:
    """Return the fitted model that `save_model` wrote to `folder`.

    Every file is checked before it is used, and none makes code run: that of a model of the user's own must be
    loaded (`load_plugin`). Raises UserError if it is not, if there is no model, or if a file of it is missing,
    changed or unreadable.
    """
    folder = Path(folder)
    model = build_saved(folder)
    with reading(folder, RETRAIN):
        return model.load(folder)


def build_saved(folder: Path) -> Model:
    """Return a model with the hyperparameters of a saved one, and nothing learned; the saved files are checked.

    Raises UserError as `load_model` does.
    """
    file = folder / MODEL_FILE
    if not file.is_file():
        raise UserError(f"{folder}: no saved model here ({MODEL_FILE} is missing). Expected the folder of a fold.")
    with reading(file, RETRAIN):
        saved = json.loads(file.read_text(encoding="utf-8"))
        name, parameters = saved["model"], dict(saved["parameters"])
        hashes = dict(saved["files"]) if "files" in saved else None
        corrected = saved.get("evidence") is True
    if hashes is None:
        _warn_unchecked(folder.parent)
    elif wrong := damaged_files(folder, hashes):
        raise UserError(f"{folder}: {', '.join(wrong)}: not as saved with the model. {RETRAIN}")
    with reading(folder, RETRAIN):
        model = build(name, **with_current_names(name, parameters))
        return WithEvidence(model) if corrected else model


@cache
def _warn_unchecked(run: Path) -> None:
    """Warn once about the saved models of a run."""
    logger.warning("%s: saved by an earlier version without hashes, so its models cannot be checked.", run)


def damaged_model_files(folder: Path) -> list[str]:
    """Return the names of the files of a saved model that are missing, changed or unreadable."""
    saved = read_json(folder / MODEL_FILE)
    if saved is None or not isinstance(saved.get("files", {}), dict):
        return [MODEL_FILE]
    return damaged_files(folder, saved.get("files", {}))
