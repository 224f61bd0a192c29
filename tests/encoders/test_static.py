from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from pairrank.encoders import static as module
from pairrank.encoders.catalogue import Encoder, find_encoder
from pairrank.encoders.inference import compute_outputs
from pairrank.encoders.static import (
    StaticEncoder,
    is_static,
    principal_components,
    static_encoder,
    weight_by_frequency,
)
from pairrank.encoders.transformer import TextEncoder
from pairrank.errors import UserError


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PAIRRANK_CACHE", str(tmp_path))
    return tmp_path


def test_a_static_vector_is_the_weighted_projection_of_the_source_vector(tiny_bert: Path, cached: Path):
    encoder = StaticEncoder(static_encoder(tiny_bert, "0" * 64))
    source = AutoModel.from_pretrained(tiny_bert, local_files_only=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert, local_files_only=True)
    ids = tokenizer(["good", "bad", "apple"], return_tensors="pt")
    with torch.no_grad():
        alone = source(**ids).last_hidden_state.mean(dim=1).double().numpy()
    rows = [np.array([token], dtype=np.int32) for token in ids["input_ids"][:, 1].tolist()]
    static = compute_outputs(encoder, rows, encoder.collate)
    # All 32 components are kept, so distances survive the turn; the weights are those of the rank.
    ranks = np.array([row[0] + 1 for row in rows])
    total = (1 / np.arange(1, len(tokenizer) + 1)).sum()
    weights = 1e-3 / (1e-3 + 1 / ranks / total)
    unweighted = static / weights[:, None]
    for i, j in ((0, 1), (1, 2), (0, 2)):
        assert np.linalg.norm(unweighted[i] - unweighted[j]) == pytest.approx(
            np.linalg.norm(alone[i] - alone[j]), rel=1e-4
        )


def test_a_text_is_the_mean_of_its_tokens_and_special_tokens_are_zero(tiny_bert: Path, cached: Path):
    encoder = StaticEncoder(static_encoder(tiny_bert, "0" * 64))
    good, bad, mark = (
        np.array([encoder.tokenizer.convert_tokens_to_ids(word)], dtype=np.int32)
        for word in ("good", "bad", "[SEP]")
    )
    text = np.concatenate([good, bad, bad])
    one, two, marked, whole = compute_outputs(encoder, [good, bad, mark, text], encoder.collate)
    assert whole == pytest.approx((one + 2 * two) / 3, abs=1e-6)
    assert not marked.any()


def test_a_static_encoder_is_built_once_and_again_only_if_damaged(tiny_bert: Path, cached: Path, monkeypatch):
    folder = static_encoder(tiny_bert, "0" * 64)
    assert is_static(folder)
    assert not is_static(tiny_bert)
    written = (folder / "model.safetensors").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(module, "build", lambda *_: pytest.fail("built again"))
        assert static_encoder(tiny_bert, "0" * 64) == folder
    (folder / "model.safetensors").write_bytes(written[:-1])
    static_encoder(tiny_bert, "0" * 64)
    assert (folder / "model.safetensors").read_bytes() == written
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_an_interrupted_build_leaves_nothing(tiny_bert: Path, cached: Path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "sha256_of", interrupted)  # when the vectors are written
    with pytest.raises(KeyboardInterrupt):
        static_encoder(tiny_bert, "0" * 64)
    assert not list((cached / "encoders").iterdir())


def test_frequent_tokens_count_less():
    norms = np.linalg.norm(weight_by_frequency(np.ones((1_000, 4))), axis=1)
    assert (np.diff(norms) > 0).all()
    assert norms[0] < 0.01 * norms[-1]


def test_principal_components_keep_the_most_variance():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 6)) * [9, 5, 3, 0.1, 0.1, 0.1]
    scores = principal_components(vectors, 3)
    centred = vectors - vectors.mean(axis=0)
    assert scores.shape == (200, 3)
    assert (scores**2).sum() == pytest.approx((np.linalg.svd(centred)[1][:3] ** 2).sum())


def test_find_encoder_returns_a_static_encoder_with_the_hash_of_its_own_vectors(
    tiny_bert: Path, cached: Path, monkeypatch
):
    from pairrank.encoders import catalogue

    monkeypatch.setitem(catalogue.STATIC, "tiny-static", str(tiny_bert))
    found = find_encoder(["tiny-static"])
    assert isinstance(found, Encoder)
    assert found.name == "tiny-static"
    assert found.sha256 != find_encoder([str(tiny_bert)]).sha256
    with pytest.raises(UserError, match="has no layers to train"):
        TextEncoder(found.folder, "mean")
