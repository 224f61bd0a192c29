"""What may be wrong with a data set, as sentences with numbers and tests, the problems first."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pairrank.data.battles import one_sided
from pairrank.evaluation.survey import UNKNOWN, FileSurvey, Survey
from pairrank.report.page import Block, Text

LEVEL = 0.01
"""Probability, over all checks of one kind, of a finding by chance."""
LARGE_DRIFT = 0.05
"""Kolmogorov-Smirnov statistic, or difference of shares, below which a drift is too small to matter."""
RARE = 0.1
"""Share of the battles below which an outcome is rare."""
MEASURED = ("characters of the prompt", "characters of answer A", "characters of answer B", "turns")
"""What is compared between training and test battles by a Kolmogorov-Smirnov test."""


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    is_problem: bool
    text: str
    """One or two sentences with numbers."""


def finding_blocks(train: FileSurvey | None, test: FileSurvey | None) -> list[Block]:
    """Return the findings as paragraphs, the problems first, below a line that counts them."""
    found = sorted(findings(train, test), key=lambda finding: not finding.is_problem)
    problems = sum(finding.is_problem for finding in found)
    head = (
        f"{problems} of {len(found)} checks found something to look at."
        if problems
        else "No check found a problem."
    )
    return [Text(head), *(Text(f"{'Problem' if each.is_problem else 'Fine'}. {each.text}") for each in found)]


def findings(train: FileSurvey | None, test: FileSurvey | None) -> list[Finding]:
    """Return what the checks found, in a fixed order; a check that does not apply gives nothing."""
    found: list[Finding] = []
    for file in filter(None, (train, test)):
        survey = file.survey.take(file.survey.winner != UNKNOWN)
        if len(survey):
            found += [_sides(file.path.name, survey), _balance(file.path.name, survey)]
        found += [_equal_answers(file), _duplicates(file)]
    if train and test and len(train.survey) and len(test.survey):
        found += [_overlap(train, test), drift(train.survey, test.survey)]
        found += _language_drift(train.survey, test.survey)
    return found


def _sides(name: str, survey: Survey) -> Finding:
    """Check whether A and B have won equally often, by an exact binomial test."""
    from scipy.stats import binomtest

    wins, losses = (int((survey.winner == side).sum()) for side in (0, 1))
    if not wins + losses:
        return Finding(True, f"{name}: every battle is a tie. {one_sided(survey.winner)}")
    test = binomtest(wins, wins + losses)
    low, high = test.proportion_ci(method="wilson")
    text = (
        f"{name}: A has won {wins:,} of {wins + losses:,} decided battles ({wins / (wins + losses):.1%}, 95 % "
        f"interval {low:.1%} to {high:.1%}; exact binomial test against 50 %: p = {p_text(test.pvalue)})."
    )
    return Finding(test.pvalue < LEVEL, " ".join(filter(None, [text, one_sided(survey.winner)])))


def _balance(name: str, survey: Survey) -> Finding:
    shares = np.bincount(survey.winner, minlength=3) / len(survey)
    names = ("A wins", "B wins", "tie")
    text = ", ".join(f"{one} {share:.1%}" for one, share in zip(names, shares, strict=True))
    rare = [one for one, share in zip(names, shares, strict=True) if share < RARE]
    return Finding(
        bool(rare), f"{name}: {text}" + (f"; below {RARE:.0%}: {', '.join(rare)}." if rare else "; none is rare.")
    )


def _equal_answers(file: FileSurvey) -> Finding:
    """Check for battles with two equal answers, and whether a person has preferred one of them."""
    survey = file.survey
    equal = survey.winner[survey.equal_answers]
    decided = int(((equal == 0) | (equal == 1)).sum())
    text = f"{file.path.name}: {len(equal):,} of {len(survey):,} battles have two equal answers"
    return Finding(bool(len(equal)), text + (f", and {decided:,} of them have a winner." if decided else "."))


def _duplicates(file: FileSurvey) -> Finding:
    """Check for battles with the same prompt and answers as an earlier one of the file."""
    repeated = len(file.survey) - len(np.unique(file.survey.content_hash))
    prompts = len(file.survey) - len(np.unique(file.survey.prompt_hash))
    return Finding(
        bool(repeated),
        f"{file.path.name}: {repeated:,} battles repeat the prompt and both answers of an earlier one; {prompts:,} "
        "repeat its prompt alone or with them.",
    )


def _overlap(train: FileSurvey, test: FileSurvey) -> Finding:
    same = _shared(test.survey.content_hash, train.survey.content_hash)
    prompts = _shared(test.survey.prompt_hash, train.survey.prompt_hash)
    share = prompts / len(test.survey)
    return Finding(
        bool(prompts),
        f"{prompts:,} of {len(test.survey):,} battles of {test.path.name} ({share:.1%}) have a prompt that is also "
        f"in {train.path.name}, and {same:,} of them both answers too. Scores on such battles are too good.",
    )


def drift(train: Survey, test: Survey) -> Finding:
    """Compare the lengths and turns of training and test battles by Kolmogorov-Smirnov tests.

    A drift is a problem if it is significant, corrected for the number of tests (Bonferroni), and at least
    `LARGE_DRIFT`, because with many battles a difference that does not matter is significant too.
    """
    from scipy.stats import ks_2samp

    tests = []
    for name, ours, theirs in zip(MEASURED, _measured(train), _measured(test), strict=True):
        result = ks_2samp(ours, theirs, method="asymp")
        tests.append((name, float(result.statistic), float(result.pvalue)))
    is_problem = any(p < LEVEL / len(tests) and d >= LARGE_DRIFT for _, d, p in tests)
    values = "; ".join(f"{name} D = {d:.3f}, p = {p_text(p)}" for name, d, p in tests)
    what = "differ between" if is_problem else "do not differ much between"
    return Finding(
        is_problem,
        f"Lengths and turns {what} training and test battles (two-sample Kolmogorov-Smirnov tests: {values}).",
    )


def _language_drift(train: Survey, test: Survey) -> Iterator[Finding]:
    """Compare the languages of training and test battles by a chi-squared test, if there are several."""
    from scipy.stats import chi2_contingency

    names = np.unique(np.concatenate([train.language, test.language]).astype(str))
    table = np.array([[(part.language == name).sum() for name in names] for part in (train, test)])
    # The approximation needs some battles per cell, so rare languages are counted as one.
    rare = table.sum(axis=0) < 20
    table = np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)])
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return
    result = chi2_contingency(table)
    shares = table / table.sum(axis=1, keepdims=True)
    distance = float(np.abs(shares[0] - shares[1]).sum() / 2)
    is_problem = result.pvalue < LEVEL and distance >= LARGE_DRIFT
    yield Finding(
        is_problem,
        f"The languages of training and test battles {'differ' if is_problem else 'do not differ much'}: "
        f"{distance:.1%} of the test battles would have to change theirs (chi-squared = {result.statistic:.1f} "
        f"with {result.dof} {'degree' if result.dof == 1 else 'degrees'} of freedom, p = {p_text(result.pvalue)}).",
    )


def p_text(p: float) -> str:
    """Return a p-value as text."""
    return f"{p:.2g}" if p >= 0.0001 else "below 0.0001"


def _measured(survey: Survey) -> list[npt.NDArray[np.int32]]:
    """Return the values of `MEASURED`, (n,) each."""
    return [*survey.chars.T, survey.turns]


def _shared(hashes: npt.NDArray[np.uint64], others: npt.NDArray[np.uint64]) -> int:
    return int(np.isin(hashes, others).sum())
