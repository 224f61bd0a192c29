"""No folder makes transformers ask for other code, and one that cannot be opened is one message."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pairrank.encoders.catalogue import find_encoder
from pairrank.encoders.opening import check_positions, dropout_settings, open_config, position_limit
from pairrank.encoders.quiet import quiet_transformers
from pairrank.encoders.transformer import TextEncoder
from pairrank.errors import UserError
from pairrank.models.base import build
from tests.support.architectures import WINDOW, set_config, write_checkpoint
from tests.support.battles import arena_of_words
from tests.support.tokenizers import MARKS


@pytest.fixture
def folder(tiny_bert: Path, tmp_path: Path) -> Path:
    """A copy of a tiny encoder."""
    return shutil.copytree(tiny_bert, tmp_path / "encoder")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"attn_implementation": "kernels-community/some"}, "attn_implementation = 'kernels-community/some'"),
        ({"_attn_implementation": "a/b"}, "_attn_implementation = 'a/b'"),
        ({"text_config": {"_attn_implementation_internal": "a/b"}}, "_attn_implementation_internal = 'a/b'"),
        ({"attn_implementation": "a/b", "inner": {"attn_implementation": "eager"}}, "attn_implementation = 'a/b'"),
        ({"parts": [{"attn_implementation": "a/b"}]}, "attn_implementation = 'a/b'"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "its weights are quantised"),
        ({"dtype": "evil"}, "dtype = 'evil'"),
        ({"torch_dtype": ["float32"]}, "torch_dtype = "),
    ],
)
def test_a_configuration_that_needs_other_code_is_refused(folder: Path, values: dict[str, Any], reason: str):
    set_config(folder, **values)
    with pytest.raises(UserError, match="no requested encoder is available") as raised:
        find_encoder([str(folder)])
    assert reason in str(raised.value)


@pytest.mark.parametrize(
    "values", [{"attn_implementation": "eager"}, {"dtype": "bfloat16"}, {"auto_map": {"AutoModel": "x.Y"}}]
)
def test_a_configuration_that_needs_none_is_accepted(folder: Path, values: dict[str, Any]):
    set_config(folder, **values)
    assert find_encoder([str(folder)]).folder == folder
    TextEncoder(folder, "mean")


def test_an_adapter_is_refused(folder: Path):
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "a/b"}')
    with pytest.raises(UserError, match="the folder is an adapter"):
        find_encoder([str(folder)])


DAMAGE = {
    "config is a list": ("config.json", b"[]"),
    "config of an unknown model": ("config.json", b'{"model_type": "nonsense"}'),
    "config with a word for a width": ("config.json", b'{"model_type": "bert", "hidden_size": "wide"}'),
    "pointer instead of weights": ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\nsize 12\n"),
    "empty weights": ("model.safetensors", b""),
    "empty tokenizer": ("tokenizer.json", b""),
    "tokenizer of another kind": ("tokenizer.json", b'{"model": {"type": "None"}}'),
}


@pytest.mark.parametrize("reader", ["siamese", "baseline"])
@pytest.mark.parametrize(("name", "content"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_folder_is_one_message_that_names_it(folder: Path, reader: str, name: str, content: bytes):
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=str(folder)):
        build(reader, encoder=[str(folder)], max_tokens=32).fit(arena_of_words(12))


def test_a_tokenizer_without_a_pad_token_pads_with_that_of_the_configuration(folder: Path):
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps({key: value for key, value in settings.items() if key != "pad_token"}))
    assert TextEncoder(folder, "mean").tokenizer.pad_token == MARKS[0]


@pytest.mark.parametrize("reader", ["siamese", "baseline", "frozen"])
@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"num_hidden_layers": 3}, "layer.2.attention.output.LayerNorm.bias is missing, and 15 more"),
        ({"intermediate_size": 48}, r"intermediate.dense.bias has the shape \(64,\), expected \(48,\)"),
    ],
)
def test_weights_that_the_configuration_contradicts_are_refused(
    folder: Path, reader: str, values: dict[str, int], found: str
):
    set_config(folder, **values)
    with pytest.raises(UserError, match=f"its weights do not fit its config.json: .*{found}"):
        build(reader, encoder=[str(folder)], max_tokens=32).fit(arena_of_words(12))


@pytest.mark.parametrize("name", ["gemma2", "deberta-v2"])
def test_an_attention_that_the_architecture_lacks_is_replaced(tmp_path: Path, name: str):
    folder = write_checkpoint(tmp_path, name)
    set_config(folder, _attn_implementation="sdpa")
    assert TextEncoder(folder, "mean").transformer.model.config._attn_implementation == "eager"


@pytest.mark.parametrize("reader", ["siamese", "baseline"])
def test_a_tokenizer_with_more_tokens_than_vectors_is_refused(folder: Path, reader: str):
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    tokenizer["model"]["vocab"] |= {f"extra{i}": len(tokenizer["model"]["vocab"]) + i for i in range(5)}
    file.write_text(json.dumps(tokenizer))
    with pytest.raises(UserError, match="tokens, its model only"):
        build(reader, encoder=[str(folder)], max_tokens=32).fit(arena_of_words(12))


def test_dropout_has_its_own_names_in_each_architecture(tmp_path: Path):
    expected = {
        "gpt2": {"attn_pdrop": 0.1, "resid_pdrop": 0.2, "embd_pdrop": 0.2},
        "llama": {"attention_dropout": 0.1},
        "t5": {"dropout_rate": 0.2},
    }
    configs = {name: open_config(write_checkpoint(tmp_path / name, name)) for name in expected}
    assert {name: dropout_settings(config, 0.1, 0.2) for name, config in configs.items()} == expected


# --- Positions


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "deberta"])
def test_position_limit_is_the_size_of_the_position_table(kind: str, tiny_bert: Path, tiny_distilbert: Path):
    from transformers import AutoModel, DebertaV2Config, DebertaV2Model, RobertaConfig, RobertaModel

    small = {"vocab_size": 9, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1}
    if kind == "roberta":
        # Two of its rows are never used: positions count from the padding's row, which is 1.
        model = RobertaModel(RobertaConfig(**small, intermediate_size=4, max_position_embeddings=WINDOW + 2))
    elif kind == "deberta":
        model = DebertaV2Model(
            DebertaV2Config(**small, intermediate_size=4, relative_attention=True, position_biased_input=False)
        )
    else:
        with quiet_transformers():
            model = AutoModel.from_pretrained(tiny_bert if kind == "bert" else tiny_distilbert)
    assert position_limit(model) == (None if kind == "deberta" else WINDOW)


def test_a_window_beyond_the_positions_is_refused_with_the_largest_one():
    check_positions("tiny", 64, 64)
    check_positions("tiny", None, 10**6)
    with pytest.raises(
        UserError, match=r"max_tokens = 65: tiny has positions for 64 tokens\. Set max_tokens to 64"
    ):
        check_positions("tiny", 64, 65)
