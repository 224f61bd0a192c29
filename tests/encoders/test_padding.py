"""Every tokenizer gets a pad token, never the end-of-text token, and the model is saved with it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from pairrank.encoders.padding import ensure_pad_token
from pairrank.encoders.transformer import TextEncoder
from pairrank.encoders.windows import encode
from tests.support.architectures import ARCHITECTURES, some_fast, write_checkpoint

EXPECTED = {
    "gpt2": "<pad>",  # its only special token ends a text
    "llama": "<|finetune_right_pad_id|>",
    "mistral": "<unk>",
    "qwen2": "<|endoftext|>",  # its own choice
    "roberta": "<pad>",
}
"""Architecture -> the pad token that is chosen."""


def opened(folder: Path) -> tuple[Any, Any]:
    """The tokenizer and the model of a folder as transformers opens them."""
    return AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_pad_token_is_chosen_in_a_fixed_order_and_saved(tmp_path: Path, name: str):
    tokenizer, model = opened(write_checkpoint(tmp_path / "given", name))
    ensure_pad_token(tokenizer, model)
    assert tokenizer.pad_token == EXPECTED[name]
    assert model.config.pad_token_id == tokenizer.pad_token_id
    assert tokenizer.pad_token_id < model.get_input_embeddings().num_embeddings
    model.save_pretrained(tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    again, saved = opened(tmp_path / "saved")
    assert (again.pad_token, again.pad_token_id) == (tokenizer.pad_token, tokenizer.pad_token_id)
    assert saved.config.pad_token_id == model.config.pad_token_id
    ensure_pad_token(again, saved)
    assert len(again) == len(tokenizer)
    assert saved.get_input_embeddings().num_embeddings == model.get_input_embeddings().num_embeddings


def test_a_new_pad_token_has_a_vector_of_zeros_and_uses_no_random_number(tmp_path: Path):
    tokenizer, model = opened(write_checkpoint(tmp_path, "gpt2"))
    before, state = model.get_input_embeddings().weight.detach().clone(), torch.get_rng_state()
    ensure_pad_token(tokenizer, model)
    after = model.get_input_embeddings().weight
    assert torch.equal(after[:-1], before)
    assert not after[-1].any()
    assert torch.equal(torch.get_rng_state(), state)


def test_a_vocabulary_with_unused_vectors_is_not_enlarged(tmp_path: Path):
    vocabulary = 1_000
    tokenizer, model = opened(write_checkpoint(tmp_path, "gpt2", vocab_size=vocabulary))
    ensure_pad_token(tokenizer, model)
    assert tokenizer.pad_token_id == len(tokenizer) - 1
    assert model.get_input_embeddings().num_embeddings == vocabulary


def test_a_text_of_the_new_pad_token_is_never_that_token(tmp_path: Path):
    encoder = TextEncoder(write_checkpoint(tmp_path, "gpt2"), "auto")
    [ids] = encode(encoder.tokenizer, ["good <pad> <|endoftext|>"])
    assert not {*ids} & {encoder.tokenizer.pad_token_id, encoder.tokenizer.eos_token_id}


def test_a_reserved_token_is_used_before_the_unknown_one(tmp_path: Path):
    folder = write_checkpoint(tmp_path, "llama")
    text = (folder / "tokenizer.json").read_text().replace("<|finetune_right_pad_id|>", "<|some_other|>")
    (folder / "tokenizer.json").write_text(text)
    tokenizer, model = opened(folder)
    ensure_pad_token(tokenizer, model)
    assert tokenizer.pad_token == "<|reserved_special_token_0|>"  # noqa: S105


def test_an_encoder_that_counts_positions_from_its_pad_token_keeps_it(tmp_path: Path):
    folder = write_checkpoint(tmp_path, "roberta")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"pad_token": "<mask>"}))
    tokenizer, model = opened(folder)
    kept = model.config.pad_token_id
    ensure_pad_token(tokenizer, model)
    assert model.config.pad_token_id == kept != tokenizer.pad_token_id


@pytest.mark.parametrize("name", some_fast(ARCHITECTURES))
def test_padding_on_either_side_changes_no_vector_of_an_opened_encoder(tmp_path: Path, name: str):
    encoder = TextEncoder(write_checkpoint(tmp_path, name), "auto").eval()
    text = torch.arange(7, 15)[None]
    pad = torch.full((1, 4), encoder.tokenizer.pad_token_id)
    with torch.no_grad():
        alone = encoder(text, torch.ones_like(text))
        ids = torch.cat([text, pad], dim=1)
        padded = encoder(ids, torch.cat([torch.ones_like(text), torch.zeros_like(pad)], dim=1))
    assert torch.allclose(alone, padded, atol=1e-5)
