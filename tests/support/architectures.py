"""Random checkpoints of many architectures, 2 layers and 32 wide, with tokenizers of the kinds that these have."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from pairrank.encoders.quiet import quiet_transformers
from tests.support.battles import WORDS
from tests.support.encoders import LETTERS, WINDOW, wordpiece

NARROW = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
POSITIONS = {"max_position_embeddings": WINDOW}
DECODER = NARROW | POSITIONS | {"num_key_value_heads": 1, "head_dim": 16}


@dataclass(frozen=True)
class Architecture:
    """How a random checkpoint of one architecture is made."""

    model_type: str
    """Its name in transformers."""
    tokenizer: Callable[[], Tokenizer]
    special: dict[str, str]
    """Roles of special tokens, such as "pad_token", and their texts."""
    config: dict[str, Any] = field(default_factory=lambda: NARROW | POSITIONS)
    causal: bool = False
    """Whether a token sees only those before it."""
    encoder_class: str = ""
    """Class of the encoder of an encoder-decoder; "" for AutoModel."""


def byte_pairs(special: list[str], single: str = "", pair: str = "") -> Tokenizer:
    """A byte-level BPE as of GPT-2, Llama 3 and Qwen, learned from a few words."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f" {word}" for word in WORDS] * 3, trainer)
    return _with_special_tokens(tokenizer, special, single, pair)


def pieces(special: list[str], single: str = "", pair: str = "") -> Tokenizer:
    """A SentencePiece-like unigram tokenizer, whose special tokens come first."""
    # One piece per letter, so that only other characters are unknown.
    known = dict.fromkeys([*special, "▁", *LETTERS, *(chr(code) for code in range(65, 91)), "\n"], -9.0)
    vocabulary = known | {f"▁{word}": -3.0 for word in WORDS}
    tokenizer = Tokenizer(models.Unigram([*vocabulary.items()], unk_id=special.index("<unk>")))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return _with_special_tokens(tokenizer, special, single, pair)


def _with_special_tokens(tokenizer: Tokenizer, special: list[str], single: str, pair: str) -> Tokenizer:
    tokenizer.add_special_tokens(special)
    if single:
        ids = [(token, tokenizer.token_to_id(token)) for token in special]
        tokenizer.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=ids)
    return tokenizer


def _bert() -> Tokenizer:
    return wordpiece()


BERT = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
ROBERTA_MARKS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
ROBERTA = {
    "bos_token": "<s>",
    "pad_token": "<pad>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
    "cls_token": "<s>",
    "sep_token": "</s>",
}
ALBERT_MARKS = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
ALBERT = BERT | {"pad_token": "<pad>", "unk_token": "<unk>"}
QWEN = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
GEMMA = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}


def _roberta() -> Tokenizer:
    return byte_pairs(ROBERTA_MARKS, "<s> $A </s>", "<s> $A </s> </s> $B </s>")


def _mpnet() -> Tokenizer:
    return pieces(ROBERTA_MARKS, "<s> $A </s>", "<s> $A </s> </s> $B </s>")


def _albert() -> Tokenizer:
    return pieces(ALBERT_MARKS, "[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]")


def _modernbert() -> Tokenizer:
    return byte_pairs([*BERT.values()], "[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]")


def _t5() -> Tokenizer:
    return pieces(["<pad>", "</s>", "<unk>"], "$A </s>", "$A </s> $B </s>")


def _gpt2() -> Tokenizer:
    return byte_pairs(["<|endoftext|>"])


def _llama() -> Tokenizer:
    marks = ["<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|finetune_right_pad_id|>"]
    return byte_pairs(marks, "<|begin_of_text|> $A", "<|begin_of_text|> $A <|begin_of_text|> $B")


def _mistral() -> Tokenizer:
    return pieces(["<unk>", "<s>", "</s>"], "<s> $A", "<s> $A <s> $B")


def _qwen() -> Tokenizer:
    return byte_pairs(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])


def _gemma() -> Tokenizer:
    return pieces(["<pad>", "<eos>", "<bos>", "<unk>"], "<bos> $A", "<bos> $A <bos> $B")


