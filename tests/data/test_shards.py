"""The shards of a table are read as one table, complete or not at all."""

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from pairrank.data.reading import read_battles, stream_battles
from pairrank.data.shards import complete_set, first_shard, shards_of
from pairrank.data.tables import read_tables
from pairrank.data.writing import write_battles
from pairrank.errors import UserError
from tests.support.battles import tiny_battles


def shard_paths(folder: Path, count: int = 3, ending: str = "") -> list[Path]:
    return [folder / f"train-{i:05d}-of-{count:05d}{ending}.parquet" for i in range(count)]


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    """Ten battles in three files, of which the second one is empty."""
    paths = shard_paths(tmp_path)
    for path, rows in zip(paths, (slice(0, 4), slice(0, 0), slice(4, 10)), strict=True):
        write_battles(tiny_battles(10).take(rows), path)
    return paths


def test_any_shard_stands_for_the_whole_table(shards: list[Path]):
    whole = tiny_battles(10).content_hash()
    for path in shards:
        assert read_battles(path).content_hash() == whole
    assert [len(part) for part in stream_battles(shards[0], rows=3)] == [3, 1, 3, 3]
    tables = list(read_tables(shards[0], 3, ["id"]))
    assert [table.first_row for table in tables] == [1, 4, 5, 8]


def test_rows_are_numbered_through_all_shards_in_messages(shards: list[Path]):
    write_battles(tiny_battles(2), shards[2])
    with pytest.raises(UserError, match="id 1000: repeated in row 5"):
        read_battles(shards[0])


def test_shards_without_rows_are_a_table_without_rows(tmp_path: Path):
    for path in shard_paths(tmp_path, 2):
        write_battles(tiny_battles(2).take(slice(0, 0)), path)
    assert len(read_battles(path, damage="repair")) == 0


@pytest.mark.parametrize(("gone", "words"), [([0], "00000"), ([0, 2], "00000, 00002")])
def test_a_missing_shard_is_one_message(shards: list[Path], gone: list[int], words: str):
    for number in gone:
        shards[number].unlink()
    with pytest.raises(UserError, match=f"{len(gone)} of 3 shards are missing: {words}. ") as caught:
        read_battles(shards[1])
    assert str(caught.value).startswith(str(shards[1].parent))


def test_shards_of_other_columns_are_refused(shards: list[Path]):
    parquet.write_table(pa.table({"id": ["1"], "text": ["a"]}), shards[2])
    with pytest.raises(UserError, match=r"train-00002-of-00003.parquet: its columns are not those"):
        read_battles(shards[0])


def test_a_shard_that_is_there_twice_is_refused():
    names = ["t-00000-of-00001.parquet", "t-00000-of-00001-abc.parquet"]
    with pytest.raises(UserError, match="the same shard"):
        complete_set(names[0], names)


def test_shards_of_finds_those_with_hashes_and_leaves_other_files_alone(tmp_path: Path):
    paths = [
        path.with_name(path.name.replace(".par", f"-{i}a.par")) for i, path in enumerate(shard_paths(tmp_path))
    ]
    for path in [*paths, *shard_paths(tmp_path, 4), tmp_path / "test-00000-of-00003.parquet"]:
        path.touch()
    assert shards_of(paths[1]) == paths
    assert shards_of(tmp_path / "train.parquet") == [tmp_path / "train.parquet"]
    assert shards_of(tmp_path / "train-1-of-3.parquet") == [tmp_path / "train-1-of-3.parquet"]


def test_first_shard_is_that_of_a_complete_table_of_this_name(shards: list[Path]):
    folder = shards[0].parent
    assert first_shard(folder, "train") == shards[0]
    assert first_shard(folder, "test") is first_shard(folder / "none", "train") is None
    (folder / "train-00000-of-00001.parquet").touch()
    with pytest.raises(UserError, match="in 2 ways"):
        first_shard(folder, "train")
