"""Tokenizers of the kinds that pretrained models have, learned from a few words or made of single characters."""

from io import BytesIO

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tests.support.battles import WORDS

MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
VOCABULARY = list(dict.fromkeys([*MARKS, *LETTERS, *(f"##{letter}" for letter in LETTERS), *WORDS]))


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


def single_bytes(special: list[str], single: str = "", pair: str = "") -> Tokenizer:
    """A byte-level tokenizer without merges: every byte is a token, after the special tokens."""
    vocabulary = dict.fromkeys([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(vocabulary)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _with_special_tokens(tokenizer, special, single, pair)


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
