"""A pad token is chosen once and saved with the model; what is padding is read from the attention mask alone."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pairrank.encoders.architecture import is_causal
from pairrank.encoders.inference import Batch
from pairrank.encoders.windows import Tokens, encode, special_token_wrapper
from pairrank.errors import UserError, shorten

NEW = "<pad>"
"""Text of the token that is added where no other one can be used."""

TOLERANCE, ROUGH_TOLERANCE = 1e-3, 5e-2
"""Difference that rounding may make between a text alone and padded, as a share of the largest output: with weights
of 32 bits, and with others."""


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


def is_close(module: torch.nn.Module, found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Return whether outputs of a module differ by no more than rounding beside another text explains."""
    # Weights of 16 bits, or quantised ones, round differently beside another text.
    is_rough = any(parameter.dtype != torch.float32 for parameter in module.parameters())
    tolerance = ROUGH_TOLERANCE if is_rough else TOLERANCE
    return torch.allclose(found, expected, rtol=0, atol=1e-5 + tolerance * float(expected.abs().max()))


def check_padding(
    folder: Path, module: torch.nn.Module, tokenizer: Any, collate: Callable[[list[Tokens]], Batch]
) -> None:
    """Raise UserError if the output of `module` for a text depends on the longer text that it is padded to.

    Some architectures ignore the attention mask, mix neighbouring tokens, or read the last position. No list of
    names would stay complete, so a short text is computed alone and beside a longer one.
    """
    wrap, _ = special_token_wrapper(tokenizer)
    short, long = (wrap(np.array(ids, dtype=np.int32)) for ids in encode(tokenizer, ["a b", "a b c d " * 3]))
    training, reason, where = module.training, "", next(module.parameters()).device
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            module.eval()
            batches = (collate(rows) for rows in ([short], [short, long]))
            alone, beside = (module(**{name: v.to(where) for name, v in batch.items()})[0] for batch in batches)
        if not is_close(module, beside, alone):
            reason = "its output for a text depends on the padding after it"
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
        reason = f"it cannot compute two texts ({type(error).__name__}: {shorten(str(error).strip(), 200)})"
    finally:
        module.train(training)
    if reason:
        raise UserError(f"{folder}: this architecture cannot be used here: {reason}. Use another encoder.")
