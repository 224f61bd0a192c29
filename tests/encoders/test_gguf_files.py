import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from pairrank.encoders.catalogue import Encoder, find_encoder
from pairrank.encoders.gguf_files import convert
from pairrank.encoders.opening import unsupported
from pairrank.errors import UserError
from tests.support.gguf_files import write_gguf
from tests.support.language_models import TEMPLATE


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    home = tmp_path_factory.mktemp("gguf")
    weights = write_gguf(home / "any.gguf")
    (home / "plain").mkdir()
    convert(home / "any.gguf", home / "plain")
    return home / "plain", weights


def test_the_weights_are_the_unpacked_ones_in_bf16(converted):
    """The oracle is the package gguf, which unpacks what it has packed; Q and K are stored in another order."""
    folder, weights = converted
    found = load_file(folder / "model.safetensors")
    names = {"token_embd": "embed_tokens", "blk.1.ffn_down": "layers.1.mlp.down_proj"}
    names |= {"blk.0.attn_v": "layers.0.self_attn.v_proj", "blk.1.attn_output": "layers.1.self_attn.o_proj"}
    assert {tensor.dtype for tensor in found.values()} == {torch.bfloat16}
    for name, ours in names.items():
        assert torch.equal(found[f"model.{ours}.weight"], torch.from_numpy(weights[name]).bfloat16()), name


def test_the_folder_opens_as_any_other_with_its_tokenizer_and_template(converted):
    folder, _ = converted
    assert unsupported(folder) == ""
    assert isinstance(find_encoder([str(folder)]), Encoder)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    assert tokenizer.chat_template == TEMPLATE
    assert tokenizer.decode(tokenizer("ab é😀")["input_ids"]) == "ab é😀"
    assert tokenizer("<|end|>")["input_ids"] == [0]
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    assert torch.isfinite(model(torch.tensor([[1, 2, 3]])).logits).all()
    assert "quant" not in json.dumps(json.loads((folder / "config.json").read_text()))


def test_another_conversion_writes_the_same_bytes(converted, tmp_path: Path):
    folder, _ = converted
    write_gguf(tmp_path / "again.gguf")
    (tmp_path / "again").mkdir()
    convert(tmp_path / "again.gguf", tmp_path / "again")
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert {file.name: file.read_bytes() for file in (tmp_path / "again").iterdir()} == files
    assert files.keys() >= {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


def test_a_damaged_file_is_refused_in_one_message(tmp_path: Path):
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + b"\0" * 100)
    with pytest.raises(UserError, match="cannot be opened"):
        convert(tmp_path / "bad.gguf", tmp_path)
