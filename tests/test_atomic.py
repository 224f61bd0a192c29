"""Files are written completely or not at all; a killed writer leaves nothing, and links, pipes and devices stay."""

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pairrank.atomic import TEMPORARY, atomic_path, lock, temporary_folder
from pairrank.files import write_text


def test_atomic_path_keeps_the_old_file_and_leaves_no_other_after_an_error(tmp_path: Path):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def interrupted() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_atomic_path_replaces_the_target_when_the_block_ends(tmp_path: Path):
    target = tmp_path / "a.csv.gz"
    target.write_text("old")
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
        assert temporary.parent == target.parent  # a rename is atomic only within one file system
        assert temporary.name.endswith("a.csv.gz")
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_atomic_path_replaces_the_file_that_a_link_names_and_keeps_the_link(tmp_path: Path):
    real, link = tmp_path / "folder" / "real.csv", tmp_path / "link.csv"
    write_text(real, "old")
    link.symlink_to(Path("folder") / "real.csv")
    write_text(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    real.unlink()  # a link to a file that does not exist yet
    write_text(link, "newer")
    assert link.is_symlink()
    assert real.read_text() == "newer"


def test_atomic_path_writes_into_a_pipe_which_stays_a_pipe(tmp_path: Path):
    os.mkfifo(pipe := tmp_path / "pipe")
    received: list[str] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "x" * 100_000)
    reader.join(10)
    assert received == ["x" * 100_000]
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_pipe_that_no_program_reads_is_refused_before_the_block_begins(tmp_path: Path):
    os.mkfifo(pipe := tmp_path / "pipe")
    with pytest.raises(OSError, match="No such device") as raised, atomic_path(pipe):
        raise AssertionError("the block began")
    assert raised.value.filename == str(pipe)


def test_atomic_path_refuses_a_folder_before_the_block_begins(tmp_path: Path):
    with pytest.raises(IsADirectoryError) as raised, atomic_path(tmp_path):
        raise AssertionError("the block began")
    assert raised.value.filename == str(tmp_path)


KILLED = """
import os, signal, sys
from pathlib import Path
from pairrank.atomic import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    if len(sys.argv) > 2:
        print(flush=True)
        sys.stdin.read()
    else:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_next_writer_removes_what_a_killed_writer_left_behind(tmp_path: Path):
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "a.txt"], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [file.name.startswith(TEMPORARY) for file in tmp_path.iterdir()] == [True]
    write_text(tmp_path / "b.txt", "whole")
    assert [file.name for file in tmp_path.iterdir()] == ["b.txt"]


def test_the_file_of_a_writer_that_is_still_writing_is_never_removed(tmp_path: Path):
    command = [sys.executable, "-c", KILLED, tmp_path / "a.txt", "wait"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        write_text(tmp_path / "b.txt", "whole")
        writer.communicate()
    assert writer.returncode == 0
    assert (tmp_path / "a.txt").read_text() == "half"


def test_two_writers_at_once_never_use_the_same_temporary_file(tmp_path: Path):
    with atomic_path(tmp_path / "a.txt") as first, atomic_path(tmp_path / "a.txt") as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "a.txt").read_text() == "first"  # the outer block ends last
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_atomic_path_writes_to_a_name_of_the_greatest_length(tmp_path: Path):
    target = tmp_path / ("é" * 125 + ".txt")  # 254 bytes
    write_text(target, "x")
    assert target.read_text() == "x"


def test_a_full_disk_names_the_target(tmp_path: Path):
    with pytest.raises(OSError, match=r"No space left") as raised, atomic_path(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert raised.value.filename == str(tmp_path / "a.txt")


def test_what_only_looks_like_a_temporary_file_is_never_removed(tmp_path: Path):
    own = [tmp_path / name for name in (".pairrank-notes.txt", ".pairrank-0123456789abcdef0", ".pairrank-0123")]
    for path in own:
        path.write_text("the user's")
    (folder := tmp_path / ".pairrank-backup").mkdir()
    write_text(tmp_path / "a.txt", "x")
    assert all(path.read_text() == "the user's" for path in own)
    assert folder.is_dir()


def test_an_abandoned_file_that_cannot_be_removed_stops_no_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    abandoned = tmp_path / f"{TEMPORARY}{'0' * 16}.txt"
    abandoned.write_text("another user's, in a folder such as /tmp")
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path == abandoned:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    write_text(tmp_path / "a.txt", "x")
    assert (tmp_path / "a.txt").read_text() == "x"


def test_a_temporary_folder_in_use_stays_and_one_of_a_killed_process_goes(tmp_path: Path):
    (killed := tmp_path / f"{TEMPORARY}{'0' * 16}").mkdir()
    (killed / "half").write_text("")
    with temporary_folder(tmp_path) as used:
        assert not killed.exists()
        (used / "a").write_text("")
        code = "import sys; from pathlib import Path; from pairrank.files import write_text\n"
        code += "write_text(Path(sys.argv[1]), 'x')"
        subprocess.run([sys.executable, "-c", code, tmp_path / "b.txt"], check=True)
        assert (used / "a").exists()
    assert [file.name for file in tmp_path.iterdir()] == ["b.txt"]


def test_a_name_that_was_removed_before_it_was_locked_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    removed: list[Path] = []

    def lock_late(descriptor: int, shared: bool = False, wait: bool = True) -> bool:
        if not removed:
            removed.extend(tmp_path.iterdir())
            removed[0].rmdir()
        return lock(descriptor, shared, wait)

    monkeypatch.setattr("pairrank.atomic.lock", lock_late)
    with temporary_folder(tmp_path) as folder:
        assert folder.is_dir()
        assert removed != [folder]


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "link"])
def test_what_is_written_to_standard_output_is_added_to_its_file(tmp_path: Path, name: str):
    if not Path("/dev/fd/1").exists():
        pytest.skip("this system has no /dev/fd")
    log, link = tmp_path / "log", tmp_path / "link"
    log.write_text("kept\n")
    link.symlink_to("/dev/stdout")
    code = "import sys; from pathlib import Path; from pairrank.files import write_text\n"
    code += "write_text(Path(sys.argv[1]), 'added\\n')"
    with log.open("a") as out:
        subprocess.run([sys.executable, "-c", code, link if name == "link" else name], stdout=out, check=True)
    assert log.read_text() == "kept\nadded\n"
    assert {file.name for file in tmp_path.iterdir()} == {"log", "link"}


def test_a_replaced_file_leaves_its_permissions_to_the_new_one(tmp_path: Path):
    target = tmp_path / "a.csv"
    target.write_text("old")
    target.chmod(0o600)
    write_text(target, "new")
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o600


def test_a_file_that_may_not_be_written_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (target := tmp_path / "a.csv").write_text("protected")
    monkeypatch.setattr(os, "access", lambda path, mode: not (Path(path) == target and mode == os.W_OK))
    with pytest.raises(PermissionError) as raised:
        write_text(target, "new")
    assert raised.value.filename == str(target)
    assert target.read_text() == "protected"


def test_the_bytes_are_on_the_disk_before_the_name_and_the_name_before_the_end(tmp_path: Path, monkeypatch):
    """Otherwise a power cut could leave an empty file under the name of a complete one."""
    target, steps = tmp_path / "a.txt", []

    def sync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        steps.append(("folder" if is_folder else os.pread(descriptor, 9, 0), target.exists()))

    monkeypatch.setattr(os, "fsync", sync)
    write_text(target, "new")
    assert steps == [(b"new", False), ("folder", True)]
