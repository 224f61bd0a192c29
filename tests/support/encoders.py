"""Random encoders, 2 layers and 32 wide, in folders as a user would have them."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, PreTrainedTokenizerFast

from pairrank.encoders.quiet import quiet_transformers
from tests.support.battles import WORDS

MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
VOCABULARY = list(dict.fromkeys([*MARKS, *LETTERS, *(f"##{letter}" for letter in LETTERS), *WORDS]))
WINDOW = 64
"""Tokens that the tiny encoders have positions for."""


def wordpiece() -> Tokenizer:
    """A tokenizer of the BERT kind, in which every printable character is a token."""
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(MARKS)
    ends = [(mark, VOCABULARY.index(mark)) for mark in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=ends
    )
    return tokenizer


def write_encoder(folder: Path, kind: str = "bert") -> Path:
    """config.json, model.safetensors and the tokenizer's files of a random encoder."""
    names = {name: f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    torch.manual_seed(0)
    if kind == "bert":
        encoder = BertModel(
            BertConfig(
                vocab_size=len(VOCABULARY),
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=64,
                max_position_embeddings=WINDOW,
                initializer_range=0.1,
            )
        )
    else:
        encoder = DistilBertModel(
            DistilBertConfig(
                vocab_size=len(VOCABULARY),
                dim=32,
                n_layers=2,
                n_heads=2,
                hidden_dim=64,
                max_position_embeddings=WINDOW,
                initializer_range=0.1,
            )
        )
    with quiet_transformers():
        encoder.save_pretrained(folder)
        PreTrainedTokenizerFast(
            tokenizer_object=wordpiece(), **{f"{name}_token": mark for name, mark in names.items()}
        ).save_pretrained(folder)
    return folder
