"""Weights in several files open like those in one, and any difference between files and index is one message."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from pairrank.encoders import checkpoint
from pairrank.encoders.catalogue import find_encoder
from pairrank.encoders.checkpoint import FILES, INDEX, Checkpoint, find_checkpoint
from pairrank.encoders.embedding import Embedder
from pairrank.encoders.transformer import TextEncoder
from pairrank.encoders.windows import encode
from pairrank.errors import UserError
from tests.support.architectures import write_checkpoint
from tests.support.tokenizers import sentencepiece_model

SHARDS = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def sharded(tiny_bert: Path, tmp_path: Path) -> Path:
    """The tiny encoder with its weights in three files."""
    folder = shutil.copytree(tiny_bert, tmp_path / "sharded")
    (folder / "model.safetensors").unlink()
    model = AutoModel.from_pretrained(tiny_bert, local_files_only=True)
    model.save_pretrained(folder, max_shard_size="45KB")
    assert sorted(file.name for file in folder.glob("*.safetensors")) == SHARDS
    return folder


def reason(folder: Path) -> str:
    with pytest.raises(UserError) as raised:
        find_encoder([str(folder)])
    return str(raised.value)


def test_the_hash_of_a_single_file_is_that_of_its_bytes(tiny_bert: Path):
    found = find_checkpoint(tiny_bert)
    assert isinstance(found, Checkpoint)
    assert found.sha256 == sha256((tiny_bert / "model.safetensors").read_bytes())


def test_the_hash_of_shards_is_that_of_the_index_and_every_shard(sharded: Path):
    # What `sha256sum index shard shard shard | sed 's/  / /' | sha256sum` prints.
    lines = [f"{sha256((sharded / name).read_bytes())} {name}\n" for name in [INDEX, *SHARDS]]
    before = find_encoder([str(sharded)]).sha256
    assert before == sha256("".join(lines).encode())
    for name in [INDEX, *SHARDS]:
        data = (sharded / name).read_bytes()
        # White space at the end of the index, and a bit of the last weight of a shard.
        changed = data + b"\n" if name == INDEX else data[:-1] + bytes([data[-1] ^ 1])
        (sharded / name).write_bytes(changed)
        assert find_encoder([str(sharded)]).sha256 != before, name
        (sharded / name).write_bytes(data)


def test_shards_give_the_vectors_of_the_single_file(tiny_bert: Path, sharded: Path):
    texts = [(("why how",), ("good",)), (("bad apple",),)]
    one, several = (
        Embedder(find_encoder([str(folder)]), max_tokens=32, precision="fp32").vectors(texts)
        for folder in (tiny_bert, sharded)
    )
    assert np.array_equal(one, several)


@pytest.mark.parametrize("number", [0, 2])
def test_a_missing_shard_is_named(sharded: Path, number: int):
    (sharded / SHARDS[number]).unlink()
    assert f"{SHARDS[number]} is missing, which {INDEX} names" in reason(sharded)


def test_a_shard_that_the_index_does_not_name_is_refused(sharded: Path):
    shutil.copy(sharded / SHARDS[0], sharded / "model-00004-of-00004.safetensors")
    assert f"model-00004-of-00004.safetensors is not named in {INDEX}" in reason(sharded)


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n", "half"])
def test_a_damaged_shard_is_named(sharded: Path, content: bytes | str):
    file = sharded / SHARDS[1]
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if content == "half" else content)
    assert f"{SHARDS[1]} is damaged, expected a complete safetensors file" in reason(sharded)


def test_a_shard_with_other_weights_is_refused(sharded: Path):
    weights = load_file(sharded / SHARDS[1])
    save_file({**weights, "more": torch.zeros(1)}, sharded / SHARDS[1])
    assert f"{SHARDS[1]} holds other weights than {INDEX} names" in reason(sharded)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": 1}}', '{"weight_map": ["model.safetensors"]}'],
)
def test_a_damaged_index_is_refused(sharded: Path, content: str):
    (sharded / INDEX).write_text(content)
    assert f"{INDEX} is damaged" in reason(sharded)


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "sub/model.safetensors", "weights.bin"])
def test_an_index_that_leads_out_of_the_folder_is_refused(sharded: Path, name: str):
    (sharded / INDEX).write_text(json.dumps({"weight_map": {"weight": name}}))
    assert "expected safetensors files in the same folder" in reason(sharded)


def test_neither_pickles_nor_code_are_downloaded():
    assert not [name for name in FILES if name.endswith((".bin", ".pt", ".pkl", ".py", "*"))]
    assert {"model-*-of-*.safetensors", INDEX, "spiece.model", "sentencepiece.bpe.model"} < {*FILES}


# --- Tokenizers


SENTENCEPIECE = {
    "xlm-roberta": ("sentencepiece.bpe.model", ()),
    "albert": ("spiece.model", ("[CLS]", "[SEP]")),
    "t5": ("spiece.model", ()),
    "deberta-v2": ("spm.model", ()),
    "mistral": ("tokenizer.model", ()),
}
"""Architecture -> the name of its SentencePiece file and the symbols that it defines."""


def sentencepiece_alone(folder: Path, name: str) -> Path:
    """A checkpoint of an architecture whose tokenizer is a SentencePiece file alone."""
    file, symbols = SENTENCEPIECE[name]
    write_checkpoint(folder, name, vocab_size=300)
    for each in ("tokenizer.json", "tokenizer_config.json"):
        (folder / each).unlink()
    (folder / file).write_bytes(sentencepiece_model(*symbols))
    return folder


@pytest.mark.parametrize("name", SENTENCEPIECE)
def test_a_sentencepiece_file_alone_is_a_tokenizer(tmp_path: Path, name: str):
    folder = sentencepiece_alone(tmp_path, name)
    tokenizer = TextEncoder(find_encoder([str(folder)]).folder, "auto").tokenizer
    one, other = encode(tokenizer, ["why good", "why bad"])
    assert one[0] == other[0]
    assert tokenizer.decode(one).split() == ["why", "good"]
    assert tokenizer.pad_token is not None


@pytest.mark.parametrize("package", ["sentencepiece", "protobuf"])
def test_a_sentencepiece_file_without_its_packages_names_them(tmp_path: Path, monkeypatch, package: str):
    folder = sentencepiece_alone(tmp_path, "t5")
    monkeypatch.setitem(checkpoint.CONVERTERS, package, "no_such_module")
    message = reason(folder)
    assert f"its tokenizer is spiece.model alone, which cannot be read without {package}." in message
    assert "pip install 'pairrank[sentencepiece]'" in message


def test_an_empty_sentencepiece_file_is_refused(tmp_path: Path):
    folder = sentencepiece_alone(tmp_path, "t5")
    (folder / "spiece.model").write_bytes(b"")
    assert "spiece.model is empty" in reason(folder)


def test_a_damaged_sentencepiece_file_is_one_message(tmp_path: Path):
    folder = sentencepiece_alone(tmp_path, "t5")
    (folder / "spiece.model").write_bytes(b"not a tokenizer")
    with pytest.raises(UserError, match="cannot be opened as a text encoder"):
        TextEncoder(folder, "auto")
