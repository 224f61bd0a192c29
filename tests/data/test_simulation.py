"""Simulated battles have the stated probabilities, are independent of each other, and depend on their text."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from pairrank.data import simulation as arena_module
from pairrank.data.battles import Battles, concatenate
from pairrank.data.folds import prompt_keys
from pairrank.data.predictions import Predictions, read_predictions
from pairrank.data.reading import read_battles
from pairrank.data.simulated_text import wordings, words
from pairrank.data.simulation import TIES, davidson, simulate, write_arena
from pairrank.encoders.catalogue import find_encoder
from pairrank.errors import UserError

SAMPLE = Path(__file__).parents[2] / "Dataset" / "sample"
FILES = ("train.csv", "train-truth.csv", "test.csv", "test-truth.csv")


@pytest.fixture(scope="module")
def big() -> tuple[Battles, Predictions]:
    return simulate(30_000, seed=1)


def surprise(proba: np.ndarray, winner: np.ndarray) -> float:
    return float(-np.log(proba[np.arange(len(winner)), winner]).mean())


def frequencies(groups: np.ndarray, winner: np.ndarray) -> np.ndarray:
    """Return, for every battle, the outcome frequencies among the battles of its group."""
    counts = np.full((groups.max() + 1, 3), 1e-9)
    np.add.at(counts, (groups, winner), 1)
    return (counts / counts.sum(axis=1, keepdims=True))[groups]


def test_a_battle_depends_on_the_seed_and_its_number_only():
    whole, truth = simulate(60, seed=3)
    parts = [simulate(17, seed=3), simulate(1, seed=3, start=17), simulate(42, seed=3, start=18)]
    assert concatenate([battles for battles, _ in parts]).content_hash() == whole.content_hash()
    assert np.array_equal(np.concatenate([p.proba for _, p in parts]), truth.proba)
    assert simulate(60, seed=4)[0].prompt.tolist() != whole.prompt.tolist()


def test_distant_battles_are_reached_directly_and_have_distinct_ids():
    far, truth = simulate(3, start=1_000_000)
    assert far.id.tolist() == truth.id.tolist() == ["11000019", "11000020", "11000021"]
    assert far.prompt.tolist() != simulate(3)[0].prompt.tolist()


def test_an_arena_may_have_no_battles():
    battles, truth = simulate(0)
    assert len(battles) == 0
    assert truth.proba.shape == (0, 3)


def test_votes_have_the_frequencies_of_their_true_probabilities(big):
    """In tenths of each column, hits minus expected hits has variance sum p (1 - p): no z-value beyond 4."""
    battles, truth = big
    for outcome in range(3):
        p = truth.proba[:, outcome]
        hit = battles.winner == outcome
        for rows in np.array_split(np.argsort(p, kind="stable"), 10):
            z = (hit[rows] - p[rows]).sum() / np.sqrt((p[rows] * (1 - p[rows])).sum())
            assert abs(z) < 4, (outcome, p[rows].mean())


def test_no_other_probabilities_beat_the_true_ones(big):
    battles, truth = big
    floor = surprise(truth.proba, battles.winner)
    prior = np.bincount(battles.winner) / len(battles)
    assert floor < surprise(np.tile(prior, (len(battles), 1)), battles.winner) - 0.3
    noise = np.random.default_rng(0).normal(0, 0.3, truth.proba.shape)
    for other in (truth.proba**0.8, truth.proba**1.25, truth.proba + 0.05, truth.proba * np.exp(noise)):
        assert surprise(other / other.sum(axis=1, keepdims=True), battles.winner) > floor


def test_davidson_of_a_worked_example():
    """Strengths e and 1/e with nu = 2: ties weigh 2 sqrt(e * 1/e) = 2, so p = (e, 1/e, 2) / (e + 1/e + 2)."""
    e = 2.718281828459045
    assert davidson(1.0, -1.0, 2.0) == pytest.approx(np.array([e, 1 / e, 2]) / (e + 1 / e + 2))
    assert davidson(7.0, 7.0, 1.0) == pytest.approx([1 / 3, 1 / 3, 1 / 3])


def test_the_share_of_ties_follows_davidson_for_every_kind_of_request(big):
    battles, truth = big
    a, b, tie = truth.proba.T
    ratio = tie**2 / (a * b)
    assert np.unique(ratio.round(6)).tolist() == sorted({nu**2 for nu in TIES.values()})
    asked = words().stock["chat"]["asked"]
    chat = np.array([any(ask in prompt[0] for ask in asked) for prompt in battles.prompt])
    assert np.allclose(ratio[chat], TIES["chat"] ** 2)
    assert (ratio[~chat] < TIES["chat"] ** 2 - 1).all()


def test_probabilities_depend_on_the_text_and_not_on_the_side(big):
    """Equal prompts and answers have equal probabilities, and exchanged answers the exchanged ones."""
    battles, truth = big
    seen: dict[tuple[object, ...], np.ndarray] = {}
    met, met_swapped = 0, 0
    texts = zip(battles.prompt, battles.response_a, battles.response_b, strict=True)
    for (prompt, a, b), p in zip(texts, truth.proba, strict=True):
        if (prompt, a, b) in seen:
            met += 1
            assert p == pytest.approx(seen[prompt, a, b])
        if a != b and (prompt, b, a) in seen:
            met_swapped += 1
            assert p == pytest.approx(seen[prompt, b, a][[1, 0, 2]])
        if a == b:
            assert p[0] == p[1]
        seen[prompt, a, b] = p
    assert min(met, met_swapped) > 100, "too few to state the law"


def test_shares_of_outcomes_and_turns_are_those_of_real_arenas(big):
    battles, _ = big
    share = np.bincount(battles.winner) / len(battles)
    assert np.abs(share - [0.35, 0.35, 0.30]).max() < 0.02
    turns = np.array([len(prompt) for prompt in battles.prompt])
    assert 0.10 < (turns > 1).mean() < 0.14
    assert set(turns) == {1, 2, 3}
    assert [len(a) for a in battles.response_a] == [len(b) for b in battles.response_b] == turns.tolist()
    assert (battles.model_a != battles.model_b).all()
    assert len(set(battles.model_a)) == len(words().speakers) == 12


def test_length_alone_predicts_little(big):
    """Frequencies by both lengths, even on the battles they were counted on, explain little of the outcome."""
    battles, truth = big
    lengths = [
        np.array([len(" ".join(turns).split()) for turns in column])
        for column in (battles.response_a, battles.response_b)
    ]
    groups = [np.searchsorted(np.quantile(n, [0.2, 0.4, 0.6, 0.8]), n) for n in lengths]
    by_length = surprise(frequencies(groups[0] * 5 + groups[1], battles.winner), battles.winner)
    prior = surprise(frequencies(np.zeros(len(battles), dtype=int), battles.winner), battles.winner)
    assert (prior - by_length) / (prior - surprise(truth.proba, battles.winner)) < 0.25


def test_names_predict_something_but_less_than_text(big):
    battles, truth = big
    names = {name: i for i, name in enumerate(sorted(set(battles.model_a)))}
    pairs = [names[a] * 12 + names[b] for a, b in zip(battles.model_a, battles.model_b, strict=True)]
    by_name = surprise(frequencies(np.array(pairs), battles.winner), battles.winner)
    prior = surprise(frequencies(np.zeros(len(battles), dtype=int), battles.winner), battles.winner)
    closed = (prior - by_name) / (prior - surprise(truth.proba, battles.winner))
    assert 0.05 < closed < 0.4


def test_a_fact_has_two_wordings():
    assert wordings("It has [four|nine] strings.") == ("It has four strings.", "It has nine strings.")
    sentences = [sentence for facts in words().facts for fact in facts for sentence in fact]
    assert len(set(sentences)) == len(sentences) == 160


def test_false_statements_lose_to_true_ones(big):
    """With equally many plain statements about the subject, the side with more errors is less likely to win."""
    battles, truth = big
    subjects = enumerate(words().facts)
    known = {fact[false]: (i, false) for i, facts in subjects for fact in facts for false in (0, 1)}
    found = 0
    for a, b, p in zip(battles.response_a, battles.response_b, truth.proba, strict=True):
        read = [[known.get(part) for part in re.split(r"(?<=\.) ", turns[0])] for turns in (a, b)]
        if len(a) > 1 or None in read[0] + read[1] or len(read[0]) != len(read[1]):
            continue
        if any(len(set(side)) < len(side) for side in (a[0].split(". "), b[0].split(". "))):
            continue
        errors = [sum(false for _, false in side) for side in read]
        if len({subject for subject, _ in read[0] + read[1]}) == 1 and errors[0] != errors[1]:
            found += 1
            assert (p[0] > p[1]) == (errors[0] < errors[1])
    assert found > 50, "too few to state the law"


def test_read_battles_inverts_write_arena(tmp_path, monkeypatch):
    monkeypatch.setattr(arena_module, "BLOCK", 7)
    write_arena(tmp_path, train=40, test=11, seed=5)
    battles, truth = simulate(51, seed=5)
    train, test = read_battles(tmp_path / "train.csv"), read_battles(tmp_path / "test.csv")
    assert train.content_hash() == battles.take(slice(40)).content_hash()
    assert test.model_a is None
    assert test.winner is None
    assert test.prompt.tolist() == battles.prompt[40:].tolist()
    assert read_predictions(tmp_path / "train-truth.csv").align(train.id).proba == pytest.approx(
        truth.proba[:40], rel=1e-8
    )
    assert read_predictions(tmp_path / "test-truth.csv").id.tolist() == test.id.tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)


def test_the_committed_sample_is_the_output_of_write_arena(tmp_path):
    write_arena(tmp_path)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (SAMPLE / name).read_bytes(), name


def test_the_sample_has_the_peculiarities_of_real_files():
    text = (SAMPLE / "train.csv").read_text(encoding="ascii")
    assert "\\u00e0" in text, "non-ASCII text is escaped"
    with (SAMPLE / "train.csv").open(newline="") as file:
        cells = [json.loads(row[f"response_{side}"]) for row in csv.DictReader(file) for side in "ab"]
    assert 1 <= sum(None in turns for turns in cells) <= 12
    assert 1 <= sum(turns == [""] for turns in cells) <= 12


def test_the_sample_has_many_prompts_and_a_few_twice():
    keys = prompt_keys(read_battles(SAMPLE / "train.csv"))
    assert 400 <= len(set(keys)) < len(keys) == 600


def test_the_sample_is_short():
    """Battles have at most 90 wordpieces on average, and few have more than 160."""
    battles = read_battles(SAMPLE / "train.csv")
    columns = (battles.prompt, battles.response_a, battles.response_b)
    texts = ["\n".join(sum(turns, ())) for turns in zip(*columns, strict=True)]
    try:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(find_encoder(["minilm"]).folder / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        encodings = tokenizer.encode_batch(texts, add_special_tokens=False)
        counts = [len(encoding.tokens) for encoding in encodings]
    except UserError:
        # Words and punctuation, plus one piece per eight words for words that are split.
        counts = [len(re.findall(r"\w+|[^\w\s]", text)) * 9 // 8 for text in texts]
    assert np.mean(counts) <= 75
    assert np.quantile(counts, 0.99) <= 160


def test_no_simulated_sentence_occurs_in_the_real_battles(arena):
    files = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(arena.glob("*.csv"))]
    real = "\n".join(files).casefold()
    assert len(real) > 10_000
    stock = (SAMPLE.parents[1] / "pairrank" / "data" / "simulated_words.toml").read_text(encoding="utf-8")
    sentences = [s for facts in words().facts for fact in facts for s in fact]
    sentences += [s for s in re.findall(r'"([^"\n]{40,})"', stock) if "[" not in s and "{" not in s]
    assert [s for s in sentences if len(s) >= 40 and s.casefold() in real] == []
