from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, BertConfig, BertForMaskedLM

from pairrank.data.battles import Battles
from pairrank.encoders import likelihoods
from pairrank.encoders.cached_batches import Text
from pairrank.encoders.catalogue import Encoder
from pairrank.encoders.likelihoods import STATISTICS, LikelihoodReader, likelihood_features
from pairrank.encoders.quiet import quiet_transformers
from pairrank.errors import UserError
from pairrank.vector_cache import VectorCache
from tests.support.battles import arena_of_words, conversations
from tests.support.language_models import MARKS, byte_tokenizer, write_byte_model

TEXTS: list[Text] = [
    (("Why?",), ("Because of it.",)),
    (("Why?",), ("",)),
    (("",), ("x",)),
    (("one", "two"), ("three", "four")),
    (("é😀",), ("long " * 20,)),
]


def reader(folder: Path, cache: VectorCache | None = None, **options) -> LikelihoodReader:
    settings = {"max_tokens": 200, "precision": "fp32"} | options
    return LikelihoodReader(Encoder("tiny", folder, "0" * 64), **settings, cache=cache)


def many(n: int = 80) -> list[Text]:
    return [((f"why {i}",), ("red " * (i % 17),)) for i in range(n)]


def expected(folder: Path, prompt: str, answer: str) -> list[float]:
    """The statistics of a conversation of one round, from the logits of transformers and from numpy."""
    tokenizer = byte_tokenizer(None)
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
    pieces = [f"{MARKS[1]}u:", prompt, f"{MARKS[0]}{MARKS[1]}a:", f"{answer}{MARKS[0]}"]
    ids = [tokenizer(piece)["input_ids"] for piece in pieces]
    row = torch.tensor([[token for part in ids for token in part]])
    with torch.no_grad():
        logs = model(row).logits.double().log_softmax(-1)[0].numpy()
    scores = np.array([logs[i - 1, token] for i, token in enumerate(row[0].tolist())][1:])
    ends = np.cumsum([len(part) for part in ids]) - 1
    asked, said = scores[ends[0] : ends[1]], scores[ends[2] :]
    quarter = int(np.ceil(len(said) / 4))
    quantiles = np.quantile(said, [0.1, 0.5, 0.9])
    ends = [said[:quarter].mean(), said[-quarter:].mean(), asked.mean() if len(asked) else 0.0]
    return [said.mean(), said.std(), *quantiles, *ends]


def test_the_statistics_are_those_of_the_logits_of_transformers(byte_language_model: Path):
    found = reader(byte_language_model).statistics(TEXTS)
    assert found.shape == (len(TEXTS), len(STATISTICS) + 1)
    assert found.dtype == np.float64
    for i in (0, 1, 2, 4):
        (prompt,), (answer,) = TEXTS[i]
        assert found[i] == pytest.approx(expected(byte_language_model, prompt, answer), abs=1e-4), TEXTS[i]


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "gemma2", "final_logit_softcapping": 3.0, "query_pre_attn_scalar": 16},
        {"model_type": "granite", "logits_scaling": 8.0},
    ],
)
def test_logits_that_are_bounded_or_scaled_are_known(tmp_path: Path, change):
    folder = write_byte_model(tmp_path, **change)
    found = reader(folder).statistics(TEXTS[:3])
    for row, ((prompt,), (answer,)) in zip(found, TEXTS[:3], strict=True):
        assert row == pytest.approx(expected(folder, prompt, answer), abs=1e-4)


def test_logits_in_small_pieces_give_the_same_statistics(byte_language_model: Path, monkeypatch):
    whole = reader(byte_language_model).statistics(TEXTS)
    sizes = []
    monkeypatch.setattr(likelihoods, "PIECE", 3 * 258)
    inner = likelihoods.cross_entropy
    monkeypatch.setattr(
        likelihoods, "cross_entropy", lambda logits, *a, **k: sizes.append(len(logits)) or inner(logits, *a, **k)
    )
    assert reader(byte_language_model).statistics(TEXTS) == pytest.approx(whole, abs=1e-5)
    assert max(sizes) == 3


def test_padding_does_not_change_the_statistics(byte_language_model: Path):
    alone = np.concatenate([reader(byte_language_model).statistics([text]) for text in TEXTS])
    assert reader(byte_language_model).statistics(TEXTS) == pytest.approx(alone, abs=1e-5)


