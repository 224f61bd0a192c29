"""The last position is found under any padding, and the logits of three words are those of the whole head."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoConfig

from pairrank.encoders.decoder import (
    WordHead,
    can_share_beginnings,
    last_hidden,
    last_hidden_after,
    open_causal,
    pad_left,
)
from pairrank.encoders.inference import pad
from tests.support.architectures import CAUSAL, some_fast, write_checkpoint
from tests.support.language_models import ROOM, write_language_model, write_recurrent_model
from tests.support.runs import complaint

WORDS = (5, 9, 2)


def opened(folder: Path, name: str) -> Any:
    model, _ = open_causal(write_language_model(folder, name), ROOM, True, {"dtype": torch.float32})
    return model.eval()


def some_rows(model: Any, lengths: tuple[int, ...] = (5, 40, 1, 17, 33, 8, 64, 20)) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, model.config.vocab_size, length).astype(np.int32) for length in lengths]


@torch.no_grad()
def last_of_each(model: Any, rows: list[np.ndarray]) -> torch.Tensor:
    """The hidden states of the last tokens, one text at a time and without any mask."""
    texts = [torch.from_numpy(row).long()[None] for row in rows]
    return torch.stack([model(input_ids=ids).last_hidden_state[0, -1] for ids in texts])


@pytest.mark.parametrize("name", some_fast(CAUSAL))
def test_eight_texts_at_once_give_the_same_as_one_under_either_padding(name: str, tmp_path: Path):
    model = opened(tmp_path, name).base_model
    rows = some_rows(model)
    expected = last_of_each(model, rows)
    assert expected.std(dim=0).min() > 1e-3
    for batch in (pad(rows, 0), pad_left(rows), pad(rows, 7)):
        with torch.no_grad():
            assert torch.allclose(last_hidden(model, **batch), expected, atol=1e-5)


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("name", some_fast(CAUSAL))
def test_texts_after_one_beginning_give_the_same_as_whole_texts(name: str, share: bool, tmp_path: Path):
    model = opened(tmp_path, name).base_model
    beginnings, ends = some_rows(model, (5, 33, 12)), some_rows(model, (40, 7, 21, 3, 30, 16))
    rest = {key: value.view(3, 2, -1) for key, value in pad(ends, 0).items()}
    begun = pad_left(beginnings)
    with torch.no_grad():
        found = last_hidden_after(model, begun["input_ids"], begun["attention_mask"], **rest, share=share)
    whole = [np.concatenate([beginnings[i // 2], end]) for i, end in enumerate(ends)]
    assert torch.allclose(found.flatten(0, 1), last_of_each(model, whole), atol=1e-5)


@pytest.mark.parametrize("name", some_fast(CAUSAL))
def test_attention_can_share_a_beginning(name: str, tmp_path: Path):
    assert can_share_beginnings(tmp_path, opened(tmp_path, name).base_model)


def test_recurrent_layers_cannot_share_a_beginning(tmp_path: Path):
    model, _ = open_causal(write_recurrent_model(tmp_path, "mamba"), ROOM, True, {"dtype": torch.float32})
    assert not can_share_beginnings(tmp_path, model.eval().base_model)


def test_a_decoder_that_reads_padding_is_refused(tmp_path: Path):
    """RWKV ignores the attention mask, so that padding on the left changes its state."""
    model, _ = open_causal(write_recurrent_model(tmp_path, "rwkv"), ROOM, True, {"dtype": torch.float32})
    message = complaint(lambda: can_share_beginnings(tmp_path, model.eval().base_model))
    assert "rwkv reads a text differently after padding" in message
    assert 'set head to "trained"' in message


@pytest.mark.parametrize("name", some_fast(CAUSAL))
def test_the_logits_of_words_are_those_of_the_whole_head(name: str, tmp_path: Path):
    model = opened(tmp_path, name)
    check_words(model)


@pytest.mark.parametrize(
    ("model_type", "change"),
    [
        ("granite", {"logits_scaling": 8.0}),
        ("cohere", {"logit_scale": 0.0625}),
        ("gemma2", {"num_key_value_heads": 1}),
        ("phi", {}),
    ],
)
def test_logits_that_are_scaled_bounded_or_shifted_are_known(model_type: str, change: dict[str, Any]):
    narrow = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    config = AutoConfig.for_model(
        model_type, vocab_size=50, pad_token_id=0, bos_token_id=1, eos_token_id=1, **narrow, **change
    )
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for part in model.parameters():
            part.add_(0.3 * torch.randn_like(part))
    check_words(model)


@torch.no_grad()
def check_words(model: Any) -> None:
    ids = torch.from_numpy(some_rows(model, (12,))[0] % model.config.vocab_size).long()[None]
    expected = model(input_ids=ids).logits[0, -1, list(WORDS)]
    assert expected.std() > 1e-2
    hidden = last_hidden(model.base_model, ids, torch.ones_like(ids))
    assert torch.allclose(WordHead(model, WORDS)(hidden)[0], expected, atol=1e-5)


def test_a_head_that_is_not_understood_is_refused(tmp_path: Path):
    model = opened(tmp_path, "llama")
    model.get_output_embeddings().register_forward_hook(lambda _, given, logits: 3 * logits)
    message = complaint(lambda: WordHead(model, WORDS))
    assert "logits of llama are computed in a way that is not known" in message
    assert 'set head to "trained"' in message


@pytest.mark.parametrize("name", ["bert", "t5", "modernbert"])
def test_an_encoder_that_is_not_causal_is_refused(name: str, tmp_path: Path):
    folder = write_checkpoint(tmp_path, name)
    message = complaint(lambda: open_causal(folder, 64, False, {}))
    assert f"{name} is not a causal language model" in message
    assert "smollm2" in message


def test_a_checkpoint_without_its_language_model_head_is_refused_only_where_that_is_needed(tmp_path: Path):
    folder = write_checkpoint(tmp_path, "llama", tie_word_embeddings=False)
    assert "lm_head.weight is missing" in complaint(lambda: open_causal(folder, 64, True, {}))
    open_causal(folder, 64, False, {})


def test_a_window_beyond_the_positions_is_refused(tmp_path: Path):
    folder = write_checkpoint(tmp_path, "gpt2")
    assert "positions for 64 tokens. Set max_tokens to 64" in complaint(lambda: open_causal(folder, 65, False, {}))
