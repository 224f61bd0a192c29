"""The findings about a data set: each check sees what is planted, and is silent without it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pairrank.data.simulation import simulate
from pairrank.evaluation.survey import FileSurvey, Survey, survey_of
from pairrank.report.findings import Finding, drift, finding_blocks, findings, p_text


@pytest.fixture(scope="module")
def survey() -> Survey:
    return survey_of(simulate(600)[0], guess_language=False)


def file_of(survey: Survey, name: str = "train.csv") -> FileSurvey:
    return FileSurvey(Path(name), survey, None, ())  # the sample is not read


def finding(found: list[Finding], words: str) -> Finding:
    [one] = [each for each in found if words in each.text]
    return one


def test_one_sided_labels_are_tested_exactly(survey: Survey):
    winner = np.array([0] * 60 + [1] * 40 + [2] * 500)
    one = finding(findings(file_of(replace(survey, winner=winner)), None), "decided battles")
    # Twice the upper tail of the binomial distribution, in plain Python.
    from math import comb

    p = 2 * sum(comb(100, k) for k in range(60, 101)) / 2**100
    assert "A has won 60 of 100 decided battles (60.0 %" in one.text.replace("%", " %")
    assert f"p = {p:.2g}" in one.text
    assert not one.is_problem
    winner = np.array([0] * 500 + [1] * 100)
    assert finding(findings(file_of(replace(survey, winner=winner)), None), "decided battles").is_problem


def test_a_rare_outcome_is_named(survey: Survey):
    winner = np.array([0, 1] * 290 + [2] * 20)
    one = finding(findings(file_of(replace(survey, winner=winner)), None), "tie 3.3%")
    assert one.is_problem
    assert one.text.endswith("below 10%: tie.")


def test_equal_answers_and_repeats_are_counted(survey: Survey):
    equal = np.zeros(600, dtype=bool)
    equal[:7] = True
    hashes = survey.content_hash.copy()
    hashes[10:14] = hashes[10]
    planted = replace(survey, equal_answers=equal, winner=np.array([0, 1, 2] * 200), content_hash=hashes)
    found = findings(file_of(planted), None)
    assert (
        "7 of 600 battles have two equal answers, and 5 of them have a winner"
        in finding(found, "equal answers").text
    )
    before = 600 - len(set(survey.content_hash.tolist()))
    assert finding(found, "repeat the prompt").text.startswith(f"train.csv: {before + 3} battles repeat")


def test_prompts_in_both_files_are_a_problem(survey: Survey):
    half = np.arange(600) < 300
    train, test = survey.take(half), survey.take(~half)
    fresh = replace(test, prompt_hash=np.arange(300, dtype=np.uint64), content_hash=np.arange(300, dtype=np.uint64))
    assert not finding(
        findings(file_of(train), file_of(fresh, "test.csv")), "have a prompt that is also"
    ).is_problem
    leaked = replace(fresh, prompt_hash=np.r_[train.prompt_hash[:9], fresh.prompt_hash[9:]])
    one = finding(findings(file_of(train), file_of(leaked, "test.csv")), "have a prompt that is also")
    assert one.is_problem
    assert one.text.startswith("9 of 300 battles of test.csv (3.0%)")
    assert "and 0 of them both answers" in one.text


def ks(first: np.ndarray, second: np.ndarray) -> float:
    """Return the Kolmogorov-Smirnov statistic by its definition: the largest gap of the distribution functions."""
    return max(abs((first <= x).mean() - (second <= x).mean()) for x in {*first.tolist(), *second.tolist()})


def test_drift_is_the_largest_gap_of_the_distributions(survey: Survey):
    half = np.arange(600) < 300
    train, test = survey.take(half), survey.take(~half)
    one = drift(train, test)
    assert not one.is_problem
    assert f"characters of the prompt D = {ks(train.chars[:, 0], test.chars[:, 0]):.3f}" in one.text
    longer = replace(test, chars=test.chars * np.array([1, 1, 3], dtype=np.int32))
    other = drift(train, longer)
    assert other.is_problem
    assert (
        f"characters of answer B D = {ks(train.chars[:, 2], longer.chars[:, 2]):.3f}, p = below 0.0001"
        in other.text
    )


def test_a_drift_of_languages_is_tested(survey: Survey):
    half = np.arange(600) < 300
    english = np.array(["en"] * 600, dtype=object)
    mixed = english.copy()
    mixed[450:] = "de"
    train = file_of(replace(survey, language=mixed).take(half))
    test = file_of(replace(survey, language=mixed).take(~half), "test.csv")
    one = finding(findings(train, test), "languages")
    assert one.is_problem
    assert "50.0% of the test battles" in one.text
    same = file_of(replace(survey, language=english).take(half))
    assert not [each for each in findings(same, same) if "languages" in each.text]


def test_problems_come_first_and_are_counted(survey: Survey):
    winner = np.array([0] * 600)
    head, *texts = [block.text for block in finding_blocks(file_of(replace(survey, winner=winner)), None)]
    problems = [text.startswith("Problem. ") for text in texts]
    assert problems == sorted(problems, reverse=True)
    assert head.startswith(f"{sum(problems)} of {len(texts)} checks")
    assert "ALL 600 BATTLES HAVE THE SAME WINNER" in texts[0]
    assert all(text.startswith(("Problem. ", "Fine. ")) for text in texts)
    assert p_text(0.0123) == "0.012"
