import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairrank.data.battles import Battles, object_array
from pairrank.data.folds import prompt_keys
from pairrank.data.reading import stream_battles, write_battles
from pairrank.data.simulation import simulate
from pairrank.errors import UserError
from pairrank.evaluation.survey import Kept, join, survey_file, survey_of
from pairrank.features.languages import LANGUAGES, UNKNOWN, language_of
from pairrank.features.ratings import fit_ratings
from tests.support.battles import tiny_battles
from tests.support.strategies import training_rows, valid_battles, write_rows


@settings(deadline=None)  # the first asks for the languages' letters
@given(valid_battles(least=1))
def test_a_survey_counts_what_anyone_can_count(battles: Battles):
    survey = survey_of(battles)
    for i, (prompt, a, b) in enumerate(zip(battles.prompt, battles.response_a, battles.response_b, strict=True)):
        assert survey.chars[i].tolist() == [len("".join(turns)) for turns in (prompt, a, b)]
        assert survey.turns[i] == len(prompt)
        assert survey.empty[i] == ("".join(a).isspace() or not "".join(a) or "".join(b).isspace() or not "".join(b))
    keys = prompt_keys(battles)
    for i in range(len(battles)):
        for j in range(i):
            assert (survey.key[i] == survey.key[j]) == (keys[i] == keys[j])
            same = all(
                getattr(battles, t)[i] == getattr(battles, t)[j] for t in ("prompt", "response_a", "response_b")
            )
            assert (survey.content[i] == survey.content[j]) == same


def test_gaps_and_damaged_letters_are_seen(tmp_path: Path):
    rows = training_rows(4)
    rows[2][3:6] = ['["a",null]', '["b","c"]', '["d","e"]']
    rows[3][4] = '["half an emoji: \\ud83d"]'
    survey = survey_file(write_rows(tmp_path / "train.csv", rows)).survey
    assert survey.gap.tolist() == [False, True, False, False]
    assert survey.mangled.tolist() == [False, False, True, False]


def test_equal_answers_and_code_are_seen(battles: Battles):
    survey = survey_of(battles)
    assert survey.equal.tolist() == [False, False, False, True, False]
    fenced = Battles(
        object_array(["1", "2"]),
        object_array([("Sort a list",), ("How are you?",)]),
        object_array([("```python\nsorted(x)\n```",), ("Fine.",)]),
        object_array([("No.",), ("Well.",)]),
    )
    assert survey_of(fenced).code.tolist() == [True, False]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Wie ist das Wetter heute in Berlin, und wird es morgen regnen?", "de"),
        ("Quelle est la capitale de la France et combien d'habitants compte-t-elle ?", "fr"),
        ("What is the weather like today, and will it rain tomorrow?", "en"),
        ("今天的天气怎么样？明天会下雨吗？", "zh"),
        ("Какая сегодня погода и будет ли завтра дождь?", "ru"),
        ("1 + 1 = 2 ???", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_languages_are_told_apart(text: str, code: str):
    assert language_of((text,), (text,), (text,)) == code
    assert code in (*LANGUAGES, UNKNOWN)


def test_a_file_is_surveyed_as_its_battles_are(tmp_path: Path):
    battles, _ = simulate(230)
    write_battles(battles, tmp_path / "train.csv")
    heard: list[int] = []
    found = survey_file(tmp_path / "train.csv", shown=20, count=heard.append)
    assert heard[-1] == len(found.survey) == 230
    for name, column in vars(survey_of(battles)).items():
        np.testing.assert_array_equal(getattr(found.survey, name), column)
    assert len(found.shown) == 20
    assert not found.complaints


@given(st.permutations(range(30)), st.integers(1, 40), st.integers(1, 10))
def test_the_same_battles_are_kept_in_any_order_and_in_any_blocks(order: list[int], size: int, block: int):
    battles = tiny_battles(30)
    kept = Kept(size)
    shuffled = battles.take(np.array(order))
    for start in range(0, 30, block):
        kept.offer(shuffled.take(slice(start, start + block)))
    once = Kept(size)
    once.offer(battles)
    assert set(kept.battles().id) == set(once.battles().id)
    assert len(once.battles()) == min(size, 30)


def test_a_damaged_file_is_shown_and_not_refused(tmp_path: Path):
    rows = training_rows(4)
    rows[2][-3:] = ["1", "1", "0"]  # two winners
    rows[3][3] = "no JSON"
    found = survey_file(write_rows(tmp_path / "train.csv", rows))
    assert found.survey.id.tolist() == ["1", "3", "4"]
    assert found.survey.winner.tolist() == [0, 2, 0]
    assert any("id 2: winner columns are 1, 1, 0" in line for line in found.complaints)
    assert any("id 3: prompt is not JSON" in line for line in found.complaints)


def test_an_unclear_winner_is_dropped_only_where_that_was_asked_for(tmp_path: Path):
    rows = training_rows(3)
    rows[1][-3:] = ["0", "0", "0"]
    path = write_rows(tmp_path / "train.csv", rows)
    [kept] = stream_battles(path)
    [dropped] = stream_battles(path, damage="drop")
    assert kept.id.tolist() == ["1", "2", "3"]
    assert kept.winner is None
    assert dropped.id.tolist() == ["2", "3"]
    assert dropped.labels.tolist() == [1, 2]


def test_an_empty_file_has_an_empty_survey_and_a_missing_one_is_an_error(tmp_path: Path):
    found = survey_file(write_rows(tmp_path / "train.csv", training_rows(0)))
    assert len(found.survey) == len(found.shown) == 0
    with pytest.raises(UserError, match="no such file"):
        survey_file(tmp_path / "gone.csv")


def test_ratings_need_no_text():
    battles, _ = simulate(300)
    survey = join([survey_of(battles.take(slice(100))), survey_of(battles.take(slice(100, None)))])
    assert fit_ratings(survey.textless()) == fit_ratings(battles)


def test_test_battles_have_no_winner_to_survey():
    survey = survey_of(tiny_battles(6, labelled=False))
    assert (survey.winner == -1).all()
    assert len(survey.textless()) == 0


def test_of_the_texts_only_some_are_held(tmp_path: Path):
    """4,000 more battles of 2 kB each take 200 bytes each at most."""
    one = tiny_battles(6_000, labelled=False)
    long = object_array([("x " * 1_000,)] * 6_000)
    whole = Battles(one.id, one.prompt, long, one.response_b)
    held = []
    for rows in (2_000, 2_000, 6_000):  # the first fills whatever is filled once
        write_battles(whole.take(slice(rows)), tmp_path / "test.csv")
        tracemalloc.start()
        found = survey_file(tmp_path / "test.csv", shown=50)
        held.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        assert len(found.survey) == rows
    assert held[2] - held[1] < 4_000 * 200
