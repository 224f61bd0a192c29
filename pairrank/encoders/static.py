"""A static encoder has one vector per token and no layers; the vector of a text is the mean of its tokens' vectors.

It is built from an encoder with layers. Each token of the vocabulary goes through that encoder alone, the vectors
are reduced to their principal components, and frequent tokens get less weight. This is the distillation of
Model2Vec (Tulkens and van Dongen 2024) with the weights of smooth inverse frequency (Arora et al. 2017),
implemented here so that no further package is needed.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from pairrank.data.probabilities import FloatArray
from pairrank.encoders.inference import Batch
from pairrank.encoders.opening import opening
from pairrank.encoders.quiet import quiet_transformers
from pairrank.encoders.windows import Tokens, special_token_wrapper
from pairrank.files import cache_folder, read_json, sha256_of, write_json
from pairrank.progress import with_progress

DIMENSIONS = 256
"""Width of the vectors: principal components that are kept."""
SMOOTHING = 1e-3
"""a of the weight a / (a + p): a token of frequency a has weight 1/2."""
VERSION = 1
"""Version of the recipe; raise it whenever a change gives the same source other vectors."""
TOKENS_AT_ONCE = 512
"""Tokens of the vocabulary that go through the source encoder together."""
MARKER = "static.json"
"""File that marks the folder of a static encoder; it contains the hash of the vectors."""


def static_encoder(source: Path, source_sha256: str) -> Path:
    """Return the folder of the static encoder of `source`, in the user's cache; build it on first use."""
    folder = cache_folder() / "encoders" / f"static-{source_sha256[:16]}-{VERSION}"
    if not _is_complete(folder):
        build(source, folder)
    return folder


def is_static(folder: Path) -> bool:
    """Return whether a folder contains an encoder that this module wrote."""
    return (folder / MARKER).is_file()


def _is_complete(folder: Path) -> bool:
    """Return whether the folder has the vectors that were written; files in a cache may be lost or damaged."""
    marker = read_json(folder / MARKER)
    weights = folder / "model.safetensors"
    return marker is not None and weights.is_file() and sha256_of(weights) == marker.get("sha256")


def build(source: Path, folder: Path) -> None:
    """Build the static encoder of `source` in a temporary folder and rename it to `folder` when it is complete."""
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from transformers import AutoModel, AutoTokenizer

    safely: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with opening(source), quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(source, **safely)
        model = AutoModel.from_pretrained(source, use_safetensors=True, dtype=torch.float32, **safely)
    vectors = weight_by_frequency(principal_components(_vocabulary_vectors(model.eval(), tokenizer)))
    vectors[tokenizer.all_special_ids] = 0.0
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=".static-") as scratch, quiet_transformers():
        built = Path(scratch) / "built"
        built.mkdir()
        StaticEmbedding(tokenizer.backend_tokenizer, embedding_weights=vectors.astype(np.float32)).save(str(built))
        tokenizer.save_pretrained(built)
        write_json(built / MARKER, {"sha256": sha256_of(built / "model.safetensors")})
        if not _is_complete(folder):
            shutil.rmtree(folder, ignore_errors=True)
        try:
            built.rename(folder)
        except OSError:
            if not _is_complete(folder):  # otherwise another process finished first
                raise


@torch.inference_mode()
def _vocabulary_vectors(model: torch.nn.Module, tokenizer: Any) -> FloatArray:
    """Return (vocabulary, width) vectors: the mean output for each token alone between the special tokens."""
    wrap, _ = special_token_wrapper(tokenizer)
    rows = [wrap(np.array([token], dtype=np.int32)) for token in range(len(tokenizer))]
    parts = []
    starts = range(0, len(rows), TOKENS_AT_ONCE)
    for start in with_progress(starts, "building the static encoder, batches"):
        ids = torch.from_numpy(np.stack(rows[start : start + TOKENS_AT_ONCE])).long()
        hidden = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        parts.append(hidden.mean(dim=1).double().numpy())
    return np.concatenate(parts)


def principal_components(vectors: FloatArray, dimensions: int = DIMENSIONS) -> FloatArray:
    """Return (n, dimensions) scores on the first principal components of (n, width) vectors."""
    from sklearn.decomposition import PCA

    fewer = min(dimensions, *vectors.shape)
    scores: FloatArray = PCA(n_components=fewer, svd_solver="covariance_eigh").fit_transform(vectors)
    return scores


def weight_by_frequency(vectors: FloatArray) -> FloatArray:
    """Return (vocabulary, width) vectors times a / (a + p), where p is the frequency of the token by Zipf's law.

    The row of a token is taken as its frequency rank. That is an approximation: BERT's vocabulary lists whole
    words by frequency, but after a thousand unused rows and single characters, so its weights are mild (0.96 for
    "the").
    """
    ranks = np.arange(1, len(vectors) + 1)
    frequency = 1 / ranks / (1 / ranks).sum()
    weighted: FloatArray = vectors * (SMOOTHING / (SMOOTHING + frequency))[:, None]
    return weighted


class StaticEncoder(torch.nn.Module):
    """A module that returns the mean of the tokens' vectors, with the interface of `transformer.TextEncoder`."""

    positions = None
    closed = False
    has_head = False

    def __init__(self, folder: Path) -> None:
        from sentence_transformers.sentence_transformer.modules import StaticEmbedding
        from transformers import AutoTokenizer

        super().__init__()
        with opening(folder):
            self.static = StaticEmbedding.load(str(folder))
            self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        self.width: int = self.static.get_embedding_dimension()

    def forward(self, input_ids: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        """Return (B, d) vectors of texts that are concatenated in `input_ids` and start at `offsets` (B)."""
        vectors: torch.Tensor = self.static({"input_ids": input_ids, "offsets": offsets})["sentence_embedding"]
        return vectors.float()

    def collate(self, rows: Sequence[Tokens]) -> Batch:
        """Return the concatenated token ids and the offset of each row."""
        ends = np.cumsum([0, *map(len, rows)])
        ids = torch.from_numpy(np.concatenate(rows)).long()
        return {"input_ids": ids, "offsets": torch.from_numpy(ends[:-1]).long()}