ARCHITECTURES = {
    "bert": Architecture("bert", _bert, BERT),
    "distilbert": Architecture(
        "distilbert", _bert, BERT, POSITIONS | {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
    ),
    # Positions begin after that of the padding token.
    "roberta": Architecture("roberta", _roberta, ROBERTA, NARROW | {"max_position_embeddings": WINDOW + 2}),
    "electra": Architecture("electra", _bert, BERT, NARROW | POSITIONS | {"embedding_size": 16}),
    "mpnet": Architecture("mpnet", _mpnet, ROBERTA, NARROW | {"max_position_embeddings": WINDOW + 2}),
    "albert": Architecture("albert", _albert, ALBERT, NARROW | POSITIONS | {"embedding_size": 16}),
    "deberta-v2": Architecture(
        "deberta-v2",
        _albert,
        ALBERT,
        NARROW
        | POSITIONS
        | {
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 8,
            "share_att_key": True,
            "norm_rel_ebd": "layer_norm",
            "position_biased_input": False,
        },
    ),
    "modernbert": Architecture("modernbert", _modernbert, BERT, NARROW | POSITIONS | {"local_attention": 8}),
    "xlm-roberta": Architecture("xlm-roberta", _mpnet, ROBERTA, NARROW | {"max_position_embeddings": WINDOW + 2}),
    "t5": Architecture(
        "t5",
        _t5,
        {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
        {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2},
        encoder_class="T5EncoderModel",
    ),
    "gpt2": Architecture(
        "gpt2",
        _gpt2,
        dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>"),
        {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": WINDOW},
        causal=True,
    ),
    "llama": Architecture(
        "llama", _llama, {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"}, DECODER, causal=True
    ),
    "mistral": Architecture(
        "mistral", _mistral, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}, DECODER, causal=True
    ),
    "qwen2": Architecture("qwen2", _qwen, QWEN, DECODER, causal=True),
    "qwen3": Architecture("qwen3", _qwen, QWEN, DECODER, causal=True),
    "gemma2": Architecture(
        "gemma2", _gemma, GEMMA, DECODER | {"sliding_window": 8, "query_pre_attn_scalar": 16}, causal=True
    ),
    "gemma3": Architecture(
        "gemma3_text", _gemma, GEMMA, DECODER | {"sliding_window": 8, "query_pre_attn_scalar": 16}, causal=True
    ),
}
"""Architecture -> how its random checkpoint is made. A new line is tested with every model that has an encoder."""

CAUSAL = [name for name, made in ARCHITECTURES.items() if made.causal]


def some_fast(names: Iterable[str], fast: Collection[str] = ("bert", "t5", "gpt2", "llama")) -> list[Any]:
    """Architectures as parameters of a test, of which all but a few are slow."""
    return [pytest.param(name, marks=() if name in fast else pytest.mark.slow) for name in sorted(names)]


def write_checkpoint(folder: Path, name: str, head: str = "", **changes: Any) -> Path:
    """config.json, model.safetensors and the tokenizer's files of a random checkpoint of an architecture.

    `head` names a class with a head, such as "AutoModelForSequenceClassification". `changes` are settings of the
    configuration.
    """
    made = ARCHITECTURES[name]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made.tokenizer(), **made.special)
    ids = {
        f"{role}_token_id": getattr(tokenizer, f"{role}_token_id")
        for role in ("pad", "bos", "eos")
        if f"{role}_token" in made.special
    }
    settings = {"vocab_size": len(tokenizer), "initializer_range": 0.1} | ids | made.config | changes
    config = AutoConfig.for_model(settings.pop("model_type", made.model_type), **settings)
    torch.manual_seed(0)
    cls = getattr(transformers, head or made.encoder_class or "AutoModel")
    model = cls.from_config(config) if hasattr(cls, "from_config") else cls(config)
    with quiet_transformers():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def reference(folder: Path) -> torch.nn.Module:
    """The checkpoint as transformers opens it."""
    return AutoModel.from_pretrained(folder, local_files_only=True).eval()


def sentencepiece_model(*symbols: str) -> bytes:
    """A tokenizer's file that the package sentencepiece has learned from a few words, with symbols of its own."""
    from sentencepiece import SentencePieceTrainer

    file = BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(WORDS)] * 5 + WORDS),
        model_writer=file,
        vocab_size=120,
        hard_vocab_limit=False,
        control_symbols=list(symbols),
        minloglevel=2,
    )
    return file.getvalue()
