"""With a higher `content`, what simulated answers say decides, and only together with the question."""

import re
import tomllib
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression

from pairrank.data import simulated_questions as questions
from pairrank.data.battles import Battles, concatenate
from pairrank.data.folds import prompt_keys
from pairrank.data.predictions import Predictions, read_predictions
from pairrank.data.reading import read_battles
from pairrank.data.simulated_text import words
from pairrank.data.simulation import QUESTION_TIES, davidson, simulate, write_arena
from pairrank.errors import UserError

FACTS = tomllib.loads(Path(questions.__file__).with_name("simulated_facts.toml").read_text(encoding="utf-8"))
ATTRIBUTES = [
    (t, a, entry) for t, topic in enumerate(FACTS["topics"]) for a, entry in enumerate(topic["attributes"])
]
SENTENCES = {
    wording.replace("{value}", value): (topic, attribute, value)
    for topic, attribute, entry in ATTRIBUTES
    for wording in entry["wordings"]
    for value in entry["values"]
}
PLAIN, MIXED, HARD = "4816d463cb361676", "469fda5875d83e43", "1309a06181fae3ae"
ASKS = {
    ask.replace("{it}", subject): (topic, attribute, subject)
    for topic, attribute, entry in ATTRIBUTES
    for ask in entry["asks"]
    for subject in FACTS["topics"][topic]["subjects"]
}


@pytest.fixture(scope="module")
def hard() -> tuple[Battles, Predictions]:
    return simulate(12_000, seed=1, content=1.0)


def loss(proba: np.ndarray, winner: np.ndarray) -> float:
    return float(-np.log(proba[np.arange(len(winner)), winner]).mean())


def prior(winner: np.ndarray) -> float:
    return loss(np.tile(np.bincount(winner) / len(winner), (len(winner), 1)), winner)


def read_question(prompt: str) -> tuple[int, int, str]:
    """Return the topic, the attribute and the subject of a prompt, from its text."""
    (found,) = {ASKS[ask] for ask in ASKS if ask in prompt}
    return found


def read_statements(text: str) -> list[tuple[int, int, str]]:
    """Return topic, attribute and value of each statement of an answer, from its text."""
    parts = re.split(r"(?<=\.)\s", text.replace("- ", ""))
    openers = [*words().stock["answers"]["opener"], ""]
    found = [
        [SENTENCES[part.removeprefix(o).strip()] for o in openers if part.removeprefix(o).strip() in SENTENCES]
        for part in parts
    ]
    return [said[0] for said in found if said]


def is_true(topic: int, attribute: int, value: str, subject: str) -> bool:
    return subject in FACTS["topics"][topic]["attributes"][attribute]["values"].get(value, ())


def quality(prompt: str, text: str) -> float:
    """Return the quality of an answer, from the texts alone: the rules written a second time."""
    topic, attribute, subject = read_question(prompt)
    padding = -0.3 * any(sentence in text for sentence in words().stock["answers"]["padding"])
    if any(sentence in text for sentence in words().stock["answers"]["refusal"]):
        return -7.0
    said = read_statements(text)
    assert 1 <= len(said) <= 2
    if said[0][0] != topic:
        return -6.5 + padding
    if len(said) == 2 and said[0][:2] == said[1][:2]:
        return -5.0 + padding
    worth = -4.5 if said[0][1] != attribute else 0.0 if is_true(*said[0], subject) else -6.0
    extra = sum(0.4 if is_true(*second, subject) else -2.5 for second in said[1:])
    return worth + extra + padding


def test_content_0_is_the_plain_arena_and_published_arenas_stay_the_same():
    """The hashes were computed once: curves on these battles are published, and no version may change them."""
    plain, _ = simulate(300, seed=5)
    assert plain.content_hash() == simulate(300, seed=5, content=0.0)[0].content_hash() == PLAIN
    assert simulate(300, seed=5, content=0.5)[0].content_hash() == MIXED
    assert simulate(300, seed=5, content=1.0)[0].content_hash() == HARD


def test_each_battle_is_one_of_the_plain_or_of_the_hard_arena():
    """The share of questions is `content`, and a higher value only adds questions."""
    plain, hard = (simulate(2000, seed=2, content=content)[0] for content in (0.0, 1.0))
    assert not set(plain.prompt) & set(hard.prompt)
    before = np.zeros(2000, dtype=bool)
    for content in (0.25, 0.5, 0.75):
        mixed, _ = simulate(2000, seed=2, content=content)
        asked = mixed.prompt == hard.prompt
        for name in ("prompt", "response_a", "response_b", "winner"):
            expected = np.where(asked, getattr(hard, name), getattr(plain, name))
            assert getattr(mixed, name).tolist() == expected.tolist()
        assert asked.mean() == pytest.approx(content, abs=4 * np.sqrt(0.25 / 2000))
        assert asked[before].all()
        before = asked


@pytest.mark.parametrize("content", [0.5, 1.0])
def test_a_battle_does_not_depend_on_the_number_of_battles(content):
    whole, truth = simulate(60, seed=3, content=content)
    parts = [simulate(n, 3, start, content) for n, start in ((17, 0), (1, 17), (42, 18))]
    assert concatenate([battles for battles, _ in parts]).content_hash() == whole.content_hash()
    assert np.array_equal(np.concatenate([p.proba for _, p in parts]), truth.proba)


def test_the_texts_alone_determine_the_true_probabilities(hard):
    """The same function reads the quality of either side, so exchanged sides have exchanged probabilities."""
    battles, truth = hard
    for prompt, a, b, p in zip(battles.prompt, battles.response_a, battles.response_b, truth.proba, strict=True):
        assert len(prompt) == len(a) == len(b) == 1
        expected = davidson(quality(prompt[0], a[0]), quality(prompt[0], b[0]), QUESTION_TIES)
        assert p == pytest.approx(expected)


