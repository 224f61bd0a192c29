"""Code of the user's own: the model that `new-model` writes, changed as a test needs, and packages on the path."""

import functools
from pathlib import Path

import pytest

from pairrank import plugins
from pairrank.cli import own_models

MODEL = (own_models.TEMPLATES / "model.py.txt").read_text(encoding="utf-8")


def write_model(file: Path, *changes: tuple[str, str]) -> Path:
    """Write the model of `new-model`, with texts replaced."""
    text = MODEL
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def install_package(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, **entries: str) -> None:
    """Put a package with entry points, as KIND="NAME = MODULE:OBJECT", on the path, as pip would.

    The entry points are read again, for the length of the test. Other tests keep those of the environment, because
    reading them takes some milliseconds for each kind.
    """
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"[pairrank.{kind}]\n{entry}\n" for kind, entry in entries.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(plugins, "_entry_points", functools.cache(plugins._entry_points.__wrapped__))
