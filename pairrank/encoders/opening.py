"""A folder with an encoder is opened without code of the folder or of the hub, and any failure is one message."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pairrank.encoders.quiet import quiet_transformers
from pairrank.errors import UserError, excerpt, shorten
from pairrank.files import read_json

ATTENTION_KEYS = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal")
SAFELY: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
"""Options of `from_pretrained`. Unless it is forbidden, transformers asks at the terminal whether to run code."""
FLOATING_TYPES = (None, "float32", "float16", "bfloat16", "float64")

ATTENTION_DROPOUT = ("attention_dropout", "attention_probs_dropout_prob", "attn_pdrop")
HIDDEN_DROPOUT = (
    *("hidden_dropout", "hidden_dropout_prob", "dropout", "dropout_rate"),
    *("resid_pdrop", "embd_pdrop", "embedding_dropout", "mlp_dropout"),
)

POSITION_TABLES = ("position_embeddings", "wpe", "embed_positions", "positions_embed")
"""Ends of the names of a table of learned positions in the models of transformers."""


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


def open_config(folder: Path, **options: Any) -> Any:
    """Return the configuration in a folder with other values for `options`; raises UserError if it is damaged.

    The attention that it names is dropped: transformers chooses the fast one that the architecture supports, here
    and after the model is saved.
    """
    from transformers import AutoConfig

    with opening(folder), quiet_transformers():
        config = AutoConfig.from_pretrained(folder, **SAFELY, **options)
    config._attn_implementation = None
    return config


def dropout_settings(config: Any, attention: float, hidden: float) -> dict[str, float]:
    """Return the two dropout probabilities under the names that this encoder's configuration uses for them."""
    named = dict.fromkeys(ATTENTION_DROPOUT, attention) | dict.fromkeys(HIDDEN_DROPOUT, hidden)
    return {name: value for name, value in named.items() if name in vars(config)}


def set_dropout(config: Any, attention: float, hidden: float) -> None:
    """Set the dropout probabilities of attention weights and hidden states in an encoder's configuration."""
    for name, share in dropout_settings(config, attention, hidden).items():
        setattr(config, name, share)


def open_pretrained(kind: Any, folder: Path, config: Any, options: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """Return the model of a class of transformers in a folder, its tokenizer, and a report for `check_weights`.

    `options` are those of `from_pretrained` for the weights, such as their type. Raises UserError if the files
    cannot be opened, or if the tokenizer has tokens without a vector in the model. Weights that are missing or have
    another shape are drawn at random, so the caller must check the report.
    """
    from transformers import AutoTokenizer

    with opening(folder), quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(folder, **SAFELY)
        model, loaded = kind.from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # otherwise transformers fails without naming the folder
            output_loading_info=True,
            **options,
            **SAFELY,
        )
        check_tokenizer(folder, tokenizer, model)
    return model, tokenizer, loaded


def check_weights(
    folder: Path, model: Any, loaded: Mapping[str, Any], prefix: str = ""
) -> dict[str, tuple[int, ...]]:
    """Return the shape in the file of each weight of a head that does not fit the model, by name.

    `loaded` is what transformers reports. The names of the encoder's weights begin with `prefix`; those of poolers
    may be missing. Raises UserError if the files lack another one of them, or have it in another shape.
    """
    changed = {name: tuple(shape) for name, shape, _ in loaded["mismatched_keys"]}
    if wrong := sorted(name for name in changed if name.startswith(prefix)):
        raise UserError(
            f"{folder}: its weights do not fit its config.json: {wrong[0]} has the shape {changed[wrong[0]]}, "
            f"expected {tuple(model.get_parameter(wrong[0]).shape)}. Download the folder again."
        )
    missing = sorted(name for name in loaded["missing_keys"] if name.startswith(prefix) and "pooler" not in name)
    if missing:
        raise UserError(
            f"{folder}: its weights do not fit its config.json: {missing[0]} is missing"
            f"{f', and {len(missing) - 1:,} more' if missing[1:] else ''}. Download the folder again."
        )
    return changed


def check_tokenizer(folder: Path, tokenizer: Any, model: Any) -> None:
    """Raise UserError if the tokenizer has tokens without a vector in the model."""
    vectors = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > vectors:
        raise UserError(
            f"{folder}: its tokenizer has {len(tokenizer):,} tokens, its model only {vectors:,} vectors."
        )


def position_limit(module: Any) -> int | None:
    """Return how many tokens a torch module has learned positions for; None if it has no table of positions."""
    for name, part in module.named_modules():
        if name.endswith(POSITION_TABLES) and hasattr(part, "num_embeddings"):
            # Encoders like RoBERTa number positions from the one after the padding token's, OPT from an offset.
            unused = getattr(part, "offset", 0) if part.padding_idx is None else part.padding_idx + 1
            return int(part.num_embeddings) - unused
    return None


def check_positions(name: object, positions: int | None, max_tokens: int) -> None:
    """Raise UserError if a window is larger than the number of an encoder's positions; None is no limit."""
    if positions is not None and max_tokens > positions:
        raise UserError(
            f"max_tokens = {max_tokens}: {name} has positions for {positions} tokens. "
            f"Set max_tokens to {positions} or less."
        )
