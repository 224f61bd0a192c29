"""The user's battles are preferred to the sample, and every format of a file gives the same battles."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from pairrank.api.sources import find_source
from pairrank.data import folder
from pairrank.data.folder import DataFolder, find_data, table_in
from pairrank.data.predictions import Predictions
from pairrank.data.writing import write_battles
from pairrank.errors import UserError
from tests.support.battles import tiny_battles, write_folder

SAMPLE = Path(__file__).parents[2] / "Dataset" / "sample"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_find_data_returns_the_sample_and_one_line_says_so(here, log_lines):
    assert find_data() == DataFolder(SAMPLE, is_sample=True)
    assert find_source(None).is_sample
    [line] = log_lines
    assert "using the simulated sample" in line
    assert "--data" in line


def test_find_data_prefers_the_users_train_csv_to_the_sample(here, capsys):
    write_folder(here / "Dataset", n=4)
    source = find_source(None)
    assert (source.path, source.is_sample, source.name) == (Path("Dataset"), False, "Dataset")
    assert source.train.id.tolist() == ["1000", "1001", "1002", "1003"]
    assert capsys.readouterr().out == ""


def test_find_data_ignores_a_dataset_folder_without_train_csv(here):
    (here / "Dataset").mkdir()
    assert find_data().is_sample


@pytest.mark.parametrize("name", ["train.csv", "test.csv.gz", "train.parquet"])
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere.csv")])
def test_what_has_the_name_of_a_battle_file_and_is_none_is_refused(here, name: str, make):
    (here / "Dataset").mkdir()
    make(here / "Dataset" / name)
    with pytest.raises(UserError, match=f"{name}: a folder, a pipe or a broken link"):
        table_in(here / "Dataset", name.partition(".")[0])


def test_find_data_prefers_a_given_folder(here, capsys):
    write_folder(here / "Dataset", n=4)
    write_folder(here / "mine", n=6)
    source = find_source(Path("mine"))
    assert (len(source.train), source.name) == (6, "mine")
    assert capsys.readouterr().out == ""


def test_the_name_is_that_of_the_folder_for_any_path_to_it(here, monkeypatch):
    write_folder(here / "mine", n=6)
    monkeypatch.chdir(here / "mine")
    assert find_data(Path()).name == "mine"


def test_compressed_and_parquet_files_give_the_same_battles(tmp_path):
    import pandas

    plain = write_folder(tmp_path / "csv", n=6)
    zipped, parquet = tmp_path / "gz", tmp_path / "parquet"
    for path in (zipped, parquet):
        path.mkdir()
    for part in ("train", "test"):
        text = (plain / f"{part}.csv").read_bytes()
        (zipped / f"{part}.csv.gz").write_bytes(gzip.compress(text))
        pandas.read_csv(plain / f"{part}.csv", keep_default_na=False).to_parquet(parquet / f"{part}.parquet")
    expected = DataFolder(plain)
    for path in (zipped, parquet):
        found = DataFolder(path)
        assert found.train.content_hash() == expected.train.content_hash()
        assert found.test is not None
        assert expected.test is not None
        assert found.test.content_hash() == expected.test.content_hash()


def test_missing_folders_and_files_are_reported(tmp_path):
    with pytest.raises(UserError, match=r"nowhere: no such folder or file\. --data expects a folder"):
        find_data(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no train\.csv"):
        _ = find_data(tmp_path).train
    assert find_data(tmp_path).test is None
    assert find_data(tmp_path).truth is None


def test_a_test_file_in_place_of_the_training_file_is_reported(tmp_path):
    write_folder(tmp_path, n=4)
    (tmp_path / "test.csv").replace(tmp_path / "train.csv")
    with pytest.raises(UserError, match=r"train\.csv: the file contains no winners.*Is this a test file\?"):
        _ = find_data(tmp_path).train


def test_a_damaged_training_row_is_an_error_and_a_damaged_test_row_is_repaired(tmp_path):
    write_folder(tmp_path, n=4)
    for part, cells in (("train", '"m","k","no list","[]","[]",1,0,0'), ("test", '"no list","[]","[]"')):
        with (tmp_path / f"{part}.csv").open("a") as file:
            file.write(f'"99",{cells}\n')
    found = find_data(tmp_path)
    with pytest.raises(UserError, match=r"train\.csv: 1 complaint\n  - id 99"):
        _ = found.train
    assert found.test is not None
    assert len(found.test) == 7
    assert len(found.test.repairs) == 1


def test_truth_holds_the_probabilities_of_simulated_battles(tmp_path):
    write_folder(tmp_path, n=4)
    Predictions(tiny_battles(4).id, np.array([[0.5, 0.25, 0.25]] * 4)).write(tmp_path / "train-truth.csv")
    truth = find_data(tmp_path).truth
    assert truth is not None
    assert truth.proba.tolist() == [[0.5, 0.25, 0.25]] * 4


def test_the_sample_agrees_with_the_readme():
    sample = DataFolder(SAMPLE)
    assert len(sample.train) == 600
    assert sample.test is not None
    assert len(sample.test) == 150
    assert sample.truth is not None
    assert sample.truth.id.tolist() == sample.train.id.tolist()


def test_shipped_prefers_the_copy_of_an_installed_wheel(tmp_path, monkeypatch):
    (tmp_path / "shipped" / "sample").mkdir(parents=True)
    monkeypatch.setattr(folder, "SHIPPED", tmp_path / "shipped")
    assert folder.shipped("sample", "Dataset/sample") == tmp_path / "shipped" / "sample"
    assert folder.shipped("experiments", "experiments") == SAMPLE.parents[1] / "experiments"


@pytest.mark.parametrize(("file", "name"), [("votes.csv", "votes"), ("train.csv", "folder"), ("v.1.csv.gz", "v.1")])
def test_a_single_file_is_data_to_train_on(tmp_path, file, name):
    folder = write_folder(tmp_path / "folder", n=9)
    path = folder / file
    (folder / "train.csv").rename(path)  # the content tells that it is not compressed
    source = find_data(path)
    assert len(source.train) == 9
    assert source.test is None
    assert source.truth is None
    assert source.name == name


def test_a_folder_with_a_table_in_shards_is_read_whole(tmp_path: Path):
    battles = tiny_battles(9)
    for i in range(3):
        write_battles(battles.take(slice(3 * i, 3 * i + 3)), tmp_path / f"train-{i:05d}-of-00003.parquet")
    assert DataFolder(tmp_path).train.content_hash() == battles.content_hash()
    (tmp_path / "train-00001-of-00003.parquet").unlink()
    with pytest.raises(UserError, match="1 of 3 shards are missing: 00001"):
        _ = DataFolder(tmp_path).train