def test_later_tokens_do_not_change_the_first_quarter(byte_language_model: Path):
    short, long = ((("Why?",), ("abcdefgh" + "z" * n,)) for n in (0, 24))
    found = reader(byte_language_model).statistics([short, long])
    # The first quarter of 33 tokens is 9, that of 9 tokens is 3: the first nine are read in both.
    assert found[0, -1] == pytest.approx(found[1, -1], abs=1e-6)
    assert not np.allclose(found[0, :-1], found[1, :-1], atol=1e-3)


def test_cached_texts_are_not_read_again_and_no_model_is_loaded(
    byte_language_model: Path, tmp_path: Path, monkeypatch
):
    cache = VectorCache(tmp_path / "vectors.sqlite")
    first = reader(byte_language_model, cache).statistics(TEXTS)
    monkeypatch.setattr(LikelihoodReader, "_model", property(lambda _: pytest.fail("a model was loaded")))
    assert np.array_equal(reader(byte_language_model, cache).statistics(TEXTS[::-1])[::-1], first)
    assert reader(byte_language_model, cache).statistics([]).shape == (0, len(STATISTICS) + 1)


def test_every_setting_that_changes_a_number_makes_another_entry(byte_language_model: Path, tmp_path: Path):
    cache = VectorCache(tmp_path / "vectors.sqlite")
    plain = reader(byte_language_model, cache).statistics(TEXTS)
    others = [{"max_tokens": 60}, {"max_tokens": 60, "budget": "head+tail"}, {"precision": "bf16"}, {"bits": 16}]
    for i, change in enumerate(others, 2):
        changed = reader(byte_language_model, cache, **change).statistics(TEXTS)
        assert cache.size()[0] == i * len(TEXTS), change
        assert not np.array_equal(changed, plain), change


def test_another_chat_template_makes_another_entry(tmp_path: Path):
    folder, cache = write_byte_model(tmp_path / "lm"), VectorCache(tmp_path / "vectors.sqlite")
    first = reader(folder, cache).statistics(TEXTS)
    file = folder / "chat_template.jinja"
    file.write_text(file.read_text().replace("|start|>{{", "|start|>THE {{"))
    assert not np.array_equal(reader(folder, cache).statistics(TEXTS), first)
    assert cache.size()[0] == 2 * len(TEXTS)


def test_features_of_swapped_battles_are_the_swapped_features(byte_language_model: Path, monkeypatch):
    monkeypatch.setenv("PAIRRANK_NO_CACHE", "1")
    encoder = Encoder("tiny", byte_language_model, "0" * 64)
    battles: Battles = conversations((("a",), ("b",), ("c" * 300,)), (("", "d"), ("e",), ("", "")))
    found, swapped = (likelihood_features(each, encoder, 64) for each in (battles, battles.swap()))
    assert np.array_equal(found.odd, -swapped.odd)
    assert np.array_equal(found.even, swapped.even)
    assert found.odd_names == tuple(f"likelihood.{name}" for name in STATISTICS)
    assert found.even_names[-1] == "likelihood.prompt"
    assert found.even.shape == (2, len(found.even_names))
    none = likelihood_features(arena_of_words(1).take(slice(0)), encoder, 64)
    assert (none.odd.shape, none.even.shape) == ((0, 7), (0, 15))


def test_a_model_that_is_not_causal_is_refused(tiny_bert: Path, tmp_path: Path):
    with pytest.raises(UserError, match="is not a causal language model"):
        reader(tiny_bert).statistics(TEXTS)
    masked = BertConfig(vocab_size=258, hidden_size=32, num_hidden_layers=2, num_attention_heads=2)
    masked.intermediate_size = 64
    with quiet_transformers():
        BertForMaskedLM(masked).save_pretrained(tmp_path)
        byte_tokenizer(None).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="is not a causal language model"):
        reader(tmp_path).statistics(TEXTS)


def test_a_window_longer_than_the_models_positions_is_refused(byte_language_model: Path):
    with pytest.raises(UserError, match=r"max_tokens = 513: .* has positions for 512 tokens"):
        reader(byte_language_model, max_tokens=513).statistics(TEXTS)


@pytest.mark.slow
def test_the_real_model_expects_what_is_true_and_fluent(smollm2):
    question = ("What is the capital of France?",)
    answers = [
        ("The capital of France is Paris.",),
        ("The capital of France is Berlin.",),
        ("is of France capital.",),
    ]
    found = LikelihoodReader(smollm2, max_tokens=128).statistics([(question, answer) for answer in answers])
    paris, berlin, jumbled = found[:, STATISTICS.index("mean")]
    assert 0 > paris > berlin > jumbled
