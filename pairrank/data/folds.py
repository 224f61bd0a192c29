"""A battle's fold is a hash of its prompt: the same in any file, order, subset or machine, so no prompt leaks."""

import hashlib
import unicodedata
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from pairrank.data.battles import Battles
from pairrank.data.turns import repair_text

Folds = npt.NDArray[np.int64]


def prompt_key(battle_prompt: tuple[str, ...]) -> str:
    """What makes two prompts the same: the first turn, NFKC, white space collapsed, casefolded."""
    text = unicodedata.normalize("NFKC", repair_text(next(iter(battle_prompt), "")))
    return " ".join(text.split()).casefold()


def prompt_keys(battles: Battles) -> list[str]:
    """One key a battle, in order."""
    return [prompt_key(prompt) for prompt in battles.prompt]


def fold_of(key: str, k: int = 5, salt: str = "") -> int:
    """The first 8 bytes (big-endian) of SHA-256 over salt, a zero byte and key, modulo k.

    Salt "" makes the scored folds. Every inner split takes another salt: the same hash under another modulus
    is not independent of them.
    """
    digest = hashlib.sha256(f"{salt}\0{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % k


def assign_folds(battles: Battles, k: int = 5, salt: str = "") -> Folds:
    """(n,) folds from 0 to k - 1."""
    return np.array([fold_of(key, k, salt) for key in prompt_keys(battles)], dtype=np.int64)


def name_folds(folds: Iterable[int]) -> str:
    """Folds in a sentence: "fold 4", "folds 0, 1, 2, 3"."""
    numbers = sorted(folds)
    return f"fold{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def hold_out(battles: Battles, share: float, salt: str) -> npt.NDArray[np.bool_]:
    """(n,) True for about `share` of the battles, whole prompts at a time: an inner validation set.

    Raises ValueError for salt "": its thousandths decide the scored folds too, so both would hold the same prompts.
    """
    if not salt:
        raise ValueError('salt "" makes the scored folds: an inner split needs another')
    thousandths = np.array([fold_of(key, 1000, salt) for key in prompt_keys(battles)])
    held: npt.NDArray[np.bool_] = thousandths < round(share * 1000)
    return held
