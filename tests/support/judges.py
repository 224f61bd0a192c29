"""Random language models for the model `judge`, whose windows have room for its question."""

from pathlib import Path
from typing import Any

from tests.support.architectures import write_checkpoint

ROOM = 320
"""Tokens that these models have positions for; the question takes half of them in their small vocabularies."""

CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The chat template of Qwen and SmolLM2 without a system prompt."""


def write_language_model(folder: Path, name: str = "llama", chat: str = "", **changes: Any) -> Path:
    """A random checkpoint of a causal architecture with its language-model head, and with a chat template."""
    positions = {"n_positions": ROOM} if name == "gpt2" else {"max_position_embeddings": ROOM}
    # Its two layers would otherwise see the last few tokens alone.
    layers = {"layer_types": ["sliding_attention", "full_attention"]} if name == "gemma3" else {}
    write_checkpoint(folder, name, "AutoModelForCausalLM", **positions, **layers, **changes)
    if chat:
        (folder / "chat_template.jinja").write_text(chat, encoding="utf-8")
    return folder
