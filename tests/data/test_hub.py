"""A data set of the hub is named with its revision, and fetched once; every failure is one message."""

import socket
from pathlib import Path

import huggingface_hub
import pytest

from pairrank import network
from pairrank.data import hub as hub_module
from pairrank.data.folder import find_data
from pairrank.data.hub import fetch_battles
from pairrank.data.reading import read_battles
from pairrank.data.writing import write_battles
from pairrank.errors import UserError
from tests.support.battles import write_folder

NAME = "hf:owner/votes@0123abc"


class Hub:
    """The client of the hub, with files of a folder."""

    def __init__(self, folder: Path, files: list[str]) -> None:
        self.folder, self.files, self.asked = folder, files, []

    def list_repo_files(self, identifier: str, repo_type: str, revision: str) -> list[str]:
        self.asked.append((identifier, repo_type, revision))
        return self.files

    def download(self, identifier: str, path: str, **options: object) -> str:
        self.asked.append((identifier, path, options["revision"], options["repo_type"]))
        return str(self.folder / path)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    write_folder(tmp_path / "hub", n=9, tests=0)
    made = Hub(tmp_path / "hub", ["README.md", "train.csv", "test.csv"])
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("PAIRRANK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub_module, "hub_is_reachable", lambda: True)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: made)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", made.download)
    return made


def test_the_training_file_of_a_data_set_is_fetched_at_its_revision(hub: Hub):
    source = find_data(Path(NAME))
    assert len(source.train) == 9
    assert source.name == "owner-votes-0123abc"
    assert hub.asked == [
        ("owner/votes", "dataset", "0123abc"),
        ("owner/votes", "train.csv", "0123abc", "dataset"),
    ]


def test_a_named_file_is_fetched_without_a_list(hub: Hub):
    assert fetch_battles(f"{NAME}/data/votes.parquet") == hub.folder / "data" / "votes.parquet"
    assert hub.asked == [("owner/votes", "data/votes.parquet", "0123abc", "dataset")]


@pytest.mark.parametrize(
    "name", ["hf:", "hf:votes", "hf:owner/votes", "hf:owner/votes@", "hf:o/v@main", "hf:o/v@0123abc/../../x.csv"]
)
def test_a_name_without_a_revision_is_refused_before_anything_is_fetched(hub: Hub, name: str):
    with pytest.raises(UserError, match="expected hf:OWNER/NAME@REVISION"):
        fetch_battles(name)
    assert hub.asked == []


@pytest.mark.parametrize("files", [[], ["a.parquet", "b.parquet"], ["train-1.csv", "train-2.csv"]])
def test_several_possible_files_are_listed(hub: Hub, files: list[str]):
    hub.files = files
    with pytest.raises(UserError, match="Add one of them") as caught:
        fetch_battles(NAME)
    assert all(file in str(caught.value) for file in files)


def test_a_hub_that_cannot_be_reached_is_one_message(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> str:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(UserError, match=r"could not be fetched from the hub \(ConnectionError: no route\)"):
        fetch_battles(NAME)


@pytest.mark.parametrize("name", [NAME, f"{NAME}/votes.csv"])
def test_a_hub_that_does_not_answer_the_probe_is_asked_for_nothing(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, name: str
):
    monkeypatch.setattr(hub_module, "hub_is_reachable", lambda: False)
    with pytest.raises(UserError, match=r"the hub cannot be reached.*HF_HUB_OFFLINE.*--data"):
        fetch_battles(name)
    assert hub.asked == []


def test_a_silent_hub_is_given_up_after_the_probe(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    """The stand-in accepts a connection and never answers."""
    from huggingface_hub import constants

    silent = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setattr(hub_module, "hub_is_reachable", network.hub_is_reachable)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    monkeypatch.setattr(network, "PROBE_SECONDS", 0.2)
    network.hub_is_reachable.cache_clear()
    try:
        with pytest.raises(UserError, match="the hub cannot be reached"):
            fetch_battles(NAME)
    finally:
        silent.close()
        network.hub_is_reachable.cache_clear()
    assert hub.asked == []


def cached_file(cache: Path, name: str) -> Path:
    """A file in the cache, where the client of the hub keeps it."""
    folder = cache / "datasets" / "datasets--owner--votes" / "snapshots" / "0123abc"
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("x")
    return folder / name


def test_a_file_in_the_cache_needs_no_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(hub_module, "hub_is_reachable", lambda: False)
    kept = cached_file(tmp_path / "cache", "votes.csv")
    assert fetch_battles(f"{NAME}/votes.csv") == kept
    first = cached_file(tmp_path / "cache", SHARDS[0])
    with pytest.raises(UserError, match="not in the cache"):
        fetch_battles(f"{NAME}/{SHARDS[0]}")
    for name in SHARDS[1:]:
        cached_file(tmp_path / "cache", name)
    assert fetch_battles(f"{NAME}/{SHARDS[1]}") == first


# Shards

SHARDS = [f"data/train-0000{i}-of-00003.parquet" for i in range(3)]


@pytest.mark.parametrize("name", [NAME, f"{NAME}/{SHARDS[1]}"])
def test_all_shards_of_the_training_table_are_fetched_and_read_as_one(hub: Hub, name: str):
    (hub.folder / "data").mkdir()
    battles = read_battles(hub.folder / "train.csv")
    for i, shard in enumerate(SHARDS):
        write_battles(battles.take(slice(3 * i, 3 * i + 3)), hub.folder / shard)
    hub.files = ["README.md", "data/test-00000-of-00001.parquet", *reversed(SHARDS)]
    source = find_data(Path(name))
    assert source.train.content_hash() == battles.content_hash()
    assert [asked[1] for asked in hub.asked] == ["dataset", *SHARDS]


def test_a_missing_shard_is_named(hub: Hub):
    hub.files = SHARDS[:1] + SHARDS[2:]
    with pytest.raises(UserError, match=r"data/train: 1 of 3 shards are missing: 00001"):
        fetch_battles(NAME)
    assert [asked[1] for asked in hub.asked] == ["dataset"]
