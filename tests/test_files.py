"""Files are read completely or not at all, and their content is known by its first bytes and by its hash."""

import errno
import gzip
import hashlib
import json
import os
import zlib
from pathlib import Path

import pytest

from pairrank.errors import UserError
from pairrank.files import (
    cache_folder,
    content_of,
    csv_rows,
    damaged_files,
    read_json,
    reading,
    sha256_of,
    write_json,
    write_text,
)


@pytest.mark.parametrize(
    "error", [KeyError("x"), RecursionError(), OSError("not a gzip file"), zlib.error("x"), AttributeError("y\nz")]
)
def test_reading_turns_any_error_about_content_into_one_message(error: Exception):
    with pytest.raises(UserError, match=r"^a\.bin: damaged file.*Do this\.$"), reading("a.bin", "Do this."):
        raise error


def test_reading_does_not_call_a_file_damaged_that_may_not_be_read():
    with pytest.raises(UserError, match=r"^a\.bin: Permission denied\.$"), reading("a.bin"):
        raise PermissionError(errno.EACCES, "Permission denied", "a.bin")


@pytest.mark.parametrize("error", [UserError("as it is"), MemoryError("as it is"), KeyboardInterrupt("as it is")])
def test_reading_passes_on_what_says_nothing_about_the_file(error: BaseException):
    with pytest.raises(type(error), match=r"^as it is$"), reading("a.bin"):
        raise error


@pytest.mark.parametrize("home", [None, "relative"])
def test_without_a_home_folder_the_message_names_the_variable_to_set(monkeypatch: pytest.MonkeyPatch, home):
    for name in ("PAIRRANK_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.delenv(name, raising=False)
    if home is None:
        monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home directory")))
    else:
        monkeypatch.setenv("HOME", home)
    with pytest.raises(UserError, match="Set PAIRRANK_CACHE"):
        cache_folder()


def test_read_json_does_not_wait_for_the_writer_of_a_pipe(tmp_path: Path):
    os.mkfifo(tmp_path / "a.json")
    assert read_json(tmp_path / "a.json") is None


def test_write_text_creates_missing_folders(tmp_path: Path):
    write_text(tmp_path / "a" / "b" / "c.txt", "x")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == b"x"


def test_write_text_writes_utf8_and_keeps_line_ends(tmp_path: Path):
    write_text(tmp_path / "a.txt", "é\n😀\r\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xa9\n\xf0\x9f\x98\x80\r\n"


def test_write_json_and_json_loads_are_inverse(tmp_path: Path):
    value = {"é": [1, 0.1, None, True], "nested": {"x": "\n"}}
    write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == value


def test_write_json_refuses_nan_and_keeps_the_old_file(tmp_path: Path):
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    assert (tmp_path / "a.json").read_text() == "1\n"


def test_sha256_of_is_the_hash_of_the_bytes(tmp_path: Path):
    data = bytes(range(256)) * 9000
    (tmp_path / "a.bin").write_bytes(data)
    assert sha256_of(tmp_path / "a.bin") == hashlib.sha256(data).hexdigest()
    (tmp_path / "b.bin").write_bytes(b"abc")  # the example of FIPS 180-2, appendix B.1
    assert sha256_of(tmp_path / "b.bin") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("content", [None, b"", b'{"a": 1', b"[1]", b"\xff"])
def test_read_json_returns_none_for_a_missing_or_damaged_file_and_for_what_is_no_object(tmp_path: Path, content):
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    assert read_json(tmp_path / "a.json") is None
    assert read_json(tmp_path / "a.json" / "below-a-file.json") is None


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (b"a,b\n1,2\n", [["a", "b"], ["1", "2"]]),
        (b"a,b\n1,2", [["a", "b"], ["1", "2"]]),
        (b"a,b\r\n1,2\r\n", [["a", "b"], ["1", "2"]]),
        (b"a,b\r1,2\r", [["a", "b"], ["1", "2"]]),
        (b"\xef\xbb\xbfa,b\n1,2\n", [["a", "b"], ["1", "2"]]),
        (b'\xef\xbb\xbf"a",b\n1,2\n', [["a", "b"], ["1", "2"]]),
        (b"\n\na,b\n\n1,2\n\n", [["a", "b"], ["1", "2"]]),
        (b'a,b\n"x\r\ny","say ""hi"""\n', [["a", "b"], ["x\r\ny", 'say "hi"']]),
        (b"a,b\n\xe9,2\n", [["a", "b"], ["\udce9", "2"]]),
        (b'a,b\n"1" ,2\n', [["a", "b"], ["1 ", "2"]]),
    ],
)
def test_csv_rows_reads_every_dialect_plain_and_compressed(tmp_path: Path, data: bytes, rows: list[list[str]]):
    (tmp_path / "a.csv").write_bytes(data)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(data))
    assert list(csv_rows(tmp_path / "a.csv")) == rows
    assert list(csv_rows(tmp_path / "a.csv.gz")) == rows


