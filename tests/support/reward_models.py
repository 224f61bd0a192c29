"""Random reward models, 2 layers and 32 wide, in folders as a user would have them."""

from functools import partial
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from tests.support.architectures import ARCHITECTURES, DECODER, WINDOW, Architecture, write_checkpoint
from tests.support.tokenizers import single_bytes

SPECIAL = ["<|start|>", "<|end|>", "<|user|>", "<|assistant|>"]
CHAT = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles alternate') }}{% endif %}"
    "<|{{ message.role }}|>\n{{ message.content }}<|end|>{% endfor %}"
)
"""A chat template in the way of Llama 3: control tokens, a line break, the message, an end."""
KINDS = {
    "bert": ARCHITECTURES["bert"],
    # Every byte is a token, each text begins with a control token, and there is no pad token.
    "llama": Architecture(
        "llama",
        partial(single_bytes, SPECIAL, "<|start|> $A", "<|start|> $A $B"),
        {"bos_token": "<|start|>", "eos_token": "<|end|>"},
        DECODER,
        causal=True,
    ),
}
"""A model that reads the first token of a text, and one that reads the last one."""


def write_reward_model(folder: Path, kind: str = "bert", outputs: int = 1, chat: bool = False) -> Path:
    """config.json, model.safetensors and the tokenizer's files of a random reward model, one of `KINDS`."""
    head, template = "AutoModelForSequenceClassification", CHAT if chat else ""
    positions = {"max_position_embeddings": 4 * WINDOW}
    return write_checkpoint(folder, KINDS[kind], head, template, 1, num_labels=outputs, **positions)


def reward_tokenizer(template: str) -> PreTrainedTokenizerFast:
    made = KINDS["llama"]
    return PreTrainedTokenizerFast(tokenizer_object=made.tokenizer(), chat_template=template, **made.special)
