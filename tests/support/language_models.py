"""Random language models with a chat template, whose windows have room for the question of `judge`."""

from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from tests.support.architectures import DECODER, Architecture, write_checkpoint
from tests.support.tokenizers import single_bytes

HEAD = "AutoModelForCausalLM"
ROOM = 320
"""Tokens that these models have positions for; the question takes half of them in their small vocabularies."""

CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The chat template of Qwen and SmolLM2 without a system prompt."""

MARKS = ["<|end|>", "<|start|>"]
TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message['role'][0] }}:{{ message['content'] }}<|end|>{% endfor %}"
)
"""The chat template of a model in which a token is a byte."""
BYTES = Architecture(
    "llama",
    partial(single_bytes, MARKS),
    {"eos_token": MARKS[0], "pad_token": MARKS[0], "bos_token": MARKS[1]},
    DECODER | {"max_position_embeddings": 512, "initializer_range": 0.3, "tie_word_embeddings": True},
    causal=True,
)


def write_language_model(folder: Path, name: str = "llama", chat: str = "", **changes: Any) -> Path:
    """A random checkpoint of a causal architecture with its language-model head and positions for `ROOM` tokens."""
    positions = {"n_positions": ROOM} if name == "gpt2" else {"max_position_embeddings": ROOM}
    # Its two layers would otherwise see the last few tokens alone.
    layers = {"layer_types": ["sliding_attention", "full_attention"]} if name == "gemma3" else {}
    return write_checkpoint(folder, name, HEAD, chat, **positions, **layers, **changes)


def write_recurrent_model(folder: Path, model_type: str) -> Path:
    """A random checkpoint of "mamba" or "rwkv", whose layers keep a state in place of keys and values."""
    return write_language_model(folder, "llama", model_type=model_type, state_size=8, initializer_range=1.0)


def write_byte_model(folder: Path, template: str = TEMPLATE, seed: int = 0, **changes: Any) -> Path:
    """A random checkpoint of a language model in which a token is a byte."""
    return write_checkpoint(folder, BYTES, HEAD, template, seed, **changes)


def byte_tokenizer(template: str | None) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=BYTES.tokenizer(), chat_template=template, **BYTES.special)
