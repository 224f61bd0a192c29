"""The page about the data: what the files contain, before any model is trained on them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pairrank.data.battles import MODELS, TEXTS, WINNERS, one_sided
from pairrank.errors import first_names
from pairrank.evaluation.intervals import wilson
from pairrank.evaluation.survey import UNKNOWN, FileSurvey, HashSample, Survey
from pairrank.features.ratings import Ratings, fit_ratings
from pairrank.report import data_charts
from pairrank.report.cards import MAX_ID_CHARS, card
from pairrank.report.findings import finding_blocks
from pairrank.report.page import Block, Cards, Page, Section, Table, Text

SAME_FOLD = (
    " A split that separates such battles makes every model look better than it is. pairrank's folds keep them "
    "together."
)
CARDS = 24
"""Battles that are shown with their text."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
WINDOWS = (256, 512, 1024, 2048)
"""Windows, in tokens, for which the page says how many battles fit."""
MAX_LISTED = 500
"""Ids of one kind, or complaints, that are listed."""
MAX_GROUPS = 15
"""Repeated prompts that are listed."""
OPEN_ROWS = 30
"""Models up to which the table of models is not folded."""


@dataclass(frozen=True, eq=False)
class TokenCounts:
    """Lengths of texts in the tokens of an encoder."""

    encoder: str
    tokens: npt.NDArray[np.int64]
    """(m, 3) tokens of prompt, A and B, without special ones."""


def explore_page(name: str, train: FileSurvey | None, test: FileSurvey | None, tokens: TokenCounts | str) -> Page:
    """Return the page about a data set; its charts are of `train`, or of `test` if there is no `train`.

    `tokens` are those of the sample of battles with text, or a sentence that says why there are none. Raises
    ValueError if there is neither file.
    """
    main = train or test
    if main is None:
        raise ValueError("neither training nor test battles")
    survey = main.survey
    surveys = [file for file in (train, test) if file]
    # Whoever has put the preferred answer first should see that before anything else.
    is_one_sided = bool(one_sided(survey.winner[survey.winner != UNKNOWN]))
    sections = [
        Section("What to look at first", finding_blocks(train, test)),
        *([Section("Labels", _labels(survey))] if is_one_sided else []),
        Section("Files", _files(surveys)),
        *([] if is_one_sided else [Section("Labels", _labels(survey))]),
        Section("Lengths", [*_lengths(main, tokens), _quantiles(surveys)]),
        Section("Turns, languages, code", _kinds(survey)),
        Section("Repeated prompts and duplicates", _repeats(train, test)),
    ]
    if (survey.model_a != "").any():
        sections.append(Section("Models", _models(survey)))
    if (survey.winner != UNKNOWN).any():
        sections.append(Section("Length and the vote", [data_charts.length_effect(survey)]))
    sections += [
        Section("Battles", _battles(main)),
        Section("Repaired or suspicious", [block for file in surveys for block in _suspicious(file)]),
    ]
    return Page(
        f"The data: {name}",
        f"{len(survey):,} battles of {main.path.name}. In a battle, two chatbots answered the same prompt, and a "
        "person voted for the better answer or for a tie.",
        sections,
        "Made by pairrank explore.",
    )


def _files(surveys: Sequence[FileSurvey]) -> list[Block]:
    """Return the numbers of battles and of complaints for each file."""
    rows = []
    for file in surveys:
        survey = file.survey
        known, named = survey.winner != UNKNOWN, (survey.model_a != "") & (survey.model_b != "")
        columns = ["id", *(MODELS if named.any() else ()), *TEXTS, *(WINNERS if known.any() else ())]
        counts = [len(survey), int(known.sum()), len(np.unique(survey.prompt_hash)), file.complaint_count]
        rows.append([file.path.name, *(f"{count:,}" for count in counts), ", ".join(columns)])
    titles = ["file", "battles", "with winner", "distinct prompts", "complaints", "columns read"]
    caption = (
        "What the files contain. Two prompts count as the same if their first turns differ only in case and white "
        "space; battles with the same prompt are in the same fold."
    )
    complaints = [
        Text(
            f"{file.path.name}: {file.complaint_count:,} complaints, listed at the end of the page. Battles "
            "without a clear winner are left out of all numbers; the command `run` refuses a training file with "
            "complaints."
        )
        for file in surveys
        if file.complaints
    ]
    return [Table(titles, rows, caption), *complaints]


