"""The page about the data, before any model has seen it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pairrank.data.battles import MODELS, TEXTS, WINNERS
from pairrank.evaluation.scoring import wilson
from pairrank.evaluation.survey import UNKNOWN, FileSurvey, HashSample, Survey, survey_of
from pairrank.features.ratings import Ratings, fit_ratings
from pairrank.report import data_charts
from pairrank.report.cards import MAX_ID_CHARS, card
from pairrank.report.page import Block, Cards, Page, Section, Table, Text

SPLIT = " A split that puts such battles on both sides flatters every model: pairrank's folds keep them together."
READ = 24
"""Battles that are shown to be read."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
MOST_IDS = 500
"""Ids, or complaints, of one kind that are listed."""
MOST_GROUPS = 15
"""Repeated prompts that are listed."""


@dataclass(frozen=True, eq=False)
class TokenCounts:
    """How long texts are for an encoder."""

    encoder: str
    tokens: npt.NDArray[np.int64]
    """(m, 3) tokens of prompt, A and B, without special ones."""


def explore_page(name: str, train: FileSurvey | None, test: FileSurvey | None, tokens: TokenCounts | str) -> Page:
    """What is in train and test; `tokens` are those of the battles shown, or say why there are none.

    Raises ValueError for neither.
    """
    main = train or test
    if main is None:
        raise ValueError("neither training nor test battles")
    survey = main.survey
    sections = [
        Section("Shape", _shape(train, test)),
        Section("Labels", _labels(survey)),
        Section("Lengths", [*_lengths(main, tokens), _quantiles(train, test)]),
        Section("Turns, languages, code", _kinds(survey)),
        Section("Repeated prompts and duplicates", _repeats(train, test)),
    ]
    if (survey.model_a != "").any():
        sections.append(Section("Models", _models(survey)))
    if (survey.winner != UNKNOWN).any():
        sections.append(Section("Length and the vote", [data_charts.length_effect(survey)]))
    sections += [
        Section("Battles", _battles(main)),
        Section("Repaired or suspicious", _suspicious(train, test)),
    ]
    return Page(
        f"The data: {name}",
        f"{len(survey):,} battles of {main.path.name}. Two chatbots answered the same prompt, and a person said "
        "which answer is better, or neither.",
        sections,
        "Made by pairrank explore.",
    )


def _shape(train: FileSurvey | None, test: FileSurvey | None) -> list[Block]:
    rows = []
    for file in filter(None, (train, test)):
        survey = file.survey
        known, named = survey.winner != UNKNOWN, (survey.model_a != "") & (survey.model_b != "")
        columns = ["id", *(MODELS if named.any() else ()), *TEXTS, *(WINNERS if known.any() else ())]
        counts = [len(survey), int(known.sum()), len(np.unique(survey.prompt_hash)), len(file.complaints)]
        rows.append([file.path.name, *(f"{count:,}" for count in counts), ", ".join(columns)])
    titles = ["file", "battles", "with winner", "distinct prompts", "complaints", "columns read"]
    return [
        Table(
            titles,
            rows,
            "How many battles there are. A prompt is its first turn, whatever its case and spacing: what decides "
            "the fold.",
        ),
        *(
            Text(
                f"{file.path.name}: {len(file.complaints):,} complaints, listed under the last heading. Battles "
                "without a clear winner are left out of all numbers; run refuses a training file that has any."
            )
            for file in (train, test)
            if file and file.complaints
        ),
    ]


def _labels(survey: Survey) -> list[Block]:
    if not (survey.winner != UNKNOWN).any():
        return [Text("These battles carry no winner.")]
    return [data_charts.label_counts(survey)]


def _lengths(main: FileSurvey, tokens: TokenCounts | str) -> list[Block]:
    blocks: list[Block] = [data_charts.length_histograms(main.survey.chars, "characters")]
    if isinstance(tokens, str):
        return [*blocks, Text(tokens)]
    of = "" if len(tokens.tokens) == len(main.survey) else f" of {len(tokens.tokens):,} battles, drawn by their id"
    blocks.append(data_charts.length_histograms(tokens.tokens, f"tokens ({tokens.encoder})", of))
    whole = tokens.tokens.sum(axis=1)
    told = ", ".join(f"{(whole <= window).mean():.0%} fit {window:,}" for window in (256, 512, 1024, 2048))
    return [*blocks, Text(f"Prompt, A and B together, in tokens of {tokens.encoder}{of}: {told}.")]


def _quantiles(train: FileSurvey | None, test: FileSurvey | None) -> Table:
    """Whether battles to predict are like those to learn from."""
    rows = []
    for file in filter(None, (train, test)):
        for name, values in zip(data_charts.TEXT_NAMES, file.survey.chars.T, strict=True):
            ends = np.quantile(values, QUANTILES) if len(values) else [0] * len(QUANTILES)
            rows.append([f"{file.path.name}: {name[0].lower()}{name[1:]}", *(f"{end:,.0f}" for end in ends)])
    titles = ["text", *(f"{share:.0%}" for share in QUANTILES)]
    return Table(
        titles, rows, "Quantiles of lengths in characters: are battles to predict like those to learn from?"
    )


