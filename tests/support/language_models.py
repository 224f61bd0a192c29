"""A random language model, 2 layers and 32 wide, as a folder and as a GGUF file, in which a token is a byte."""

from pathlib import Path

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pairrank.encoders.quiet import quiet_transformers

MARKS = ["<|end|>", "<|start|>"]
VOCABULARY = [*MARKS, *sorted(pre_tokenizers.ByteLevel.alphabet())]
TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message['role'][0] }}:{{ message['content'] }}<|end|>{% endfor %}"
)
WIDTH, HEADS, LAYERS, WINDOW = 32, 2, 2, 512


def config() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=1,
        max_position_embeddings=WINDOW,
        initializer_range=0.3,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=0,
        pad_token_id=0,
    )


def byte_tokenizer(template: str | None) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(VOCABULARY)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(MARKS)
    names = {"eos_token": MARKS[0], "pad_token": MARKS[0], "bos_token": MARKS[1]}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template, **names)


def write_language_model(folder: Path, template: str | None = TEMPLATE, seed: int = 0) -> Path:
    """config.json, model.safetensors, the tokenizer's files and, if there is one, the chat template."""
    torch.manual_seed(seed)
    with quiet_transformers():
        LlamaForCausalLM(config()).save_pretrained(folder)
        byte_tokenizer(template).save_pretrained(folder)
    return folder


def write_gguf(file: Path) -> dict[str, np.ndarray]:
    """Write a quantised model of the same shape, and return its matrices as the package gguf unpacks them."""
    rng = np.random.default_rng(0)
    tokens = [*VOCABULARY, "ab"]  # a file without merges is not read
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_name("any text\n../")
    writer.add_context_length(WINDOW)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(64)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, *[1] * 257])  # control tokens, normal ones
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(0)
    writer.add_pad_token_id(0)
    writer.add_chat_template(TEMPLATE)
    shapes = {"token_embd": (len(tokens), WIDTH)}
    narrow = WIDTH // HEADS
    for i in range(LAYERS):
        shapes |= {f"blk.{i}.attn_q": (WIDTH, WIDTH), f"blk.{i}.attn_output": (WIDTH, WIDTH)}
        shapes |= {f"blk.{i}.attn_k": (narrow, WIDTH), f"blk.{i}.attn_v": (narrow, WIDTH)}
        shapes |= {
            f"blk.{i}.ffn_gate": (64, WIDTH),
            f"blk.{i}.ffn_up": (64, WIDTH),
            f"blk.{i}.ffn_down": (WIDTH, 64),
        }
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{i}.{norm}.weight", np.ones(WIDTH, dtype=np.float32))
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, dtype=np.float32))
    unpacked, kind = {}, gguf.GGMLQuantizationType.Q4_1
    for name, shape in shapes.items():
        packed = gguf.quants.quantize(rng.normal(0, 0.3, shape).astype(np.float32), kind)
        writer.add_tensor(f"{name}.weight", packed, raw_dtype=kind)
        unpacked[name] = gguf.quants.dequantize(packed, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return unpacked