def _labels(survey: Survey) -> list[Block]:
    known = survey.winner[survey.winner != UNKNOWN]
    if not len(known):
        return [Text("These battles have no winner.")]
    warning = one_sided(known)
    return [*([Text(f"Warning: {warning}")] if warning else []), data_charts.label_counts(survey)]


def _lengths(main: FileSurvey, tokens: TokenCounts | str) -> list[Block]:
    blocks: list[Block] = [data_charts.length_histograms(main.survey.chars, "characters")]
    if isinstance(tokens, str):
        return [*blocks, Text(tokens)]
    of = "" if len(tokens.tokens) == len(main.survey) else f" of a sample of {len(tokens.tokens):,} battles"
    blocks.append(data_charts.length_histograms(tokens.tokens, f"tokens ({tokens.encoder})", of))
    battle = tokens.tokens.sum(axis=1)
    fits = ", ".join(f"{(battle <= window).mean():.0%} fit into {window:,}" for window in WINDOWS)
    return [*blocks, Text(f"Prompt, A and B together, in tokens of {tokens.encoder}{of}: {fits}.")]


def _quantiles(surveys: Sequence[FileSurvey]) -> Table:
    """Return a table that shows whether the texts of the test file are as long as those of the training file."""
    rows = []
    for file in surveys:
        for name, values in zip(data_charts.TEXT_NAMES, file.survey.chars.T, strict=True):
            ends = np.quantile(values, QUANTILES) if len(values) else [0] * len(QUANTILES)
            rows.append([f"{file.path.name}: {name[0].lower()}{name[1:]}", *(f"{end:,.0f}" for end in ends)])
    shares = [f"{share:.0%}" for share in QUANTILES]
    caption = "Quantiles of the lengths in characters, to compare training and test battles"
    return Table(["text", *shares], rows, caption, terms=dict.fromkeys(shares, "quantile"))


def _kinds(survey: Survey) -> list[Block]:
    code = survey.code.mean() if len(survey) else 0.0
    return [
        data_charts.turn_counts(survey),
        data_charts.languages(survey),
        Text(f"{code:.1%} of the battles have a prompt that asks for code, or an answer with a fenced code block."),
    ]


def _repeats(train: FileSurvey | None, test: FileSurvey | None) -> list[Block]:
    """Return how many battles share their prompt, within each file and across the files."""
    blocks: list[Block] = []
    for file in filter(None, (train, test)):
        hashes, counts = np.unique(file.survey.prompt_hash, return_counts=True)
        repeated = counts[counts > 1]
        blocks.append(
            Text(
                f"{file.path.name}: {int(repeated.sum()):,} of {len(file.survey):,} battles share their prompt "
                f"with another battle ({len(repeated):,} prompts; the most frequent has "
                f"{int(repeated.max(initial=0)):,} battles)." + (SAME_FOLD if file is train else "")
            )
        )
        largest = sorted(zip(counts.tolist(), hashes.tolist(), strict=True), reverse=True)[:MAX_GROUPS]
        rows = [
            [_ids(file.survey.id[file.survey.prompt_hash == prompt], 8), f"{count:,}"]
            for count, prompt in largest
            if count > 1
        ]
        if rows:
            caption = f"{file.path.name}: the most frequent prompts, with the ids of their battles"
            blocks.append(Table(["ids", "battles"], rows, caption, folded=True))
    if train and test:
        blocks.append(_overlap(train, test))
    return blocks


