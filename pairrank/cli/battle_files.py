"""`check` says what a file of battles contains, and `convert` writes it in another schema."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pairrank.cli.console import say, show_repairs, show_table
from pairrank.data.battles import Battles, Winner, concatenate, one_sided
from pairrank.data.folder import find_data, read_settings
from pairrank.data.folds import uneven
from pairrank.data.hub import is_hub_name
from pairrank.data.reading import BLOCK, fits, schema_of, stream_battles
from pairrank.data.votes import Aggregation, VoteSettings, apply_votes
from pairrank.data.writing import refuse_unwritable, write_battles
from pairrank.errors import SHOWN, UserError, shorten
from pairrank.evaluation.survey import UNKNOWN, FileSurvey, Survey, survey_file

COMMON = 5
"""Values of a column, such as languages, that are listed."""


def check(file: Path, schema: str) -> None:
    """Print what the reader of battle files finds in a file, and what would mislead a training on it.

    Of a folder or a data set of the hub, it is the training file. The schema in a data.toml beside it holds if
    the file has its columns. Raises UserError for a folder without a training file.
    """
    if file.is_dir() or is_hub_name(file):
        found_file = find_data(file).file_of("train")
        if found_file is None:
            raise UserError(f"{file}: no train.csv, train.jsonl or train.parquet found. Name a file.")
        file = found_file
    named = read_settings(file).schema if file.is_file() else ""
    schema = schema or (named if named and fits(file, named) else "")
    kind = schema_of(file, schema)
    found = survey_file(file, sample_size=1, schema=schema)
    schema_row = ("schema", f"{kind.name}: {kind.about}")
    show_table(str(file), ["what", "found"], [schema_row, *_rows(found)])
    for complaint in found.complaints[:SHOWN]:
        say(f"Damaged: {complaint}")
    if found.complaint_count > SHOWN:
        say(f"… and {found.complaint_count - SHOWN:,} more damaged rows")
    known = found.survey.winner[found.survey.winner != UNKNOWN]
    if warning := one_sided(known):
        say(f"WARNING: {warning}")
    if warning := uneven(found.survey.split_keys()):
        say(f"WARNING: {warning}")
    if found.complaints:
        say("`run` refuses a training file with complaints; `predict` repairs such rows, or leaves them out.")


def _rows(file: FileSurvey) -> Iterator[tuple[str, str]]:
    survey, n = file.survey, max(1, len(file.survey))
    known = survey.winner[survey.winner != UNKNOWN]
    yield "battles", f"{len(survey):,}"
    yield "damaged rows", f"{file.complaint_count:,}"
    if len(known):
        counts = np.bincount(known, minlength=3)
        shares = [f"{name} {counts[at] / len(known):.1%}" for name, at in (("A", Winner.A), ("B", Winner.B))]
        yield "winners", ", ".join([*shares, f"tie {counts[Winner.TIE] / len(known):.1%}"])
        if survey.both_bad.any():
            yield "both bad", f"{int(survey.both_bad.sum()):,} of {int(counts[Winner.TIE]):,} ties"
    else:
        yield "winners", "none: battles to predict"
    prompts = np.unique(survey.prompt_hash, return_counts=True)[1]
    yield "distinct prompts", f"{len(prompts):,}; {int((prompts > 1).sum()):,} of them in several battles"
    yield "repeated battles", f"{len(survey) - len(np.unique(survey.content_hash)):,}"
    yield "equal answers", f"{int(survey.equal_answers.sum()):,} ({survey.equal_answers.sum() / n:.1%})"
    yield "with an empty answer", f"{int(survey.empty_answer.sum()):,} ({survey.empty_answer.sum() / n:.1%})"
    yield "with several turns", f"{int((survey.turns > 1).sum()):,} ({(survey.turns > 1).sum() / n:.1%})"
    yield from _common(survey)


def _common(survey: Survey) -> Iterator[tuple[str, str]]:
    """Yield the most common values of the columns that describe votes."""
    models = Counter([*survey.model_a.tolist(), *survey.model_b.tolist()])
    columns = {"models": models, "languages": Counter(survey.language.tolist())}
    columns |= {"categories": Counter(survey.category.tolist()), "judges": Counter(survey.judge.tolist())}
    for name, counted in columns.items():
        del counted[""]
        if counted:
            listed = ", ".join(f"{shorten(value, 60)} ({count:,})" for value, count in counted.most_common(COMMON))
            yield name, f"{len(counted):,}: {listed}" + (" …" if len(counted) > COMMON else "")


def convert(file: Path, out: Path, to: str, schema: str, votes: Aggregation, both_bad: float) -> None:
    """Write the battles of a file in another schema or kind of file, and print what that cannot hold."""
    _refuse_target(file, out, to)
    settings = VoteSettings(votes, both_bad)
    parts = list(stream_battles(file, BLOCK, damage="drop", schema=schema))
    battles = concatenate(parts)
    if not len(battles):
        raise UserError(f"{file}: no battles to convert.")
    repaired = 0
    for part in parts:
        show_repairs(part.repairs, repaired)
        repaired += len(part.repairs)
    before = len(battles)
    if battles.winner is not None:
        battles = apply_votes(battles, settings)
    elif settings != VoteSettings():
        raise UserError(f"{file}: the battles have no winners, so there are no votes to count.")
    lost = write_battles(battles, out, to)
    say(f"Written: {out}, schema {to}, {len(battles):,} battles" + _fewer(before, battles) + ".")
    if lost:
        say(f"Lost, because the schema {to} has no columns for it: {', '.join(lost)}.")
    if "group" in lost:
        say("Without group, the battles of a session are no longer kept together, so that their folds will differ.")


def _refuse_target(file: Path, out: Path, to: str) -> None:
    """Raise UserError, before anything is read, for a file or a schema that cannot be written."""
    if out.is_dir():
        raise UserError(f"OUT {out}: this is a folder. Expected the path of a file to write.")
    if out.resolve() == file.resolve():
        raise UserError(f"OUT {out}: the battles are read from this file. Use another one.")
    if out.exists():
        raise UserError(f"OUT {out}: the file exists. Remove it, or write to another one.")
    try:
        refuse_unwritable(out, to)
    except UserError as error:
        raise UserError(f"convert --to {to}: {error}") from None


def _fewer(before: int, battles: Battles) -> str:
    return f" of {before:,} votes" if len(battles) < before else ""
