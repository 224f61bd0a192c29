"""The weights of a checkpoint are one safetensors file or several with an index, and one hash covers them."""

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pairrank.errors import excerpt
from pairrank.files import read_json, sha256_of

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
"""File that names, for each weight, the file that holds it."""
SHARDS = "model-*-of-*.safetensors"
"""Pattern of the names of the files that an index usually names."""

SENTENCEPIECE = ("spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "spm.model")
"""Names of the files of a tokenizer that transformers converts: SentencePiece models or tiktoken's."""
CONVERTERS = {"sentencepiece": "sentencepiece", "protobuf": "google.protobuf"}
"""Package -> module that transformers imports to convert such a file."""
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", *SENTENCEPIECE)
"""A tokenizer needs one of these files."""
TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt")

FILES = (CONFIG, WEIGHTS, INDEX, SHARDS, *TOKENIZERS, *TOKENIZER_SETTINGS)
"""Names and patterns of the files that are downloaded from the hub: no pickles and no code."""


@dataclass(frozen=True)
class Checkpoint:
    """The files of a folder that hold the weights of an encoder."""

    folder: Path
    weights: tuple[str, ...]
    """Name of the single file, or the index and then the files that it names, in alphabetical order."""

    @property
    def sha256(self) -> str:
        """SHA-256 of a single file; of several, that of the lines `SHA-256 name`, one for each file in order."""
        hashes = [sha256_of(self.folder / name) for name in self.weights]
        if len(hashes) == 1:
            return hashes[0]
        lines = "".join(f"{each} {name}\n" for each, name in zip(hashes, self.weights, strict=True))
        return hashlib.sha256(lines.encode()).hexdigest()


def find_checkpoint(folder: Path) -> Checkpoint | str:
    """Return the checkpoint in a folder, or the reason why its files are not those of one.

    A single file is used if there is one, as transformers does. Of several files the headers are read as well.
    """
    missing = [] if (folder / CONFIG).is_file() else [CONFIG]
    if not (folder / WEIGHTS).is_file() and not (folder / INDEX).is_file():
        missing.append(WEIGHTS)
    if not any((folder / name).is_file() for name in TOKENIZERS):
        missing.append(TOKENIZERS[0])
    if missing:
        return f"the folder has no {' and no '.join(missing)} (only safetensors weights are loaded)"
    if problem := _unreadable_tokenizer(folder):
        return problem
    if (folder / WEIGHTS).is_file():
        return Checkpoint(folder, (WEIGHTS,))
    return _from_index(folder)


def _unreadable_tokenizer(folder: Path) -> str:
    """Return why the folder's tokenizer cannot be converted with the installed packages; "" if it can be."""
    [first, *_] = [name for name in TOKENIZERS if (folder / name).is_file()]
    absent = [name for name, module in CONVERTERS.items() if find_spec(module) is None]
    if first not in SENTENCEPIECE:
        return ""
    if not (folder / first).stat().st_size:  # transformers would make a tokenizer without words of it
        return f"{first} is empty. Download it again"
    if not absent:
        return ""
    return (
        f"its tokenizer is {first} alone, which cannot be read without {' and '.join(absent)}. "
        "pip install 'pairrank[sentencepiece]', or save it as tokenizer.json"
    )


def _from_index(folder: Path) -> Checkpoint | str:
    """Return the checkpoint that the folder's index describes, or the first difference between the two."""
    places = (read_json(folder / INDEX) or {}).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        return f"{INDEX} is damaged, expected a JSON object with the file of each weight in its weight_map"
    names = sorted(set(places.values()))
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            return f"{INDEX} names {excerpt(name)}, expected safetensors files in the same folder"
        if not (folder / name).is_file():
            return f"{name} is missing, which {INDEX} names. Download it again"
    if extra := sorted({file.name for file in folder.glob(SHARDS)} - set(names)):
        return f"{extra[0]} is not named in {INDEX}. Remove it, or download the folder again"
    for name in names:
        expected = {weight for weight, file in places.items() if file == name}
        if problem := _problem_of(folder / name, expected):
            return f"{name} {problem}. Download it again"
    return Checkpoint(folder, (INDEX, *names))


def _problem_of(file: Path, expected: set[str]) -> str:
    """Return why a file does not hold exactly the weights of these names; "" if it does."""
    from safetensors import safe_open

    try:
        with safe_open(file, framework="np") as weights:
            found = set(weights.keys())
    except Exception:  # an error of safetensors or of the system
        return "is damaged, expected a complete safetensors file"
    return "" if found == expected else f"holds other weights than {INDEX} names"
