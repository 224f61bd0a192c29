"""Extra battles are trained on with their weight, and never with a prompt that is scored or to be predicted."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairrank.data.battles import Battles, object_array
from pairrank.data.extra import Extra, ExtraUsage, PseudoLabels, add_extra
from pairrank.data.folds import exclusion_keys, is_excluded, prompt_keys
from pairrank.data.writing import write_battles
from pairrank.errors import UserError
from tests.support.battles import disguised, extra_source, tiny_battles, write_folder


def keys(battles: Battles) -> frozenset[str]:
    return frozenset(prompt_keys(battles))


def complaint(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    return str(caught.value)


# --- Which battles are trained on


def test_battles_with_a_prompt_of_the_test_file_or_the_scored_fold_are_left_out(tmp_path: Path):
    """Two battles of each prompt from 0 to 4: prompt 0 is in the test file, 1 in the scored fold, 2 in both."""
    more = extra_source(tmp_path, tiny_battles(10))
    train = tiny_battles(8, first=100)
    asked = [tiny_battles(10).prompt[i] for i in (0, 2, 4)]
    key = [" ".join(prompt[0].split()).casefold() for prompt in asked]
    whole, [drawn] = add_extra(train, [more], {key[0], key[2]}, {key[1], key[2]})
    assert whole.id.tolist() == [*train.id, "more/1006", "more/1007", "more/1008", "more/1009"]
    assert drawn == ExtraUsage("more", 0.5, read=10, in_test=4, in_fold=2)
    assert drawn.used == 4


@pytest.mark.parametrize("where", ["test", "fold"])
def test_prompts_are_compared_without_case_and_white_space(tmp_path: Path, where: str):
    train = tiny_battles(6)
    more = extra_source(tmp_path, disguised(train))
    forbidden = {"test": (keys(train), frozenset()), "fold": (frozenset(), keys(train))}[where]
    whole, [drawn] = add_extra(tiny_battles(6, first=100), [more], *forbidden)
    assert len(whole) == 6
    assert (drawn.in_test, drawn.in_fold) == ((6, 0) if where == "test" else (0, 6))
    assert drawn.used == 0
    assert len(add_extra(train, [more], frozenset(), frozenset())[0]) == 12


def test_prompts_are_compared_by_their_first_turn(tmp_path: Path):
    longer = tiny_battles(2)
    columns = {
        name: object_array([(*turns, "again") for turns in getattr(longer, name)])
        for name in ("prompt", "response_a", "response_b")
    }
    more = extra_source(tmp_path, replace(longer, **columns))
    assert add_extra(tiny_battles(2, first=50), [more], frozenset(), keys(tiny_battles(2)))[1][0].in_fold == 2


def test_extra_usage_as_a_log_line(tmp_path: Path):
    drawn = ExtraUsage("mt_bench", 0.25, read=12_345, in_test=1_000, in_fold=2_000)
    assert str(drawn) == (
        "9,345 of 12,345 extra battles from mt_bench at weight 0.25; left out: 1,000 with a prompt of the test "
        "file, 2,000 with a prompt of the scored fold"
    )


def test_without_sources_the_training_battles_are_unchanged():
    train = tiny_battles(6)
    assert add_extra(train, [], frozenset(), frozenset()) == (train, [])
    assert train.weight is None


# --- Columns


def test_battles_have_the_weight_of_their_source_and_distinct_ids(tmp_path: Path):
    train = tiny_battles(4, first=100)
    sources = [
        extra_source(tmp_path, tiny_battles(6), name, weight) for name, weight in (("one", 0.2), ("two", 0.5))
    ]
    whole, drawn = add_extra(train, sources, frozenset(), frozenset())
    assert whole.weight.tolist() == [1.0] * 4 + [0.2] * 6 + [0.5] * 6
    assert whole.id.tolist()[4:] == [f"{name}/{1000 + i}" for name in ("one", "two") for i in range(6)]
    assert len(set(whole.id)) == len(whole) == 16
    assert [each.name for each in drawn] == ["one", "two"]
    assert whole.labels.tolist() == [*train.labels, *tiny_battles(6).labels, *tiny_battles(6).labels]
    heavy = replace(train, weight=np.array([2.0, 1.0, 1.0, 5.0]))
    assert add_extra(heavy, sources, frozenset(), frozenset())[0].weight.tolist()[:5] == [2, 1, 1, 5, 0.2]


@pytest.mark.parametrize("train_named", [True, False])
@pytest.mark.parametrize("extra_named", [True, False])
def test_missing_names_are_empty_and_unused_ones_are_dropped(tmp_path: Path, train_named: bool, extra_named: bool):
    nameless = {"model_a": None, "model_b": None}
    train, rows = tiny_battles(4, first=100), tiny_battles(4)
    more = extra_source(tmp_path, rows if extra_named else replace(rows, **nameless))
    whole, _ = add_extra(train if train_named else replace(train, **nameless), [more], frozenset(), frozenset())
    if not train_named:
        assert whole.model_a is None
        assert whole.model_b is None
    else:
        assert whole.model_a.tolist() == [*train.model_a, *(rows.model_a if extra_named else [""] * 4)]
        assert whole.model_b.tolist() == [*train.model_b, *(rows.model_b if extra_named else [""] * 4)]


def test_soft_targets_of_extra_battles_are_their_winners(tmp_path: Path):
    train = replace(tiny_battles(4, first=100), soft=np.full((4, 3), 1 / 3))
    more = extra_source(tmp_path, tiny_battles(6))
    whole, _ = add_extra(train, [more], frozenset(), frozenset())
    assert np.array_equal(whole.soft[4:], np.eye(3)[tiny_battles(6).labels])
    assert np.array_equal(whole.soft[:4], train.soft)
    assert add_extra(tiny_battles(4, first=100), [more], frozenset(), frozenset())[0].soft is None


def test_a_battle_in_both_files_is_used_twice(tmp_path: Path):
    """Extra battles are compared with scored and test prompts only, so training may contain a battle twice."""
    train = tiny_battles(6)
    whole, [drawn] = add_extra(train, [extra_source(tmp_path, train)], frozenset(), frozenset())
    assert len(whole) == 12
    assert drawn.used == 6


def test_an_id_that_is_repeated_in_one_file_is_reported(tmp_path: Path):
    twice = tiny_battles(4)
    twice.id[3] = twice.id[0]
    assert "repeated in row" in complaint(lambda: extra_source(tmp_path, twice).battles)


def test_two_sources_with_the_same_name_are_refused(tmp_path: Path):
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    both = [extra_source(tmp_path / folder, tiny_battles(4)) for folder in ("here", "there")]
    for sources in (both, [both[0], both[0]]):
        assert "called more" in complaint(lambda s=sources: add_extra(tiny_battles(4), s, frozenset(), frozenset()))


# --- Sources


def test_a_file_or_a_folder_with_a_train_file_is_read(tmp_path: Path):
    write_folder(tmp_path / "arena", n=6)
    for path in (tmp_path / "arena", tmp_path / "arena" / "train.csv"):
        extra = Extra(str(path), 0.3)
        assert extra.name == "arena"
        assert extra.battles.id.tolist() == [f"arena/{1000 + i}" for i in range(6)]
        assert extra.battles.weights.tolist() == [0.3] * 6


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("data/mt_bench.csv", "mt_bench"),
        ("data/mt_bench.csv.gz", "mt_bench"),
        ("data/mt_bench.parquet", "mt_bench"),
        ("data/votes.2024.csv", "votes.2024"),
        ("data/tulu", "tulu"),
        ("data/tulu/", "tulu"),
        ("data/v1.5", "v1.5"),
        ("data/tulu/train.csv", "tulu"),
        ("data/tulu/train.csv.gz", "tulu"),
    ],
)
def test_the_name_of_a_source_is_that_of_its_file_or_folder(path: str, name: str):
    assert Extra(path).name == name


def test_the_name_of_a_train_file_is_that_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "votes").mkdir()
    monkeypatch.chdir(tmp_path / "votes")
    assert Extra("train.csv").name == "votes"


def test_a_path_without_battles_is_reported(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "gone.csv", tmp_path / "empty"):
        message = complaint(lambda path=path: Extra(str(path)).battles)
        assert str(path) in message
        assert "no battle file" in message
        assert "train.csv" in message


def test_battles_without_winners_are_reported(tmp_path: Path):
    more = extra_source(tmp_path, replace(tiny_battles(4), winner=None))
    message = complaint(lambda: more.battles)
    assert "more.csv" in message
    assert "no winners" in message


def test_a_damaged_row_is_reported_as_in_any_training_file(tmp_path: Path):
    more = extra_source(tmp_path, tiny_battles(4))
    with Path(more.path).open("a") as file:
        file.write('"77","m","k","no list","[""a""]","[""b""]",1,0,0\n')
    assert "id 77: prompt is not JSON" in complaint(lambda: more.battles)


@pytest.mark.parametrize("weight", [0.0, -1.0, 1.01, math.inf, math.nan])
def test_a_weight_out_of_bounds_is_refused(weight: float):
    message = complaint(lambda: Extra("x.csv", weight))
    assert message == f"extra 'x.csv': weight = {weight}: expected a number above 0 and at most 1."


def test_soft_winners_of_a_source_are_kept_and_the_winners_fill_the_others(tmp_path: Path):
    soft = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1]])
    source = tiny_battles(2)
    write_battles(source, tmp_path / "more.csv")
    extra = Extra(str(tmp_path / "more.csv"), 0.5)
    vars(extra)["battles"] = replace(source, soft=soft, weight=np.full(2, 0.5))  # files of Kaggle have none
    train = tiny_battles(3)
    rows, _ = add_extra(train, [extra], frozenset(), frozenset())
    assert rows.soft is not None
    assert np.array_equal(rows.soft[:3], np.eye(3)[train.labels])
    assert np.array_equal(rows.soft[3:], soft)


def test_groups_of_the_training_battles_stay_if_a_source_has_none(tmp_path: Path):
    write_battles(tiny_battles(2), tmp_path / "more.csv")
    train = replace(tiny_battles(3), group=object_array(["s", "s", "t"]))
    rows, _ = add_extra(train, [Extra(str(tmp_path / "more.csv"))], frozenset(), frozenset())
    assert rows.group is not None
    assert rows.group.tolist() == ["s", "s", "t", "", ""]


def source_of(path: Path, battles: Battles, **settings: Any) -> Extra:
    write_battles(battles, path)
    return Extra(str(path), **settings)


def test_what_a_source_teaches_is_a_column_and_part_of_the_hash(tmp_path: Path):
    one, both = (source_of(tmp_path / "x.csv", tiny_battles(4), teaches=each) for each in ("margin", "both"))
    rows, _ = add_extra(tiny_battles(3, word="other"), [one], frozenset(), frozenset())
    assert rows.teaches is not None
    assert rows.teaches.tolist() == ["both"] * 3 + ["margin"] * 4
    assert rows.taught("margin").tolist() == [True] * 7
    assert rows.taught("tie").tolist() == [True] * 3 + [False] * 4
    plain, _ = add_extra(tiny_battles(3, word="other"), [both], frozenset(), frozenset())
    assert plain.teaches is None
    assert one.battles.content_hash() != both.battles.content_hash()
    assert both.settings() == {"path": both.path, "weight": 1.0}  # as in records of earlier versions


def test_an_unknown_head_is_refused():
    with pytest.raises(UserError, match="teaches = 'ties': expected one of both, margin, tie"):
        Extra("x.csv", teaches="ties")  # type: ignore[arg-type]


def test_a_battle_of_a_scored_session_is_left_out_whatever_its_prompt(tmp_path: Path):
    extra = source_of(tmp_path / "more.csv", tiny_battles(3, first=50, word="more"))
    vars(extra)["battles"] = replace(extra.battles, group=object_array(["s", "t", ""]))
    scored = replace(tiny_battles(1, first=90, word="scored"), group=object_array(["s"]))
    rows, [usage] = add_extra(tiny_battles(3), [extra], frozenset(), exclusion_keys(scored))
    assert usage.in_fold == 1
    assert rows.group is not None
    assert rows.group.tolist() == ["", "", "", "t", ""]
    assert rows.own.tolist() == [True] * 3 + [False] * 2


def test_a_prompt_that_is_spelled_like_a_session_is_another_key():
    battles = replace(tiny_battles(1), prompt=object_array([("s",)]))
    grouped = replace(tiny_battles(1), group=object_array(["s"]))
    assert not is_excluded(battles, exclusion_keys(grouped)).any()
    assert is_excluded(grouped, exclusion_keys(grouped)).all()


def test_a_schema_in_data_toml_holds_for_extra_battles_with_its_columns_only(tmp_path: Path, battles: Battles):
    write_battles(battles, tmp_path / "extra.csv")
    (tmp_path / "data.toml").write_text('schema = "pandalm"', encoding="utf-8")
    assert len(Extra(str(tmp_path / "extra.csv")).battles) == len(battles)


def test_a_source_that_teachers_decide_loses_what_its_voters_have_said(tmp_path: Path):
    """Its file may have winners or none. The pseudo-labels are soft; the most probable outcome is the winner."""
    train = replace(tiny_battles(4, word="other"), soft=np.full((4, 3), 1 / 3))
    soft = np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])
    seen: list[Battles] = []

    def predict(battles: Battles) -> Any:
        seen.append(battles)
        return soft

    for labelled in (True, False):
        write_battles(tiny_battles(2, labelled=labelled), tmp_path / "more.csv")
        source = Extra(str(tmp_path / "more.csv"), 0.25, labels="teacher")
        rows, [usage] = add_extra(train, [source], frozenset(), frozenset(), PseudoLabels(predict, None))
        assert seen[-1].winner is None
        assert rows.soft is not None
        assert rows.soft[4:].tolist() == soft.tolist()
        assert rows.labels[4:].tolist() == [1, 2]
        assert rows.weights.tolist() == [1, 1, 1, 1, 0.25, 0.25]
        assert rows.voted.tolist() == [True] * 4 + [False] * 2
        assert usage.used == 2


def test_settings_name_who_decides_only_where_teachers_do():
    assert Extra("x").settings() == {"path": "x", "weight": 1.0}
    assert Extra("test", labels="teacher").settings() == {"path": "test", "weight": 1.0, "labels": "teacher"}
    assert not Extra("test").is_test_file
    assert not Extra("./test", labels="teacher").is_test_file
