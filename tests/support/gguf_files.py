"""A quantised language model, 2 layers and 32 wide, as a GGUF file."""

from pathlib import Path

import gguf
import numpy as np
from tokenizers import pre_tokenizers

from tests.support.language_models import MARKS, TEMPLATE

VOCABULARY = [*MARKS, *sorted(pre_tokenizers.ByteLevel.alphabet())]
WIDTH, HEADS, LAYERS, WINDOW = 32, 2, 2, 512


def write_gguf(file: Path) -> dict[str, np.ndarray]:
    """Write the file, and return its matrices as the package gguf unpacks them."""
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
