import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import AutoModel, AutoTokenizer

from pairrank.data.battles import Battles
from pairrank.encoders import catalogue, embedding
from pairrank.encoders.catalogue import find_encoder
from pairrank.encoders.embedding import Embedder
from pairrank.errors import UserError
from pairrank.evaluation.scoring import log_loss
from pairrank.files import sha256_of
from pairrank.models.base import build
from pairrank.models.frozen import Frozen
from pairrank.models.saving import load_model, save_model
from tests.support.architectures import WINDOW, write_checkpoint
from tests.support.battles import WORDS, arena_of_words, conversations
from tests.support.reward_models import CHAT, KINDS

TURNS = st.lists(st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join), min_size=1, max_size=3).map(tuple)
BATTLES = st.lists(st.tuples(TURNS, TURNS, TURNS), min_size=1, max_size=12).map(lambda rows: conversations(*rows))
HEADS = ["logistic", "difference"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PAIRRANK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PAIRRANK_NO_CACHE", raising=False)
    return tmp_path / "cache" / "vectors.sqlite"


@pytest.fixture(scope="module")
def fitted(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Frozen]:
    """Return a model of each head and precision, fitted once for properties that are tested on many battles."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAIRRANK_NO_CACHE", "1")
        return {
            (head, precision): make(tiny_bert, head=head, precision=precision).fit(arena_of_words(40))
            for head in HEADS
            for precision in ("fp32", "bf16")
        }


def make(encoder: Path, **options) -> Frozen:
    return Frozen(**{"encoder": [str(encoder)], "max_tokens": WINDOW, "steps": 40, "hidden": 8} | options)


def no_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Embedder, "_module", property(lambda _: pytest.fail("an encoder was loaded")))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@given(battles=BATTLES)
@settings(
    deadline=None,
    max_examples=8,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_predicting_commutes_with_swapping(fitted, head: str, precision: str, battles: Battles):
    model = fitted[head, precision]
    swapped = model.predict_proba(battles.swap())[:, [1, 0, 2]]
    assert swapped == pytest.approx(model.predict_proba(battles), abs=1e-6)


@pytest.mark.parametrize("head", HEADS)
def test_it_learns_which_word_wins(tiny_bert: Path, head: str):
    battles, unseen = arena_of_words(200), arena_of_words(100, seed=9)
    model = make(tiny_bert, head=head, penalty=3.0, steps=200).fit(battles)
    prior = np.tile(np.bincount(battles.labels, minlength=3) / 200, (100, 1))
    assert log_loss(model.predict_proba(unseen), unseen.labels) < log_loss(prior, unseen.labels) - 0.05


def test_another_head_uses_the_cached_vectors(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch):
    battles = arena_of_words(30)
    make(tiny_bert).fit(battles)
    no_encoding(monkeypatch)
    model = make(tiny_bert, head="difference").fit(battles)
    assert model.predict_proba(battles.swap()).shape == (30, 3)


def test_without_a_cache_nothing_is_saved(tiny_bert: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    battles = arena_of_words(12)
    kept = make(tiny_bert).fit(battles).predict_proba(battles)
    assert cache.is_file()
    cache.unlink()
    monkeypatch.setenv("PAIRRANK_NO_CACHE", "1")
    assert np.array_equal(make(tiny_bert).fit(battles).predict_proba(battles), kept)
    assert not cache.exists()


@pytest.mark.parametrize("head", HEADS)
def test_load_refuses_another_encoder_than_the_one_it_was_trained_on(tmp_path: Path, head: str):
    encoder = write_checkpoint(tmp_path / "encoder", "bert")
    model = make(encoder, head=head).fit(arena_of_words(12))
    save_model(model, tmp_path / "saved")
    battles = arena_of_words(9, seed=2)
    assert np.array_equal(load_model(tmp_path / "saved").predict_proba(battles), model.predict_proba(battles))
    write_checkpoint(encoder, "distilbert")
    with pytest.raises(UserError, match=r"trained on an encoder with SHA-256 \w{64}, but .* now has \w{64}"):
        load_model(tmp_path / "saved")


def test_the_difference_head_learns_soft_targets_and_the_logistic_head_refuses_them(tiny_bert: Path):
    battles = arena_of_words(60)
    ties = replace(battles, soft=np.tile([0.05, 0.05, 0.9], (60, 1)))
    options = {"head": "difference", "steps": 200, "hold_out": 0.0, "learning_rate": 1e-2}
    soft, hard = (
        make(tiny_bert, **options, soft_targets=s).fit(ties).predict_proba(battles) for s in (True, False)
    )
    assert soft[:, 2].mean() > 0.7 > hard[:, 2].mean()
    with pytest.raises(UserError, match="a logistic head learns from winners only"):
        build("frozen", soft_targets=True)


def test_held_out_prompts_choose_the_best_step(tiny_bert: Path):
    battles = arena_of_words(80)
    options = {"head": "difference", "learning_rate": 0.05, "head_dropout": 0.0, "weight_decay": 0.0, "steps": 300}
    stopped, greedy = (make(tiny_bert, **options, hold_out=share).fit(battles) for share in (0.3, 0.0))
    unseen = arena_of_words(200, seed=5)
    losses = [log_loss(model.predict_proba(unseen), unseen.labels) for model in (stopped, greedy)]
    assert losses[0] < losses[1]


@pytest.mark.parametrize("key", ["max_tokens", "penalty", "hidden", "learning_rate", "steps"])
def test_values_out_of_bounds_are_refused_by_name(key: str):
    with pytest.raises(UserError, match=f"model 'frozen': {key} = 0"):
        build("frozen", **{key: 0})


def test_fit_refuses_no_battles(tiny_bert: Path):
    with pytest.raises(UserError, match="no battles to learn from"):
        make(tiny_bert).fit(arena_of_words(1).take(slice(0)))


def test_a_static_encoder_works_without_a_window_limit(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch):
    from pairrank.encoders import catalogue

    monkeypatch.setitem(catalogue.STATIC, "tiny-static", str(tiny_bert))
    battles = arena_of_words(200)
    model = Frozen(encoder=["tiny-static"], max_tokens=4_096, penalty=1.0).fit(battles)
    swapped = model.predict_proba(battles.swap())[:, [1, 0, 2]]
    assert swapped == pytest.approx(model.predict_proba(battles), abs=1e-6)
    assert embedding.is_static(model.encoder_.folder)
    assert log_loss(model.predict_proba(battles), battles.labels) < 1.05


def of_few_words(source: Path, folder: Path, words: list[str], first: int = 2_500) -> Path:
    """Write an encoder with the weights of `source`, the first tokens of its vocabulary and these words."""
    model = AutoModel.from_pretrained(source, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
    kept = [*range(first), *(i for i in map(tokenizer.convert_tokens_to_ids, words) if i >= first)]
    model.set_input_embeddings(nn.Embedding.from_pretrained(model.get_input_embeddings().weight[kept]))
    model.config.vocab_size = len(kept)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer.json"
    parts = json.loads(file.read_text(encoding="utf-8"))
    parts["model"]["vocab"] = {tokenizer.convert_ids_to_tokens(old): new for new, old in enumerate(kept)}
    file.write_text(json.dumps(parts), encoding="utf-8")
    return folder


@pytest.mark.slow
def test_the_static_encoder_of_the_real_weights_finds_similar_words(minilm, tmp_path, monkeypatch):
    """Uses a tenth of the vocabulary, which takes a tenth of the time."""
    texts = ["a small dog", "the little puppy", "quarterly tax report"]
    folder = of_few_words(minilm.folder, tmp_path / "few", " ".join(texts).split())
    monkeypatch.setitem(catalogue.STATIC, "few-static", str(folder))
    vectors = Embedder(find_encoder(["few-static"]), max_tokens=64).vectors([((text,),) for text in texts])
    dog, puppy, tax = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert dog @ puppy > dog @ tax + 0.2


@pytest.mark.parametrize("head", HEADS)
def test_a_chat_template_is_used_if_it_is_named_and_keeps_the_swap_law(tmp_path: Path, head: str):
    folder, battles = write_checkpoint(tmp_path / "chatty", KINDS["llama"], chat=CHAT), arena_of_words(9, seed=3)
    plain, chat = (
        make(folder, head=head, precision="fp32", **more).fit(arena_of_words(24))
        for more in ({}, {"template": "chat"})
    )
    found = chat.predict_proba(battles)
    assert np.abs(found - plain.predict_proba(battles)).max() > 1e-3
    assert chat.predict_proba(battles.swap())[:, [1, 0, 2]] == pytest.approx(found, abs=1e-6)
    save_model(chat, tmp_path / "saved")
    assert np.array_equal(load_model(tmp_path / "saved").predict_proba(battles), found)


@pytest.mark.parametrize("head", HEADS)
def test_pooling_over_the_answer_keeps_the_swap_law_and_is_saved(tiny_bert: Path, tmp_path: Path, head: str):
    battles = arena_of_words(9, seed=3)
    mean, answer = (
        make(tiny_bert, head=head, precision="fp32", pooling=pooling).fit(arena_of_words(24))
        for pooling in ("mean", "answer")
    )
    found = answer.predict_proba(battles)
    assert np.abs(found - mean.predict_proba(battles)).max() > 1e-3
    assert answer.predict_proba(battles.swap())[:, [1, 0, 2]] == pytest.approx(found, abs=1e-6)
    save_model(answer, tmp_path)
    assert np.array_equal(load_model(tmp_path).predict_proba(battles), found)


def test_pooling_over_the_answer_is_refused_for_a_static_encoder(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(catalogue.STATIC, "tiny-static", str(tiny_bert))
    with pytest.raises(UserError, match=r'pooling = "answer": .* static encoder'):
        Frozen(encoder=["tiny-static"], pooling="answer").fit(arena_of_words(9))


def test_a_saved_file_without_a_head_is_refused_when_it_is_opened(tiny_bert: Path, tmp_path: Path):
    save_model(make(tiny_bert).fit(arena_of_words(9)), tmp_path)
    (tmp_path / "logistic.json").write_text("{}")
    saved = json.loads((tmp_path / "model.json").read_text())
    saved["files"]["logistic.json"] = sha256_of(tmp_path / "logistic.json")
    (tmp_path / "model.json").write_text(json.dumps(saved))
    with pytest.raises(UserError, match="damaged file, or a file of another format"):
        load_model(tmp_path)
