"""A folder with an encoder is opened without code of the folder or of the hub, and any failure is one message."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pairrank.errors import UserError, excerpt, shorten
from pairrank.files import read_json


def unsupported(folder: Path) -> str:
    """Return why transformers would need other code or other files to open the folder; "" if it would not."""
    if (folder / "adapter_config.json").exists():
        return "the folder is an adapter (adapter_config.json), which needs another model. Merge it into its base"
    config = read_json(folder / "config.json")
    if config is None:
        return "config.json is damaged, expected a JSON object"
    settings = dict(_nested_settings(config))
    if "quantization_config" in settings:
        return "its weights are quantised (quantization_config), which needs other code. Use the full weights"
    for name in ("attn_implementation", "_attn_implementation", "_attn_implementation_internal"):
        # Any other name would be looked up among the kernels of the hub, whose code would then run.
        if settings.get(name) not in (None, "eager", "sdpa"):
            return f"config.json has {name} = {excerpt(settings[name])}, expected eager or sdpa"
    for name in ("dtype", "torch_dtype"):
        if settings.get(name) not in (None, "float32", "float16", "bfloat16", "float64"):
            return f"config.json has {name} = {excerpt(settings[name])}, expected a floating-point type"
    return ""


def _nested_settings(config: Any) -> Iterator[tuple[str, Any]]:
    """Yield the settings of a configuration and of all that it contains, by name."""
    for key, value in config.items():
        yield key, value
        if isinstance(value, dict):
            yield from _nested_settings(value)


@contextmanager
def opening(folder: Path) -> Iterator[None]:
    """Turn every error of opening an encoder in this block into a UserError that names its folder."""
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
