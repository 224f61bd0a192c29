"""A folder with an encoder is opened without code of the folder or of the hub, and any failure is one message."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pairrank.errors import UserError, excerpt, shorten
from pairrank.files import read_json

ATTENTION_KEYS = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal")
FLOATING_TYPES = (None, "float32", "float16", "bfloat16", "float64")


def unsupported(folder: Path) -> str:
    """Return why transformers would need other code or other files to open the folder; "" if it would not."""
    if (folder / "adapter_config.json").exists():
        return "the folder is an adapter (adapter_config.json), which needs another model. Merge it into its base"
    config = read_json(folder / "config.json")
    if config is None and os.path.lexists(folder / "config.json"):  # a static encoder needs none
        return "config.json is damaged, expected a JSON object"
    for name, value in _nested_settings(config):
        if name == "quantization_config":
            return "its weights are quantised (quantization_config), which needs other code. Use the full weights"
        # Any other name would be looked up among the kernels of the hub, whose code would then run.
        if name in ATTENTION_KEYS and value not in (None, "eager", "sdpa"):
            return f"config.json has {name} = {excerpt(value)}, expected eager or sdpa"
        if name in ("dtype", "torch_dtype") and value not in FLOATING_TYPES:
            return f"config.json has {name} = {excerpt(value)}, expected a floating-point type"
    return ""


def _nested_settings(config: Any) -> Iterator[tuple[str, Any]]:
    """Yield the settings of a configuration and of all tables and lists in it, by name, however deep they are."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield from value.items()
        if isinstance(value, dict | list):
            waiting += value.values() if isinstance(value, dict) else value


@contextmanager
def opening(folder: Path) -> Iterator[None]:
    """Turn every error of opening an encoder in this block into a UserError that names its folder.

    Raises UserError before the block begins if the folder is `unsupported`. A saved model has such a folder, too.
    """
    if reason := unsupported(folder):
        raise UserError(f"{folder}: cannot be opened as a text encoder: {reason}.")
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # of transformers, tokenizers, safetensors or torch
        reason = next(iter(str(error).splitlines()), "")
        raise UserError(
            f"{folder}: cannot be opened as a text encoder ({type(error).__name__}: {shorten(reason, 200)})."
        ) from error


def check_tokenizer(folder: Path, tokenizer: Any, model: Any) -> None:
    """Raise UserError if the tokenizer cannot pad, or has tokens without a vector in the model."""
    if tokenizer.pad_token_id is None:
        raise UserError(f"{folder}: its tokenizer has no pad token, which batches need. Add one to the tokenizer.")
    vectors = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > vectors:
        raise UserError(
            f"{folder}: its tokenizer has {len(tokenizer):,} tokens, its model only {vectors:,} vectors."
        )