def test_csv_rows_reads_cells_longer_than_the_default_limit_of_the_csv_module(tmp_path: Path):
    (tmp_path / "a.csv").write_text("a\n" + "x" * 300_000)
    assert len(list(csv_rows(tmp_path / "a.csv"))[1][0]) == 300_000


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_csv_rows_reports_an_empty_file(tmp_path: Path, data: bytes):
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(UserError, match=r"a\.csv: the file is empty\. Expected a header"):
        list(csv_rows(tmp_path / "a.csv"))


@pytest.mark.parametrize("tail", ["", "\n", "\n2,x\n3,y\n"])
def test_csv_rows_names_the_row_of_a_quote_that_is_never_closed(tmp_path: Path, tail: str):
    (tmp_path / "a.csv").write_text('a,b\n0,w\n1,"x' + tail)
    with pytest.raises(UserError, match=r"a\.csv: damaged file .*row 2 is never closed.*export it again"):
        list(csv_rows(tmp_path / "a.csv"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[:-200],  # truncated
        lambda whole: whole[:-4],  # truncated within its checksum
        lambda whole: whole[:60] + bytes(8) + whole[68:],  # overwritten
    ],
)
def test_csv_rows_names_a_damaged_gz_file(tmp_path: Path, damage):
    numbers = "".join(f"{i},{i * i % 9973}\n" for i in range(2000))
    (tmp_path / "a.csv.gz").write_bytes(damage(gzip.compress(b"a,b\n" + numbers.encode())))
    with pytest.raises(UserError, match=r"a\.csv\.gz: .*damaged file"):
        list(csv_rows(tmp_path / "a.csv.gz"))


def test_csv_rows_reads_what_a_file_contains_whatever_it_is_called(tmp_path: Path):
    (tmp_path / "plain.csv.gz").write_bytes(b"a,b\n1,2\n")
    (tmp_path / "compressed.csv").write_bytes(gzip.compress(b"a,b\n1,2\n"))
    for name in ("plain.csv.gz", "compressed.csv"):
        assert list(csv_rows(tmp_path / name)) == [["a", "b"], ["1", "2"]]


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b'\xef\xbb\xbf[{"a": 1}]', "JSON"),
        (b'\n {"a": 1}', "JSON"),
        ("id,prompt\n".encode("utf-16-be"), "UTF-16"),
        ("id,prompt\n".encode("utf-16-le"), "UTF-16"),
        ("id,prompt\n".encode("utf-16"), "UTF-16"),
        (b"id,prompt\n", ""),
        (b"", ""),
    ],
)
def test_content_of_knows_encodings_with_and_without_a_byte_order_mark(tmp_path: Path, start: bytes, kind: str):
    (path := tmp_path / "a.csv").write_bytes(start)
    assert content_of(path) == kind


@pytest.mark.parametrize("name", ["../a", "/etc/hostname", "b/../../a", "nul\0l", "b", "missing"])
def test_damaged_files_calls_what_is_no_file_of_the_folder_damaged(tmp_path: Path, name: str):
    (tmp_path / "a").write_text("outside")
    (tmp_path / "folder" / "b").mkdir(parents=True)
    outside = hashlib.sha256(b"outside").hexdigest()
    assert damaged_files(tmp_path / "folder", {name: outside}) == [name]
