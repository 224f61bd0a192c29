"""An encoder without layers, made from one that has them: a vector a token, and a text is their mean.

Every token of the vocabulary goes through the source encoder alone; principal components keep what varies, and
frequent tokens count less. That is Model2Vec's distillation (Tulkens and van Dongen 2024) with the weights of
smooth inverse frequency (Arora et al. 2017), written by hand because it needs no further package.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from pairrank.encoders.inference import Batch
from pairrank.encoders.quiet import quiet_transformers
from pairrank.encoders.windows import Tokens, special_token_wrapper
from pairrank.files import cache_folder, read_json, sha256_of, write_json
from pairrank.progress import shows_progress

Vectors = npt.NDArray[np.float64]

DIMENSIONS = 256
SMOOTH = 1e-3
"""a of the weight a / (a + p): a token of this frequency counts half."""
VERSION = 1
"""Of the recipe, raised whenever the same source would give other vectors."""
TOKENS = 512
"""Tokens that go through the source at once."""
MARK = "static.json"
"""Tells a static encoder's folder from others, and holds the hash of its vectors."""


def static_encoder(source: Path, source_sha256: str) -> Path:
    """The folder of the static encoder made from `source`, built on first use."""
    folder = cache_folder() / "encoders" / f"static-{source_sha256[:16]}-{VERSION}"
    if not _is_whole(folder):
        build(source, folder)
    return folder


def is_static(folder: Path) -> bool:
    """Whether a folder holds an encoder that this module wrote."""
    return (folder / MARK).is_file()


def _is_whole(folder: Path) -> bool:
    """Whether the vectors are those that were written, since a cache is nobody's care."""
    kept = read_json(folder / MARK)
    weights = folder / "model.safetensors"
    return kept is not None and weights.is_file() and sha256_of(weights) == kept.get("sha256")


def build(source: Path, folder: Path) -> None:
    """Make the static encoder beside `folder`, and rename it when it is whole."""
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from transformers import AutoModel, AutoTokenizer

    safely: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(source, **safely)
        model = AutoModel.from_pretrained(source, use_safetensors=True, dtype=torch.float32, **safely)
    vectors = weighted(principal(_vocabulary_vectors(model.eval(), tokenizer)))
    vectors[tokenizer.all_special_ids] = 0.0
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=".static-") as scratch, quiet_transformers():
        made = Path(scratch) / "whole"
        made.mkdir()
        StaticEmbedding(tokenizer.backend_tokenizer, embedding_weights=vectors.astype(np.float32)).save(str(made))
        tokenizer.save_pretrained(made)
        write_json(made / MARK, {"sha256": sha256_of(made / "model.safetensors")})
        if not _is_whole(folder):
            shutil.rmtree(folder, ignore_errors=True)
        try:
            made.rename(folder)
        except OSError:
            if not _is_whole(folder):  # else another process was quicker
                raise


@torch.inference_mode()
def _vocabulary_vectors(model: torch.nn.Module, tokenizer: Any) -> Vectors:
    """(vocabulary, width): the mean over the tokens when each stands alone between the special tokens."""
    wrap, _ = special_token_wrapper(tokenizer)
    rows = [wrap(np.array([token], dtype=np.int32)) for token in range(len(tokenizer))]
    parts = []
    starts = range(0, len(rows), TOKENS)
    for start in tqdm(starts, "building the static encoder", disable=not shows_progress(), leave=False):
        ids = torch.from_numpy(np.stack(rows[start : start + TOKENS])).long()
        hidden = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        parts.append(hidden.mean(dim=1).double().numpy())
    return np.concatenate(parts)


def principal(vectors: Vectors, dimensions: int = DIMENSIONS) -> Vectors:
    """(n, dimensions) scores on the first principal components."""
    from sklearn.decomposition import PCA

    fewer = min(dimensions, *vectors.shape)
    scores: Vectors = PCA(n_components=fewer, svd_solver="covariance_eigh").fit_transform(vectors)
    return scores


def weighted(vectors: Vectors) -> Vectors:
    """The vectors, less of the frequent ones: a / (a + p), where Zipf's law gives p of a token by its rank.

    The row stands for the rank, roughly: BERT's vocabulary lists whole words by frequency, but behind a thousand
    unused rows and single characters, so the weights are mild there (.96 for "the").
    """
    ranks = np.arange(1, len(vectors) + 1)
    frequency = 1 / ranks / (1 / ranks).sum()
    lighter: Vectors = vectors * (SMOOTH / (SMOOTH + frequency))[:, None]
    return lighter


class StaticEncoder(torch.nn.Module):
    """Token ids in, the mean of their vectors out, in the form of `text_encoder.TextEncoder`."""

    positions = None

    def __init__(self, folder: Path) -> None:
        from sentence_transformers.sentence_transformer.modules import StaticEmbedding
        from transformers import AutoTokenizer

        super().__init__()
        self.static = StaticEmbedding.load(str(folder))
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        self.width: int = self.static.get_embedding_dimension()

    def forward(self, input_ids: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        """(B, d) vectors of texts that lie one after the other in `input_ids` and begin at `offsets` (B)."""
        vectors: torch.Tensor = self.static({"input_ids": input_ids, "offsets": offsets})["sentence_embedding"]
        return vectors.float()

    def collate(self, rows: Sequence[Tokens]) -> Batch:
        """Token ids one after the other, and where each row begins."""
        ends = np.cumsum([0, *map(len, rows)])
        ids = torch.from_numpy(np.concatenate(rows)).long()
        return {"input_ids": ids, "offsets": torch.from_numpy(ends[:-1]).long()}
