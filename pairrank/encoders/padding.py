"""A pad token is chosen once and saved with the model; what is padding is read from the attention mask alone."""

import re
from collections.abc import Iterator
from typing import Any

import torch

from pairrank.encoders.architecture import is_causal

NEW = "<pad>"
"""Text of the token that is added where no other one can be used."""


def ensure_pad_token(tokenizer: Any, model: Any) -> None:
    """Give the tokenizer a pad token if it has none, and write its id to the model's configuration.

    The choice is, in this order: the tokenizer's own, that of the configuration, a special token for padding or one
    that is reserved or unused, the unknown token, and a new token with a vector of zeros. The end-of-text token is
    used only if it is the tokenizer's own choice.
    """
    vectors = model.get_input_embeddings().num_embeddings
    if tokenizer.pad_token_id is None:
        found = next(_candidates(tokenizer, model.config, vectors), None)
        if found is None:
            tokenizer.add_special_tokens({"pad_token": _unused_text(tokenizer)})
        else:
            tokenizer.pad_token = found
    if tokenizer.pad_token_id >= vectors:
        _add_vectors(model, tokenizer.pad_token_id + 1)
    config = model.config.get_text_config()
    # An encoder that counts positions from its pad token keeps the one of its configuration.
    if config.pad_token_id is None or is_causal(model.config):
        config.pad_token_id = tokenizer.pad_token_id


def _candidates(tokenizer: Any, config: Any, vectors: int) -> Iterator[str]:
    """Yield the tokens with a vector that can be used for padding, the best first."""
    end = tokenizer.eos_token_id
    configured = config.get_text_config().pad_token_id
    if configured is not None and 0 <= configured < min(vectors, len(tokenizer)) and configured != end:
        yield tokenizer.convert_ids_to_tokens(configured)
    named = {getattr(tokenizer, f"{role}_token") for role in ("bos", "eos", "unk", "sep", "cls", "mask")}
    special = {
        token.content: i
        for i, token in sorted(tokenizer.added_tokens_decoder.items())
        if token.special and i < vectors and token.content not in named
    }
    for pattern in (r"\bpad\b|_pad_|_pad\b", r"reserved|unused"):
        yield from (token for token in special if re.search(pattern, token, re.IGNORECASE))
    if tokenizer.unk_token_id is not None and tokenizer.unk_token_id not in (end, tokenizer.bos_token_id):
        yield tokenizer.unk_token


def _unused_text(tokenizer: Any) -> str:
    """Return the text of a token that the tokenizer does not have."""
    known, text = tokenizer.get_vocab(), NEW
    while text in known:
        text = f"<{text}>"
    return text


def _add_vectors(model: Any, count: int) -> None:
    """Enlarge the model's table of vectors to `count` rows; the new ones are 0, which no seed changes."""
    before = model.get_input_embeddings().num_embeddings
    with torch.random.fork_rng(devices=[]):
        model.resize_token_embeddings(count, mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[before:] = 0.0
