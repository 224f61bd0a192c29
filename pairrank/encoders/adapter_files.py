"""A model that keeps its encoder is saved as what was trained, with the name and hash of the encoder."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairrank.atomic import atomic_path
from pairrank.encoders.adapters import trained_names, trained_weights
from pairrank.encoders.catalogue import Encoder, find_encoder
from pairrank.errors import UserError
from pairrank.files import write_json

if TYPE_CHECKING:
    import torch

ENCODER_FILE = "encoder.json"
"""The file with the name and the SHA-256 of the encoder, which is not copied."""
ADAPTER_FILE, HEAD_FILE = "adapter.safetensors", "head.safetensors"
"""The files with the trained weights: those inside the encoder, and all others."""


def write_encoder_record(encoder: Encoder, folder: Path) -> None:
    """Write name and hash of an encoder."""
    write_json(folder / ENCODER_FILE, {"name": encoder.name, "sha256": encoder.sha256})


def find_recorded_encoder(names: Sequence[str], folder: Path) -> Encoder:
    """Return the first available encoder; raises UserError if a saved model was trained on another one."""
    encoder = find_encoder(names)
    expected = json.loads((folder / ENCODER_FILE).read_text(encoding="utf-8"))["sha256"]
    if encoder.sha256 != expected:
        raise UserError(
            f"{folder}: trained on an encoder with SHA-256 {expected}, but {encoder.name} now has "
            f"{encoder.sha256}. Run the experiment again, or restore that encoder."
        )
    return encoder


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
