"""A model with an adapter is saved as what was trained, with a record of its encoder."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairrank.atomic import atomic_path
from pairrank.encoders.adapters import trained_names, trained_weights
from pairrank.encoders.catalogue import Encoder
from pairrank.encoders.encoder_record import write_encoder_record

if TYPE_CHECKING:
    import torch

ADAPTER_FILE, HEAD_FILE = "adapter.safetensors", "head.safetensors"
"""The files with the trained weights: those inside the encoder, and all others."""


def write_trained(module: Any, encoder: Encoder, folder: Path) -> None:
    """Write adapter and head of a module that `fine_tune` has trained, and name and hash of its encoder."""
    from safetensors.torch import save_file

    weights, (_, inside) = trained_weights(module), trained_names(module)
    for file, names in ((ADAPTER_FILE, inside), (HEAD_FILE, weights.keys() - inside)):
        with atomic_path(folder / file) as path:
            save_file({name: weights[name] for name in sorted(names)}, path)
    write_encoder_record(encoder, folder)


def read_trained(folder: Path) -> "dict[str, torch.Tensor]":
    """Return the weights of adapter and head by name, on the CPU."""
    from safetensors.torch import load_file

    return load_file(folder / ADAPTER_FILE) | load_file(folder / HEAD_FILE)
