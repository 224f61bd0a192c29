"""`merge` and `--average-adapters` refuse what they cannot do, and write what they say."""

import re
from pathlib import Path

import pytest

from pairrank.data.predictions import read_predictions
from pairrank.models.saving import load_model
from tests.support.architectures import write_checkpoint
from tests.support.command_line import refused

TINY = (
    'encoder = ["tiny"]\nmax_tokens = 64\nhidden = 8\nadapter.rank = 2\n'
    "training = {epochs = 1, learning_rate = 0.01, hold_out = 0.0, frozen_layers = 0}\n"
)


@pytest.fixture
def prior(run_once) -> Path:
    run_once("prior")
    return Path("runs/data/prior")


def test_a_run_without_adapters_is_neither_merged_nor_averaged(call, prior: Path):
    assert refused(call("merge", "prior", "--data", "data", "--out", "merged"), "'prior' has no adapter")
    assert not Path("merged").exists() or not list(Path("merged").rglob("model.json"))
    for command in (["submit", "prior"], ["predict", "prior", "data/test.csv", "--out", "new.csv"]):
        ended = call(*command, "--data", "data", "--average-adapters")
        assert refused(ended, "no adapters to average")
    assert not Path("submission.csv").exists()


def test_a_fold_that_is_not_trained_and_an_existing_folder_are_refused(call, prior: Path):
    ended = call("merge", "prior", "--data", "data", "--out", "merged", "--fold", "7")
    assert refused(ended, "--fold 7", "Trained: 0, 1, 2, 3, 4")
    Path("merged/fold1").mkdir(parents=True)
    assert refused(call("merge", "prior", "--data", "data", "--out", "merged"), "merged/fold1", "exists already")


def test_averaged_adapters_are_not_predicted_on_a_cluster(call, prior: Path):
    ended = call("predict", "prior", "data/test.csv", "--out", "n.csv", "--average-adapters", "--engine", "ray")
    assert refused(ended, "Leave out --engine ray")


@pytest.mark.slow
def test_a_run_with_adapters_is_submitted_averaged_and_merged(call, here: Path):
    write_checkpoint(here / "tiny", "bert")
    (here / "experiments").mkdir(exist_ok=True)
    (here / "experiments" / "mine.toml").write_text(f'[split]\nfolds = 2\n[model]\nname = "siamese"\n{TINY}')
    assert call("run", "mine", "--data", "data").code == 0
    assert call("submit", "mine", "--data", "data").code == 0
    assert call("submit", "mine", "--data", "data", "--out", "average.csv", "--average-adapters").code == 0
    mean, average = (read_predictions(Path(name)) for name in ("submission.csv", "average.csv"))
    assert mean.id.tolist() == average.id.tolist()
    assert mean.proba != pytest.approx(average.proba, abs=1e-9)
    ended = call("merge", "mine", "--data", "data", "--out", "merged", "--fold", "1")
    assert ended.code == 0, ended.err
    assert re.search(r"merged/fold1\. The largest change of a probability on the fold's \d+ battles is ", ended.out)
    assert [path.name for path in Path("merged").iterdir()] == ["fold1"]
    assert not load_model("merged/fold1").has_adapter
