"""Random reward models, 2 layers and 32 wide, in folders as a user would have them."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

from pairrank.encoders.quiet import quiet_transformers
from tests.support.encoders import VOCABULARY, WINDOW, wordpiece

SPECIAL = ["<|start|>", "<|end|>", "<|user|>", "<|assistant|>"]
CHAT = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles alternate') }}{% endif %}"
    "<|{{ message.role }}|>\n{{ message.content }}<|end|>{% endfor %}"
)
"""A chat template in the way of Llama 3: control tokens, a line break, the message, an end."""


def write_reward_model(folder: Path, kind: str = "bert", outputs: int = 1, chat: bool = False) -> Path:
    """config.json, model.safetensors and the tokenizer's files of a random reward model.

    "bert" reads the first token; "llama" the last one, and its tokenizer has no pad token.
    """
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    shape |= {"max_position_embeddings": 4 * WINDOW, "num_labels": outputs, "initializer_range": 0.1}
    torch.manual_seed(1)
    if kind == "bert":
        model = BertForSequenceClassification(BertConfig(vocab_size=len(VOCABULARY), **shape))
        named = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=wordpiece(), **named)
    else:
        made = byte_level()
        config = LlamaConfig(vocab_size=made.get_vocab_size(), num_key_value_heads=1, **shape)
        model = LlamaForSequenceClassification(config)
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<|start|>", eos_token="<|end|>")  # noqa: S106
    if chat:
        tokenizer.chat_template = CHAT
    with quiet_transformers():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def byte_level() -> Tokenizer:
    """A tokenizer in which every byte is a token, and which begins each text with a control token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys([*SPECIAL, *alphabet]))}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|start|> $A", pair="<|start|> $A $B", special_tokens=[("<|start|>", 0)]
    )
    return tokenizer


def set_config(folder: Path, **changes: object) -> None:
    """Change settings in the config.json of a folder."""
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