@pytest.mark.parametrize("content", [0.5, 1.0])
def test_votes_have_the_frequencies_of_their_true_probabilities(content):
    """In tenths of each column, hits minus expected hits has variance sum p (1 - p): no z-value beyond 4."""
    battles, truth = simulate(8_000, seed=4, content=content)
    for outcome in range(3):
        p, hit = truth.proba[:, outcome], battles.winner == outcome
        for rows in np.array_split(np.argsort(p, kind="stable"), 10):
            z = (hit[rows] - p[rows]).sum() / np.sqrt((p[rows] * (1 - p[rows])).sum())
            assert abs(z) < 4, (outcome, p[rows].mean())


def test_there_is_much_to_learn_from_varied_battles(hard):
    battles, truth = hard
    assert prior(battles.winner) - loss(truth.proba, battles.winner) > 0.25
    assert np.abs(np.bincount(battles.winner) / len(battles) - 1 / 3).max() < 0.03
    assert len(set(prompt_keys(battles.take(slice(4000))))) > 1000
    triples = set(zip(battles.prompt, battles.response_a, battles.response_b, strict=True))
    assert len(triples) > 0.99 * len(battles)


def test_length_tells_almost_nothing(hard):
    battles, truth = hard
    answers = (battles.response_a, battles.response_b)
    lengths = np.array([[len(turns[0]) for turns in column] for column in answers]).T
    bins = np.stack([np.searchsorted(np.quantile(n, [0.25, 0.5, 0.75]), n) for n in lengths.T])
    groups = bins[0] * 4 + bins[1]
    counts = np.zeros((16, 3))
    np.add.at(counts, (groups, battles.winner), 1)
    proba = (counts / counts.sum(axis=1, keepdims=True))[groups]
    assert closed(proba, battles.winner, truth.proba) < 0.05


def test_statements_without_the_question_are_worth_little(hard):
    """A model that knows every statement of both answers, but not the prompt, stays near the prior."""
    battles, truth = hard
    names = {sentence: i for i, sentence in enumerate(SENTENCES.values())}
    rows = [
        Counter({names[said]: sign for said in read_statements(turns[0])})
        for sign, column in ((1, battles.response_a), (-1, battles.response_b))
        for turns in column
    ]
    entries = [(i % len(battles), name, sign) for i, row in enumerate(rows) for name, sign in row.items()]
    row, column, sign = map(np.array, zip(*entries, strict=True))
    shape = (len(battles), 2 * len(SENTENCES))
    columns = csr_array((np.ones(len(sign)), (row, column + len(SENTENCES) * (sign < 0))), shape=shape)
    train, test = slice(0, 9_000), slice(9_000, None)
    model = LogisticRegression(C=0.05, max_iter=300).fit(columns[train], battles.winner[train])
    assert closed(model.predict_proba(columns[test]), battles.winner[test], truth.proba[test]) < 0.08


def closed(proba: np.ndarray, winner: np.ndarray, truth: np.ndarray) -> float:
    """Return the share of the way from the prior to the floor."""
    return (prior(winner) - loss(proba, winner)) / (prior(winner) - loss(truth, winner))


def test_a_wrong_statement_is_as_frequent_as_a_right_one():
    """Over all subjects and shifts, value v replaces w as often as w replaces v, and never itself."""
    for topic, attribute, entry in ATTRIBUTES:
        subjects = FACTS["topics"][topic]["subjects"]
        value_of = {subject: value for value, owners in entry["values"].items() for subject in owners}
        replaced: Counter[tuple[str, str]] = Counter()
        for source, subject in enumerate(subjects):
            for step in range(60):
                wrong = questions._contrary(questions.Statement(topic, attribute, source), (step + 0.5) / 60)
                assert (wrong.topic, wrong.attribute) == (topic, attribute)
                replaced[value_of[subject], wrong.value] += 1
        assert all(v != w and replaced[w, v] == count for (v, w), count in replaced.items())


def test_each_subject_has_one_value_and_each_sentence_one_meaning():
    assert len(FACTS["topics"]) == 4
    for topic, _, entry in ATTRIBUTES:
        subjects = FACTS["topics"][topic]["subjects"]
        assert sorted(chain.from_iterable(entry["values"].values())) == sorted(subjects)
        assert max(map(len, entry["values"].values())) <= len(subjects) / 2
    assert len(SENTENCES) == sum(len(entry["wordings"]) * len(entry["values"]) for _, _, entry in ATTRIBUTES)
    assert len(ASKS) == sum(
        len(entry["asks"]) * len(FACTS["topics"][topic]["subjects"]) for topic, _, entry in ATTRIBUTES
    )


def test_write_arena_writes_these_battles(tmp_path):
    write_arena(tmp_path, train=30, test=5, seed=6, content=1.0)
    battles, truth = simulate(35, seed=6, content=1.0)
    assert read_battles(tmp_path / "train.csv").content_hash() == battles.take(slice(30)).content_hash()
    assert read_predictions(tmp_path / "test-truth.csv").proba == pytest.approx(truth.proba[30:], rel=1e-8)


@pytest.mark.parametrize("content", [-0.1, 1.01, float("nan"), float("inf")])
def test_other_values_are_refused(content, tmp_path):
    with pytest.raises(UserError, match=r"content = .*from 0 .* to 1"):
        simulate(1, content=content)
    with pytest.raises(UserError, match=r"content = "):
        write_arena(tmp_path / "new", content=content)
    assert not (tmp_path / "new").exists()
