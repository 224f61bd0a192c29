"""A quantised language model in a GGUF file is written once as plain bf16 weights, which every command can open."""

from pathlib import Path
from typing import Any

from pairrank.encoders.opening import opening
from pairrank.encoders.quiet import quiet_transformers


def convert(file: Path, folder: Path) -> None:
    """Write the model in `file` to an empty folder: bf16 safetensors, config, tokenizer and chat template.

    Raises UserError if transformers cannot read the file.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    safely: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True, "trust_remote_code": False}
    with opening(file.parent), quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **safely)
        # Unless it unpacks the weights at once, transformers refuses to save the model, which it calls quantised.
        model = AutoModelForCausalLM.from_pretrained(
            file.parent, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True), **safely
        )
        # One file, whatever its size, since one hash identifies an encoder's weights.
        model.save_pretrained(folder, max_shard_size="1TB")
        tokenizer.save_pretrained(folder)
