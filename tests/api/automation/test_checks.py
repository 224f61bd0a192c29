"""Data that cannot work are refused in one message; what misleads is a warning."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pairrank.api.automation.checks import check_data
from pairrank.api.sources import BattlesInMemory, find_source
from pairrank.data.battles import concatenate
from pairrank.data.writing import write_battles
from pairrank.errors import UserError
from tests.support.battles import tiny_battles


def warnings_of(train, test=None) -> str:
    return "\n".join(check_data(BattlesInMemory(train, test)))


def test_sound_battles_give_only_the_warnings_that_hold_for_them(here):
    [few] = check_data(find_source("data"))
    assert "Only 40 battles" in few


def test_a_single_file_has_no_submission(here):
    few, no_test = check_data(find_source("data/train.csv"))
    assert "Only 40 battles" in few
    assert "no submission" in no_test


def test_one_sided_labels_are_a_warning():
    battles = tiny_battles()
    assert "THE SAME WINNER, A" in warnings_of(replace(battles, winner=np.zeros(40, dtype=np.int64)))
    assert "SAME WINNER" not in warnings_of(battles)


def test_an_outcome_that_never_occurs_is_a_warning():
    battles = tiny_battles()
    assert "ends with a tie" in warnings_of(replace(battles, winner=battles.labels % 2))


def test_shared_prompts_and_repeated_battles_are_counted():
    train = tiny_battles()
    test = replace(tiny_battles(6, 36, labelled=False), winner=None)  # four with prompts of the training battles
    assert "4 of 6 test battles" in warnings_of(train, test)
    copies = replace(train.take(slice(3)), id=tiny_battles(3, 900).id)
    assert "3 of 43 training battles repeat" in warnings_of(concatenate([train, copies]))


def test_complaints_about_both_files_are_in_one_message(here):
    Path("data/train.csv").write_text("id,prompt\n1,hello\n")
    Path("data/test.csv").write_text('id,prompt,response_a,response_b\n1,"never closed')
    with pytest.raises(UserError) as raised:
        check_data(find_source("data"))
    assert "train.csv" in str(raised.value)
    assert "test.csv" in str(raised.value)


def test_battles_that_leave_none_to_learn_from_are_refused(here):
    battles = tiny_battles()
    same = battles.prompt.copy()
    same[:] = [("one question",)] * len(same)
    write_battles(replace(battles, prompt=same), Path("data/train.csv"))
    with pytest.raises(UserError, match="all 40 battles are in one fold"):
        check_data(find_source("data"))