def _kinds(survey: Survey) -> list[Block]:
    code = survey.code.mean() if len(survey) else 0.0
    return [
        data_charts.turn_counts(survey),
        data_charts.languages(survey),
        Text(f"{code:.1%} of the battles ask for code, or have a fenced block of it in an answer."),
    ]


def _repeats(train: FileSurvey | None, test: FileSurvey | None) -> list[Block]:
    blocks: list[Block] = []
    for file in filter(None, (train, test)):
        keys, counts = np.unique(file.survey.prompt_hash, return_counts=True)
        shared = counts[counts > 1]
        blocks.append(
            Text(
                f"{file.path.name}: {int(shared.sum()):,} of {len(file.survey):,} battles share their prompt with "
                f"another ({len(shared):,} prompts; the largest group has {int(shared.max(initial=0)):,})."
                + (SPLIT if file is train else "")
            )
        )
        largest = sorted(zip(counts.tolist(), keys.tolist(), strict=True), reverse=True)[:MOST_GROUPS]
        rows = [
            [_ids(file.survey.id[file.survey.prompt_hash == key], 8), f"{count:,}"]
            for count, key in largest
            if count > 1
        ]
        if rows:
            caption = f"{file.path.name}: the prompts that occur most often, by the ids of their battles"
            blocks.append(Table(["ids", "battles"], rows, caption, folded=True))
    if train and test:
        both = np.isin(train.survey.prompt_hash, test.survey.prompt_hash)
        blocks.append(
            Text(
                f"{int(both.sum()):,} training battles have a prompt that is in {test.path.name} too."
                + (
                    " They are trained on; battles of other sources with such a prompt never are."
                    * bool(both.any())
                )
            )
        )
    return blocks


def _models(survey: Survey) -> list[Block]:
    battles = survey.without_text()
    ratings = fit_ratings(battles) if len(battles) else None
    if ratings is None or not ratings.models:
        return [Text("These battles do not name their models, as test battles never do.")]
    blocks: list[Block] = [data_charts.model_strengths(ratings)]
    if len(ratings.models) > 1:
        blocks.append(data_charts.pair_heat_map(survey))
    return [*blocks, _model_table(ratings)]


def _model_table(ratings: Ratings) -> Table:
    """Every model by its appearances."""
    rows = []
    for i in sorted(range(len(ratings.models)), key=lambda i: (-ratings.battles[i], ratings.models[i])):
        count, won, tied = ratings.battles[i], ratings.wins[i], ratings.ties[i]
        low, high = (float(end) for end in wilson(won, count))
        strength, reach = ratings.strength[i], 1.96 * ratings.error[i]
        rows.append(
            [
                ratings.models[i],
                f"{count:,}",
                f"{won / count:.0%} [{low:.0%}, {high:.0%}]",
                f"{tied / count:.0%}",
                f"{strength:+.2f} [{strength - reach:+.2f}, {strength + reach:+.2f}]",
            ]
        )
    titles = ["model", "battles", "win rate [95 %]", "ties", "strength [95 %]"]
    caption = (
        f"All {len(rows):,} models by appearances. The win rate depends on whom a model met, the strength not. "
        "Intervals of win rates are Wilson's."
    )
    return Table(titles, rows, caption, folded=len(rows) > 30)


def _battles(main: FileSurvey) -> list[Block]:
    sample = HashSample(READ)
    sample.add(main.sample)
    some = sample.battles()
    survey = survey_of(some)
    cards = [card(some, survey, row) for row in range(len(some))]
    intro = f"{len(cards)} of {len(main.survey):,} battles, drawn by a hash of their id, so always the same ones."
    return [Text(intro), Cards("battles", cards)]


def _suspicious(train: FileSurvey | None, test: FileSurvey | None) -> list[Block]:
    blocks: list[Block] = []
    for file in filter(None, (train, test)):
        survey = file.survey
        found = {
            "the same prompt and answers as another battle": _again(survey.content_hash),
            "the same model on both sides": (survey.model_a == survey.model_b) & (survey.model_a != ""),
            "an empty answer": survey.empty_answer,
            "an empty or null turn among several": survey.empty_turn,
            "half a character, or a damaged one (U+FFFD)": survey.damaged,
            "two equal answers": survey.equal_answers,
        }
        rows = [[what, f"{int(rows.sum()):,}", _ids(survey.id[rows], MOST_IDS)] for what, rows in found.items()]
        caption = f"{file.path.name}: what is unusual but allowed"
        blocks.append(Table(["what", "battles", "ids"], [row for row in rows if row[1] != "0"], caption))
        if file.complaints:
            more = len(file.complaints) - MOST_IDS
            lines = [*file.complaints[:MOST_IDS], *([f"… and {more:,} more"] if more > 0 else [])]
            title = (
                f"{file.path.name}: {len(file.complaints):,} complaints; `run` refuses a training file that has any"
            )
            blocks.append(Text("\n".join(lines), title))
        else:
            blocks.append(Text(f"{file.path.name}: nothing had to be repaired."))
    return blocks


def _again(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """(n,) whether a value occurs more than once."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    repeated: npt.NDArray[np.bool_] = counts[place] > 1
    return repeated


def _ids(ids: Sequence[str] | npt.NDArray[np.object_], most: int) -> str:
    more = f" and {len(ids) - most:,} more" if len(ids) > most else ""
    return ", ".join(str(name)[:MAX_ID_CHARS] for name in ids[:most]) + more
