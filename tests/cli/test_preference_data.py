"""Three whole paths of a reward-model researcher, from a file of their own to a table of results."""

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairrank.data.battles import Battles, object_array
from pairrank.data.folds import assign_folds
from pairrank.data.reading import read_battles
from pairrank.data.writing import write_battles
from pairrank.evaluation.run_record import read_run_record
from tests.support.battles import WORDS, tiny_battles
from tests.support.plain_texts import write_json_lines

pytestmark = pytest.mark.slow


def better_answers(n: int) -> list[dict[str, str]]:
    """Pairs in the form of TRL: the chosen answer has the word "good" three times more often."""
    rng = np.random.default_rng(0)

    def words(good: int) -> str:
        return " ".join(rng.permutation(["good"] * good + [*rng.choice(WORDS, 6)]).tolist())

    return [{"prompt": f"what is {i}", "chosen": words(4), "rejected": words(1)} for i in range(n)]


def scores_of(*names: str, home: str = "runs/pairs") -> dict[str, float]:
    return {name: json.loads(Path(home, name, "metrics.json").read_text())["log_loss"] for name in names}


def test_chosen_and_rejected_answers_become_a_report_of_two_architectures(call, tiny_bert):
    write_json_lines(Path("pairs.jsonl"), better_answers(80))
    checked = call("check", "pairs.jsonl")
    assert "trl_preference" in checked.out
    assert "WARNING" not in checked.out
    small = ("--data", "pairs.jsonl", "--set", "seeds=1")
    assert call("run", "structure", *small).code == 0
    tiny = {"encoder": json.dumps([str(tiny_bert)]), "max_tokens": 32, "training.frozen_layers": 0}
    tiny |= {"training.learning_rate": 3e-3, "training.head_rate": 1.0}
    settings = [word for name, value in tiny.items() for word in ("--set", f"{name}={value}")]
    assert call("run", "siamese", "--data", "pairs.jsonl", *settings).code == 0
    assert call("report", "--data", "pairs.jsonl", "--out", "report.html").code == 0
    page = Path("report.html").read_text(encoding="utf-8")
    labels = sorted(file.parent.name for file in Path("runs/pairs").glob("*/metrics.json"))
    assert len(labels) == 3  # with the prior
    assert all(label.partition("+")[0] in page for label in labels)
    found = scores_of(*labels)
    structure, prior = (next(found[name] for name in labels if name.startswith(start)) for start in ("str", "pri"))
    assert structure < prior - 0.2


def test_votes_of_sessions_in_parquet_keep_sessions_together(call):
    battles = tiny_battles(60)
    # One user asks twelve questions in a session, so that prompts alone would divide it.
    sessions = replace(battles, group=object_array([f"session {i // 12}" for i in range(60)]))
    write_battles(sessions, Path("arena.parquet"), "arena_140k")
    checked = call("check", "arena.parquet")
    assert "arena_140k" in checked.out
    assert call("run", "prior", "--data", "arena.parquet").code == 0
    read = read_battles("arena.parquet")
    folds, found = assign_folds(read, 5), defaultdict(set)
    for group, fold in zip(read.group.tolist(), folds.tolist(), strict=True):
        found[group].add(fold)
    assert [len(each) for each in found.values()] == [1] * 5
    assert read_run_record(Path("runs/arena/prior")).data.battles == 60


def rated(battles: Battles) -> list[dict[str, Any]]:
    """Scores of a judge that is right about the winner, and undecided about ties."""
    strength = np.array([1.0, -1.0, 0.0])[battles.labels]
    return [{"id": name, "score_a": each, "score_b": 0.0} for name, each in zip(battles.id, strength, strict=True)]


def test_own_probabilities_and_own_scores_stand_in_one_table(call):
    train = read_battles("data/train.csv")
    assert call("run", "prior", "--data", "data").code == 0
    write_json_lines(Path("scores.jsonl"), rated(train))
    proba = np.full((len(train), 3), 0.2)
    proba[np.arange(len(train)), train.labels] = 0.6
    lines = [",".join([name, *map(str, row)]) for name, row in zip(train.id, proba.tolist(), strict=True)]
    head = "id,winner_model_a,winner_model_b,winner_tie"
    Path("mine.csv").write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    ended = call("compare", "--data", "data", "--add", "judge=scores.jsonl", "--add", "mine=mine.csv")
    assert ended.code == 0
    shown = ended.out + ended.err
    assert "temperature" in shown
    rows = {line.split()[0]: line for line in ended.out.replace("│", " ").splitlines() if line.split()}
    assert f"{-np.log(0.6):.4f}" in rows["mine"]
    assert "judge" in rows