def _overlap(train: FileSurvey, test: FileSurvey) -> Text:
    count = int(np.isin(train.survey.prompt_hash, test.survey.prompt_hash).sum())
    use = " They are used in training; extra battles with such a prompt are left out." if count else ""
    return Text(f"{count:,} training battles have a prompt that is also in {test.path.name}.{use}")


def _models(survey: Survey) -> list[Block]:
    battles = survey.without_text()
    ratings = fit_ratings(battles) if len(battles) else None
    if ratings is None or not ratings.models:
        return [Text("These battles do not name their models, as is usual for test battles.")]
    blocks: list[Block] = [data_charts.model_strengths(ratings)]
    if len(ratings.models) > 1:
        blocks.append(data_charts.pair_heat_map(survey))
    return [*blocks, _model_table(ratings)]


def _model_table(ratings: Ratings) -> Table:
    """Return a table of all models, those with the most battles first."""
    rows = []
    for i in sorted(range(len(ratings.models)), key=lambda i: (-ratings.battles[i], ratings.models[i])):
        count, won, tied = ratings.battles[i], ratings.wins[i], ratings.ties[i]
        low, high = (float(end) for end in wilson(won, count))
        strength, half = ratings.strength[i], 1.96 * ratings.error[i]
        rows.append(
            [
                ratings.models[i],
                f"{count:,}",
                f"{won / count:.0%} [{low:.0%}, {high:.0%}]",
                f"{tied / count:.0%}",
                f"{strength:+.2f} [{strength - half:+.2f}, {strength + half:+.2f}]",
            ]
        )
    titles = ["model", "battles", "win rate [95 %]", "ties", "strength [95 %]"]
    caption = (
        f"All {len(rows):,} models, those with the most battles first. The win rate depends on a model's "
        "opponents; the strength does not. Intervals of win rates are Wilson's."
    )
    return Table(titles, rows, caption, folded=len(rows) > OPEN_ROWS)


def _battles(main: FileSurvey) -> list[Block]:
    sample = HashSample(CARDS)
    sample.add(main.sample)
    battles = sample.battles()
    # Of the whole file, which decides whether languages are given or estimated; both are in the file's order.
    shown = set(battles.id)
    survey = main.survey.take(np.array([name in shown for name in main.survey.id], dtype=bool))
    cards = [card(battles, survey, row) for row in range(len(battles))]
    intro = f"{len(cards)} of {len(main.survey):,} battles: a reproducible sample by hashes of their ids."
    return [Text(intro), Cards("battles", cards)]


def _suspicious(file: FileSurvey) -> list[Block]:
    """Return what is unusual in a file, and the complaints about it."""
    survey = file.survey
    found = {
        "the same prompt and answers as another battle": _repeated(survey.content_hash),
        "the same model on both sides": (survey.model_a == survey.model_b) & (survey.model_a != ""),
        "an empty answer": survey.empty_answer,
        "an empty or null turn in a conversation of several turns": survey.empty_turn,
        "a damaged character (U+FFFD), such as half an emoji": survey.damaged,
        "two equal answers": survey.equal_answers,
    }
    rows = [[what, f"{int(rows.sum()):,}", _ids(survey.id[rows], MAX_LISTED)] for what, rows in found.items()]
    caption = f"{file.path.name}: what is unusual but allowed"
    table = Table(["what", "battles", "ids"], [row for row in rows if row[1] != "0"], caption)
    if not file.complaints:
        return [table, Text(f"{file.path.name}: nothing had to be repaired.")]
    more = len(file.complaints) - MAX_LISTED
    lines = [*file.complaints[:MAX_LISTED], *([f"… and {more:,} more"] if more > 0 else [])]
    title = f"{file.path.name}: {len(file.complaints):,} complaints; `run` refuses a training file that has any"
    return [table, Text("\n".join(lines), title)]


def _repeated(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Return (n,) whether a value occurs more than once."""
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    repeated: npt.NDArray[np.bool_] = counts[index] > 1
    return repeated


def _ids(ids: Sequence[str] | npt.NDArray[np.object_], most: int) -> str:
    return first_names([str(name)[:MAX_ID_CHARS] for name in ids], most)
