"""A causal decoder is read at its last token, which is the same for every text; other encoders by their mean."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pairrank.encoders.architecture import choose_pooling, has_causal_encoder, is_causal, lacks_decoder
from pairrank.encoders.opening import open_config
from pairrank.encoders.side_windows import side_texts
from pairrank.encoders.transformer import TextEncoder, last_token
from pairrank.encoders.windows import encode, special_token_wrapper, template_rows
from pairrank.errors import UserError
from tests.support.architectures import ARCHITECTURES, CAUSAL, reference, some_fast, write_checkpoint
from tests.support.battles import plain_battles


def sees_later_tokens(folder: Path) -> bool:
    """Whether another last token changes the vector of the first."""
    encoder = TextEncoder(folder, "mean").eval().transformer.model
    ids = torch.arange(7, 15).repeat(2, 1)
    ids[1, -1] = 20
    with torch.no_grad():
        first = encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[:, 0]
    return not torch.allclose(*first, atol=1e-6)


@pytest.mark.parametrize("name", some_fast(ARCHITECTURES))
def test_is_causal_is_what_the_model_does(tmp_path: Path, name: str):
    folder = write_checkpoint(tmp_path, name)
    assert has_causal_encoder(folder) == ARCHITECTURES[name].causal == (not sees_later_tokens(folder))
    assert choose_pooling("auto", folder) == ("last" if ARCHITECTURES[name].causal else "mean")


@pytest.mark.parametrize(
    ("name", "settings", "causal"),
    [
        ("bert", {"is_decoder": True}, True),
        ("gemma3", {"use_bidirectional_attention": True}, False),
        ("qwen2", {"is_causal": False}, False),
    ],
)
def test_a_configuration_may_turn_the_causal_mask_on_or_off(tmp_path: Path, name, settings, causal):
    folder = write_checkpoint(tmp_path, name, **settings)
    assert is_causal(open_config(folder)) == causal == (not sees_later_tokens(folder))


def test_only_the_encoder_alone_lacks_a_decoder(tmp_path: Path):
    assert lacks_decoder(open_config(write_checkpoint(tmp_path / "alone", "t5")))
    whole = write_checkpoint(tmp_path / "whole", "t5", head="T5ForConditionalGeneration")
    assert not lacks_decoder(open_config(whole))
    assert not lacks_decoder(open_config(write_checkpoint(tmp_path / "bert", "bert")))


@pytest.mark.parametrize("side", ["left", "right"])
def test_last_token_is_that_of_the_mask_on_either_side(side: str):
    vectors = torch.arange(24.0).view(3, 4, 2)
    lengths = (4, 2, 1)
    places = torch.arange(4)
    shown = [places < n if side == "right" else places >= 4 - n for n in lengths]
    found = last_token(vectors, torch.stack(shown).long())
    last = [n - 1 if side == "right" else 3 for n in lengths]
    assert found.tolist() == [vectors[row, place].tolist() for row, place in enumerate(last)]


@pytest.mark.parametrize("name", some_fast(CAUSAL))
def test_the_vector_of_a_text_is_that_of_its_last_token_as_transformers_gives_it(tmp_path: Path, name: str):
    folder = write_checkpoint(tmp_path, name)
    encoder = TextEncoder(folder, "auto").eval()
    wrap, _ = special_token_wrapper(encoder.tokenizer, 2, encoder.closed)
    prompt, answer = (np.array(ids, dtype=np.int32) for ids in encode(encoder.tokenizer, ["why how", "good"]))
    rows = [wrap(prompt, answer), wrap(answer, prompt[:1])]
    with torch.no_grad():
        found = encoder(**encoder.collate(rows))
        for row, vector in zip(rows, found, strict=True):
            alone = reference(folder)(input_ids=torch.from_numpy(row)[None].long()).last_hidden_state[0, -1]
            assert torch.allclose(vector, alone, atol=1e-5)


@pytest.mark.parametrize("name", some_fast(ARCHITECTURES))
def test_the_last_token_survives_every_cut(tmp_path: Path, name: str):
    tokenizer = TextEncoder(write_checkpoint(tmp_path, name), "auto").tokenizer
    long = " ".join(["red"] * 80)
    battles = plain_battles(("why", "yes", "no"), (long, long, long), ("", "", ""), (long, "", "no"))
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    for window in (40, 64):
        rows, _ = template_rows(battles, tokenizer, window, closed=True)
        whole, _ = template_rows(battles, tokenizer, window, "right", closed=True)
        sides, _ = side_texts(battles, tokenizer, window, closed=True)
        texts = [*rows, *whole, *(text for row in sides for text in (row.a, row.b))]
        assert {int(text[-1]) for text in texts} == {end}
        assert max(map(len, texts)) == window


@pytest.mark.parametrize("name", some_fast(ARCHITECTURES))
def test_prompt_and_answer_never_run_together(tmp_path: Path, name: str):
    tokenizer = TextEncoder(write_checkpoint(tmp_path, name), "auto").tokenizer
    one, other = side_texts(plain_battles(("why", "good", "bad"), ("why good", "", "bad")), tokenizer, 40)[0]
    assert one.a.tolist() != other.a.tolist()
    [prompt], [answer] = (encode(tokenizer, [text]) for text in ("why", "good"))
    row = one.a.tolist()
    start = next(i for i in range(len(row)) if row[i : i + len(prompt)] == prompt) + len(prompt)
    end = next(i for i in range(start, len(row)) if row[i : i + len(answer)] == answer)
    ends = {tokenizer.eos_token_id, tokenizer.sep_token_id}
    if ARCHITECTURES[name].causal:
        assert row[start:end] == encode(tokenizer, ["\n\n"])[0]
    else:
        assert {*row[start:end]} <= ends
    assert end > start


def test_the_first_token_of_a_decoder_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match='pooling = "cls" reads the first token, which sees no other one'):
        TextEncoder(write_checkpoint(tmp_path, "gpt2"), "cls")
