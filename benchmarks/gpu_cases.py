"""What `gpu.py` measures: models, encoders of three sizes or tiny ones, and battles of random words."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedTokenizerFast

from pairrank.data.battles import Battles, object_array
from pairrank.encoders.catalogue import find_encoder
from pairrank.encoders.quiet import quiet_transformers
from pairrank.errors import UserError
from pairrank.models.base import Model, build
from pairrank.runs.experiment_files import load_experiment

SIAMESE = "siamese"
MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[END]")
WORDS = [f"w{i}" for i in range(400)]


@dataclass(frozen=True)
class Case:
    """One model with one encoder."""

    name: str
    """"siamese", or the name of an experiment."""
    encoder: str
    """A key of `SHAPES`, and perhaps the name of an encoder that `find_encoder` knows."""
    battles: int
    """Battles that are trained on and predicted."""
    max_tokens: int = 512
    """Window of one text of `siamese`; an experiment keeps its own."""
    batch_size: int = 16
    """Battles per batch in training."""


CASES = (
    Case(SIAMESE, "minilm", 1_500),
    Case(SIAMESE, "smollm2", 600),
    Case(SIAMESE, "qwen-0.5b", 250),
    Case("judge-smollm2", "smollm2", 600),
    Case("judge-qwen", "qwen-0.5b", 250),
)
TINY = (
    Case(SIAMESE, "tiny-bert", 40, 64, 4),
    Case(SIAMESE, "tiny-llama", 40, 64, 4),
    Case("judge-smollm2", "tiny-llama", 40, 64, 4),
)

SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "minilm": (
        "bert",
        {"vocab_size": 30_522, "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12}
        | {"intermediate_size": 1_536, "max_position_embeddings": 512},
    ),
    "smollm2": (
        "llama",
        {"vocab_size": 49_152, "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9}
        | {"num_key_value_heads": 3, "intermediate_size": 1_536, "max_position_embeddings": 8_192},
    ),
    "qwen-0.5b": (
        "qwen2",
        {"vocab_size": 151_936, "hidden_size": 896, "num_hidden_layers": 24, "num_attention_heads": 14}
        | {"num_key_value_heads": 2, "intermediate_size": 4_864, "max_position_embeddings": 32_768},
    ),
    "tiny-bert": (
        "bert",
        {"vocab_size": 500, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        | {"intermediate_size": 64, "max_position_embeddings": 128},
    ),
    "tiny-llama": (
        "llama",
        {"vocab_size": 500, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        | {"num_key_value_heads": 1, "intermediate_size": 64, "max_position_embeddings": 2_048},
    ),
}
"""Architecture and sizes of all-MiniLM-L6-v2, SmolLM2-135M, Qwen2.5-0.5B and two tiny encoders."""


def find_or_make_encoder(case: Case, folder: Path, only_random: bool) -> tuple[str, str]:
    """Return the encoder of a case as a model takes it, and "real" or "random", which says what its weights are."""
    if not only_random:
        try:
            return find_encoder([case.encoder]).name, "real"
        except UserError:
            pass  # random weights take the same time
    return str(random_encoder(case.encoder, folder / case.encoder)), "random"


def random_encoder(shape: str, folder: Path) -> Path:
    """Write an encoder of this shape with random weights and a tokenizer of words; return its folder."""
    if folder.is_dir():
        return folder
    architecture, sizes = SHAPES[shape]
    words = [*MARKS, *"ABab", "Yes", "No", "Tie", "yes", "no", "tie", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=MARKS[1]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    named = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "eos_token"), MARKS, strict=True))
    config = AutoConfig.for_model(
        architecture, pad_token_id=0, bos_token_id=2, eos_token_id=4, tie_word_embeddings=True, **sizes
    )
    torch.manual_seed(0)
    library: Any = AutoModel if architecture == "bert" else AutoModelForCausalLM
    with quiet_transformers():
        library.from_config(config).to(torch.bfloat16).save_pretrained(folder)
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named).save_pretrained(folder)
    return folder


def build_case(case: Case, encoder: str) -> Model:
    """Return the unfitted model of a case; raises UserError if its experiment does not exist."""
    if case.name == SIAMESE:
        parameters: dict[str, Any] = {"max_tokens": case.max_tokens}
        name = SIAMESE
    else:
        experiment = load_experiment(case.name)
        parameters, name = dict(experiment.parameters), experiment.model
    recipe = {"epochs": 1, "hold_out": 0.0, "patience": 0, "frozen_layers": 0, "batch_size": case.batch_size}
    training = {**parameters.get("training", {}), **recipe}
    return build(name, **{**parameters, "encoder": [encoder], "training": training})


def random_battles(count: int, seed: int = 0) -> Battles:
    """Return battles of random words with lengths that vary as in real ones: half the answers have over 150."""
    rng = np.random.default_rng(seed)

    def texts(median: int) -> np.ndarray[Any, Any]:
        lengths = np.clip(rng.lognormal(np.log(median), 0.8, count), 1, 2_000).astype(int)
        return object_array([(" ".join(rng.choice(WORDS, length)),) for length in lengths])

    return Battles(
        id=object_array([str(i) for i in range(count)]),
        prompt=texts(40),
        response_a=texts(150),
        response_b=texts(150),
        winner=rng.integers(0, 3, count),
    )
