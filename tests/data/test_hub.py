"""A data set of the hub is named with its revision, and fetched once; every failure is one message."""

from pathlib import Path

import huggingface_hub
import pytest

from pairrank.data.folder import find_data
from pairrank.data.hub import fetch_battles
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


def test_offline_nothing_is_listed(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        fetch_battles(NAME)
    assert hub.asked == []
