import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairrank.data.battles import Battles, object_array
from pairrank.data.folds import prompt_keys, split_keys
from pairrank.data.reading import read_battles, stream_battles
from pairrank.data.simulation import simulate
from pairrank.data.writing import write_battles
from pairrank.errors import UserError
from pairrank.evaluation.survey import HashSample, join, survey_file, survey_of
from pairrank.features.languages import LANGUAGES, UNKNOWN, languages_of
from pairrank.features.ratings import fit_ratings
from tests.support.battles import tiny_battles
from tests.support.plain_texts import write_json_lines
from tests.support.strategies import training_rows, valid_battles, write_rows


@settings(deadline=None)  # the first example loads the language tables
@given(valid_battles(least=1))
def test_a_survey_counts_what_plain_python_counts(battles: Battles):
    survey = survey_of(battles)
    for i, (prompt, a, b) in enumerate(zip(battles.prompt, battles.response_a, battles.response_b, strict=True)):
        assert survey.chars[i].tolist() == [len("".join(turns)) for turns in (prompt, a, b)]
        assert survey.turns[i] == len(prompt)
        assert survey.empty_answer[i] == (
            "".join(a).isspace() or not "".join(a) or "".join(b).isspace() or not "".join(b)
        )
    keys = prompt_keys(battles)
    for i in range(len(battles)):
        for j in range(i):
            assert (survey.prompt_hash[i] == survey.prompt_hash[j]) == (keys[i] == keys[j])
            same = all(
                getattr(battles, t)[i] == getattr(battles, t)[j] for t in ("prompt", "response_a", "response_b")
            )
            assert (survey.content_hash[i] == survey.content_hash[j]) == same


def test_a_survey_keeps_what_connects_battles_in_one_fold():
    battles = tiny_battles(40)
    grouped = replace(battles, group=object_array([str(i % 7) if i < 14 else "" for i in range(40)]))
    for each in (battles, grouped):
        keys, expected = survey_of(each).split_keys(), split_keys(each)
        assert [keys.index(key) for key in keys] == [expected.index(key) for key in expected]


def test_empty_turns_and_damaged_characters_are_found(tmp_path: Path):
    rows = training_rows(4)
    rows[2][3:6] = ['["a",null]', '["b","c"]', '["d","e"]']
    rows[3][4] = '["half an emoji: \\ud83d"]'
    survey = survey_file(write_rows(tmp_path / "train.csv", rows)).survey
    assert survey.empty_turn.tolist() == [False, True, False, False]
    assert survey.damaged.tolist() == [False, False, True, False]


def test_equal_answers_and_code_are_found(battles: Battles):
    survey = survey_of(battles)
    assert survey.equal_answers.tolist() == [False, False, False, True, False]
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
def test_language_of_distinguishes_languages(text: str, code: str):
    column = object_array([(text,)])
    assert languages_of(Battles(object_array(["1"]), column, column, column)) == [code]
    assert code in (*LANGUAGES, UNKNOWN)


def test_survey_file_equals_the_survey_of_its_battles(tmp_path: Path):
    battles, _ = simulate(230)
    write_battles(battles, tmp_path / "train.csv")
    counts: list[int] = []
    found = survey_file(tmp_path / "train.csv", sample_size=20, progress=counts.append)
    assert counts[-1] == len(found.survey) == 230
    for name, column in vars(survey_of(battles)).items():
        np.testing.assert_array_equal(getattr(found.survey, name), column)
    assert len(found.sample) == 20
    assert not found.complaints


@pytest.mark.parametrize("known", [(), (0,), (1,), (2_099,)])
def test_a_file_gives_its_languages_as_a_whole(tmp_path: Path, known: tuple[int, ...]):
    rows = [
        {"prompt": f"How is the weather in town {i}?", "response 1": "Fine today.", "response 2": "It rains."}
        for i in range(5)
    ]
    given_rows = [row | {"language": "Elvish" if i in known else ""} for i, row in enumerate([*rows * 420])]
    ids = [
        row | {"id": str(i), "response_a": row["response 1"], "response_b": row["response 2"]}
        for i, row in enumerate(given_rows)
    ]
    path = write_json_lines(tmp_path / "x.jsonl", [row | {"winner": "model_a"} for row in ids])
    found = survey_file(path, sample_size=1).survey
    assert found.language.tolist() == survey_of(read_battles(path)).language.tolist()
    expected = ["Elvish" if i in known else "" for i in range(2_100)] if known else ["en"] * 2_100
    assert found.language.tolist() == expected


@given(st.permutations(range(30)), st.integers(1, 40), st.integers(1, 10))
def test_hash_sample_depends_neither_on_the_order_nor_on_the_blocks(order: list[int], size: int, block: int):
    battles = tiny_battles(30)
    sample = HashSample(size)
    shuffled = battles.take(np.array(order))
    for start in range(0, 30, block):
        sample.add(shuffled.take(slice(start, start + block)))
    once = HashSample(size)
    once.add(battles)
    assert set(sample.battles().id) == set(once.battles().id)
    assert len(once.battles()) == min(size, 30)


def test_survey_file_reads_a_damaged_file_and_reports_complaints(tmp_path: Path):
    rows = training_rows(4)
    rows[2][-3:] = ["1", "1", "0"]  # two winners
    rows[3][3] = "no JSON"
    found = survey_file(write_rows(tmp_path / "train.csv", rows))
    assert found.survey.id.tolist() == ["1", "3", "4"]
    assert found.survey.winner.tolist() == [0, 2, 0]
    assert any("id 2: winner columns are 1, 1, 0" in line for line in found.complaints)
    assert any("id 3: prompt is not JSON" in line for line in found.complaints)


def test_stream_battles_drops_an_unclear_winner_only_on_request(tmp_path: Path):
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
    assert len(found.survey) == len(found.sample) == 0
    with pytest.raises(UserError, match="no such file"):
        survey_file(tmp_path / "gone.csv")


def test_ratings_fitted_without_text_are_the_same():
    battles, _ = simulate(300)
    survey = join([survey_of(battles.take(slice(100))), survey_of(battles.take(slice(100, None)))])
    assert fit_ratings(survey.without_text()) == fit_ratings(battles)


def test_a_survey_of_test_battles_has_no_winners():
    survey = survey_of(tiny_battles(6, labelled=False))
    assert (survey.winner == -1).all()
    assert len(survey.without_text()) == 0


@pytest.mark.slow
def test_survey_file_does_not_keep_all_texts_in_memory(tmp_path: Path):
    """4,000 more battles of 1 kB each take 200 bytes each at most."""
    one = tiny_battles(6_000, labelled=False)
    long = object_array([("x " * 500,)] * 6_000)
    whole = Battles(one.id, one.prompt, long, one.response_b)
    memory = []
    for rows in (2_000, 2_000, 6_000):  # the first pass fills all caches
        write_battles(whole.take(slice(rows)), tmp_path / "test.csv")
        tracemalloc.start()
        found = survey_file(tmp_path / "test.csv", sample_size=50)
        memory.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        assert len(found.survey) == rows
    assert memory[2] - memory[1] < 4_000 * 200
