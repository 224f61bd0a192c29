from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from pairrank.encoders import embedding
from pairrank.encoders.cached_batches import BATCH, Text
from pairrank.encoders.catalogue import Encoder
from pairrank.encoders.embedding import Embedder
from pairrank.errors import UserError
from pairrank.vector_cache import VectorCache
from tests.support.architectures import write_checkpoint
from tests.support.reward_models import CHAT, KINDS

TEXTS: list[Text] = [
    (("why how",),),
    (("good",),),
    (("why how",), ("good", "bad apple")),
    (("",),),
    (("red blue one two three four five six " * 20 + "cat dog",),),
    (("good",),),
]


@pytest.fixture
def cache(tmp_path: Path) -> VectorCache:
    return VectorCache(tmp_path / "vectors.sqlite")


def embedder(folder: Path, cache: VectorCache | None = None, **options) -> Embedder:
    return Embedder(
        Encoder("tiny", folder, "0" * 64),
        **{"max_tokens": 32, "precision": "fp32"} | options,
        cache=cache,
    )


def many(n: int = 150) -> list[Text]:
    return [((f"why {i} " + "red " * (i % 17),),) for i in range(n)]


def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of texts in each batch that is encoded from now on."""
    seen: list[int] = []
    inner = embedding.compute_outputs

    def counting(module, rows, *rest, **options):
        seen.append(len(rows))
        return inner(module, rows, *rest, **options)

    monkeypatch.setattr(embedding, "compute_outputs", counting)
    return seen


def test_a_vector_is_the_mean_over_the_tokens_as_transformers_gives_them(tiny_bert: Path):
    vectors = embedder(tiny_bert, max_tokens=64).vectors(TEXTS)
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert, local_files_only=True)
    model = AutoModel.from_pretrained(tiny_bert, local_files_only=True).eval()
    for i, texts in ((0, ["why how"]), (1, ["good"]), (3, [""]), (2, ["why how", "good\nbad apple"])):
        with torch.no_grad():
            ids = tokenizer(*texts, return_tensors="pt")["input_ids"]
            hidden = model(input_ids=ids).last_hidden_state
        assert vectors[i] == pytest.approx(hidden.mean(dim=1)[0].numpy(), abs=1e-5), texts
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors[1], vectors[5])


def test_a_pair_in_a_chat_has_the_vector_of_the_rendered_template_and_a_single_text_stays_plain(
    tmp_path: Path, cache: VectorCache
):
    folder = write_checkpoint(tmp_path / "chatty", KINDS["llama"], chat=CHAT)
    options = {"pooling": "last", "max_tokens": 64}
    plain = embedder(folder, cache, **options).vectors(TEXTS[:3])
    entries = cache.size()[0]
    vectors = embedder(folder, cache, template="chat", **options).vectors(TEXTS[:3])
    assert cache.size()[0] == entries + 1
    assert np.array_equal(vectors[:2], plain[:2])
    assert not np.allclose(vectors[2], plain[2], atol=1e-3)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    asked, answered = (
        {"role": role, "content": text} for role, text in (("user", "why how"), ("assistant", "red"))
    )
    [vector] = embedder(folder, template="chat", **options).vectors([(("why how",), ("red",))])
    ids = tokenizer.apply_chat_template([asked, answered], return_dict=False, return_tensors="pt")
    with torch.no_grad():
        expected = model(input_ids=ids).last_hidden_state[0, -1]
    assert vector == pytest.approx(expected.numpy(), abs=1e-5)


@pytest.mark.parametrize("kind", ["bert", "llama", "chat"])
def test_answers_have_vectors_and_cache_entries_of_their_own_and_texts_alone_the_mean_of_all_tokens(
    tmp_path: Path, cache: VectorCache, kind: str
):
    folder = write_checkpoint(tmp_path / kind, KINDS["llama" if kind == "chat" else kind], chat=CHAT)
    options = {"max_tokens": 64, "template": "chat" if kind == "chat" else "plain"}
    mean = embedder(folder, cache, pooling="mean", **options).vectors(TEXTS)
    entries = cache.size()[0]
    found = embedder(folder, cache, pooling="answer", **options).vectors(TEXTS)
    assert cache.size()[0] == 2 * entries
    assert np.array_equal(embedder(folder, cache, pooling="mean", **options).vectors(TEXTS), mean)
    alone = [i for i, text in enumerate(TEXTS) if len(text) == 1]
    assert found[alone] == pytest.approx(mean[alone], abs=1e-5)
    assert np.abs(found[2] - mean[2]).max() > 1e-3


def test_the_vector_of_an_answer_is_the_mean_over_its_tokens_and_over_all_if_it_has_none(tiny_bert: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert, local_files_only=True)
    model = AutoModel.from_pretrained(tiny_bert, local_files_only=True).eval()
    encoded = tokenizer("why how", "good bad", return_tensors="pt")
    of_answer = torch.tensor([part == 1 for part in encoded.sequence_ids()])
    for answer, ids, pooled in (
        ("good bad", encoded["input_ids"], of_answer),
        ("", encoded["input_ids"][:, ~of_answer], slice(None)),
    ):
        [vector] = embedder(tiny_bert, pooling="answer").vectors([(("why how",), (answer,))])
        with torch.no_grad():
            hidden = model(input_ids=ids).last_hidden_state[0]
        assert vector == pytest.approx(hidden[pooled].mean(dim=0).numpy(), abs=1e-5), answer


def test_cached_texts_are_not_encoded_and_no_encoder_is_loaded(tiny_bert: Path, cache: VectorCache, monkeypatch):
    first = embedder(tiny_bert, cache).vectors(TEXTS)
    monkeypatch.setattr(Embedder, "_module", property(lambda _: pytest.fail("an encoder was loaded")))
    again = embedder(tiny_bert, cache).vectors(TEXTS[::-1])
    assert np.array_equal(again[::-1], first)
    assert np.array_equal(first, first)


def test_every_setting_that_changes_a_vector_makes_another_cache_entry(tiny_bert: Path, cache: VectorCache):
    plain = embedder(tiny_bert, cache).vectors(TEXTS)
    count = cache.size()[0]
    others = [
        {"pooling": "cls"},
        {"max_tokens": 16},
        {"budget": "head+tail"},
        {"precision": "bf16"},
        {"bits": 16},
        {"encoder": Encoder("tiny", tiny_bert, "1" * 64)},
    ]
    for i, change in enumerate(others, 2):
        settings = {
            "encoder": Encoder("tiny", tiny_bert, "0" * 64),
            "max_tokens": 32,
            "precision": "fp32",
        } | change
        changed = Embedder(**settings, cache=cache).vectors(TEXTS)
        assert cache.size()[0] == i * count, change
        if "encoder" not in change:
            assert not np.array_equal(changed, plain), change


def test_an_interrupted_encoding_that_is_repeated_has_the_very_same_vectors(
    tiny_bert: Path, tmp_path: Path, monkeypatch
):
    """In bf16 the last digits depend on the batch. `test_cached_batches` interrupts at other moments as well."""
    undisturbed = embedder(tiny_bert, VectorCache(tmp_path / "a.sqlite"), precision="bf16").vectors(many())
    cache = VectorCache(tmp_path / "b.sqlite")
    batches = 0

    def dying(self, vectors, put=VectorCache.put):
        nonlocal batches
        if batches == 1:
            raise KeyboardInterrupt
        batches += 1
        put(self, vectors)

    with monkeypatch.context() as patched:
        patched.setattr(VectorCache, "put", dying)
        with pytest.raises(KeyboardInterrupt):
            embedder(tiny_bert, cache, precision="bf16").vectors(many())
    assert cache.size()[0] == BATCH
    seen = encoded(monkeypatch)
    assert np.array_equal(embedder(tiny_bert, cache, precision="bf16").vectors(many()), undisturbed)
    assert len(seen) == 4


def test_a_damaged_entry_is_encoded_again(tiny_bert: Path, cache: VectorCache):
    import sqlite3

    first = embedder(tiny_bert, cache).vectors(many(40))
    with sqlite3.connect(cache.file) as database:
        database.execute("UPDATE vectors SET vector = zeroblob(128) WHERE rowid IN (1, 35)")
    assert np.array_equal(embedder(tiny_bert, cache).vectors(many(40)), first)
    with sqlite3.connect(cache.file) as database:
        zeros = database.execute("SELECT COUNT(*) FROM vectors WHERE vector = zeroblob(128)").fetchone()
    assert zeros == (0,)


def test_a_window_longer_than_the_encoders_positions_is_refused(tiny_bert: Path):
    with pytest.raises(UserError, match="max_tokens = 65: tiny has positions for 64 tokens"):
        embedder(tiny_bert, max_tokens=65).vectors(TEXTS)


def test_a_window_without_room_is_refused(tiny_bert: Path):
    with pytest.raises(UserError, match=r"max_tokens = 4: .*no room for a text\. Set it to 5 or more"):
        embedder(tiny_bert, max_tokens=4).vectors(TEXTS)


def test_another_tokenizer_makes_another_entry(tmp_path: Path, cache: VectorCache):
    folder = write_checkpoint(tmp_path / "encoder", "bert")
    embedder(folder, cache).vectors(TEXTS)
    count = cache.size()[0]
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text + "\n")
    embedder(folder, cache).vectors(TEXTS)
    assert cache.size()[0] == 2 * count


def test_no_texts_give_no_vectors(tiny_bert: Path):
    assert len(embedder(tiny_bert).vectors([])) == 0
