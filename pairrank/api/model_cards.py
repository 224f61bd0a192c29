"""The model cards of runs, and the plots of their training, are written when the runs are finished."""

from collections.abc import Sequence

from pairrank.api.sources import Source
from pairrank.evaluation.entries import Entry, entries_in
from pairrank.evaluation.leaderboard import Leaderboard, build_leaderboard
from pairrank.evaluation.survey import survey_of
from pairrank.report.model_card import write_model_card
from pairrank.report.scored_runs import Results, score_run
from pairrank.runs.folder import CURVES
from pairrank.runs.run import Run, all_inputs

REFERENCE = "prior"
"""The experiment that every leaderboard compares with."""


def write_cards_of(source: Source, runs: Sequence[Run]) -> None:
    """Write the model cards of runs on `source`, compared with the prior alone if it has been run."""
    wanted = {REFERENCE, *(each.experiment.label for run in runs for each in (*all_inputs(run), run))}
    entries = [entry for entry in entries_in(runs[0].folder.parent, source.train) if entry.label in wanted]
    references = [REFERENCE] if REFERENCE in [entry.label for entry in entries] else []
    board = build_leaderboard(source.name, source.train, entries, references, source.truth)
    write_model_cards(board, entries, source, runs)


def write_model_cards(board: Leaderboard, entries: Sequence[Entry], source: Source, runs: Sequence[Run]) -> None:
    """Write the model card of each run and of its inputs, and the learning curves of those with steps."""
    folders = {each.experiment.label: each.folder for run in runs for each in (*all_inputs(run), run)}
    labels = {row.label for row in board.rows} & set(folders)
    scored = [score_run(entry, source.train) for entry in entries if entry.label in labels]
    results = Results(board, source.train, survey_of(source.train, guess_language=False), scored)
    for each in scored:
        write_model_card(results, each, folders[each.label])
        if each.record and (rows := each.record.history):
            from pairrank.report.model_charts import learning_curves

            learning_curves(each.label, "curves", rows).save(folders[each.label] / CURVES)
