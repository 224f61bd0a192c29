"""The leaderboard as text: a Markdown table with notes for readers, and JSON with every digit."""

import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from pairrank.data.battles import TEXTS
from pairrank.data.folds import name_folds
from pairrank.errors import first_names
from pairrank.evaluation.leaderboard import Leaderboard, Row
from pairrank.evaluation.seeds import SeedSpread
from pairrank.files import write_json, write_text

DASH = "–"
"""Stands for a value that is unknown, or that does not apply to a row."""

SEEDS = (
    "Single runs differ by their seed alone. s.d. is the standard deviation of their log losses, which intervals "
    "over prompts do not contain."
)
"""Note below the table of seeds."""
MADE_ELSEWHERE = "made elsewhere"
"""Column that marks entries which no run of pairrank made."""
ELSEWHERE = (
    f"{MADE_ELSEWHERE}: entries of which pairrank has the predictions alone, and whether they declare their "
    "training data. Nothing here proves that a predictor has not seen the battles before."
)
"""Note on that column."""
GLOSSARY = "`pairrank explain COLUMN` explains a column, such as ECE or skill."
"""Line that leads from a table to the glossary."""
MOST_TIED = 12
"""Largest number of rows that are named as tied with the best."""


def to_json(leaderboard: Leaderboard, path: Path) -> None:
    """Write the leaderboard as JSON, with every digit."""
    write_json(path, asdict(leaderboard))


def to_markdown(leaderboard: Leaderboard, path: Path) -> None:
    """Write the leaderboard as Markdown."""
    write_text(path, markdown(leaderboard))


def markdown(leaderboard: Leaderboard) -> str:
    """Return the whole table as Markdown, with the notes below it."""
    lines = [
        f"# Leaderboard: {escape(leaderboard.data)}",
        "",
        f"{leaderboard.battles:,} battles with {leaderboard.prompts:,} distinct prompts. "
        "Out-of-fold log loss in nats, lower is better.",
        "",
        *_table(columns(leaderboard)),
        "",
        GLOSSARY,
        "",
        *notes(leaderboard),
    ]
    if leaderboard.seeds:
        lines += ["", "## Seeds", "", *_table(seed_columns(leaderboard)), "", SEEDS]
    return "\n".join(lines) + "\n"


def notes(leaderboard: Leaderboard) -> list[str]:
    """Return the lines below the table: general notes, then notes on single rows, with empty lines in between."""
    lines = [
        "± is the standard error and [ ] a 95 % interval, both from a bootstrap over prompts. A difference is "
        "paired: it uses the battles that both entries have predicted. The intervals account for the sampling of "
        "battles, not for the random seed.",
        "If no entry differed from the reference, about one of twenty differences would still look significant.",
    ]
    if any(row.battles < leaderboard.battles for row in leaderboard.rows):
        lines.append(
            "Rows that cover fewer battles are listed below the others. Their log loss is over those battles only: "
            "compare such rows by their differences."
        )
    if leaderboard.floor is not None:
        lines.append(
            f"The battles are simulated. The floor, on average the lowest possible log loss, is that of their true "
            f"probabilities: {leaderboard.floor:.4f} on all battles. 'above floor' uses the battles of each row."
        )
    lines += [*_order_notes(leaderboard), *_skill_notes(leaderboard)]
    if any(row.training_data for row in leaderboard.rows):
        lines.append(ELSEWHERE)
    lines += [
        f"{row.label}: its setting was tuned on {name_folds(row.tuned_on)}; this row covers only the other battles."
        for row in leaderboard.rows
        if row.tuned_on
    ]
    lines += [
        f"{label}: not in the table, because it has predicted only folds on which its setting was tuned. "
        "Run the other folds."
        for label in leaderboard.unscored
    ]
    lines += [" ".join(f"{row.label}: {warning}".split()) for row in leaderboard.rows for warning in row.warnings]
    return [line for text in lines for line in (text, "")][:-1]


def _order_notes(leaderboard: Leaderboard) -> list[str]:
    """Return what the ranks mean, which rows may be the best, and how many pairs differ."""
    ranked = [row for row in leaderboard.rows if row.rank is not None]
    if len(ranked) < 2:
        return []
    tied = leaderboard.tied_with_best
    names = first_names(tied, MOST_TIED)
    different = sum(pair.is_significant for pair in leaderboard.pairs)
    lines = [
        f"The rank is the 95 % interval of the rank among the {len(ranked)} rows that cover the same battles. Its "
        "first number is 1 plus the number of rows that are significantly better: rows that cannot be told apart "
        "share it. It is corrected for the comparisons of one row (step-down max-t over the bootstrap).",
        f"Tied with the best: {names}. With a probability of 95 %, the best row is among them.",
        f"{different:,} of the {len(leaderboard.pairs):,} pairs differ significantly: by more than "
        f"{leaderboard.critical_value:.2f} standard errors, which is corrected for the number of all pairs (max-t "
        "over the bootstrap). " + _power(leaderboard),
    ]
    return [line.rstrip() for line in lines]


def _power(leaderboard: Leaderboard) -> str:
    """Return a sentence on the battles that would separate the first two rows; "" if they are equal or differ."""
    pair = leaderboard.pairs[0]
    if pair.battles_needed is None:
        return ""
    battles = float(f"{pair.battles_needed:.2g}")
    return (
        f"About {battles:,.0f} battles would separate {pair.better} from {pair.worse} in this way with a "
        f"probability of 80 %, if they truly differ by the observed {pair.difference:.4f}."
    )


def _skill_notes(leaderboard: Leaderboard) -> list[str]:
    """Return what the skill means, if a row has one."""
    if all(row.skill is None for row in leaderboard.rows):
        return []
    best = next(row.label for row in leaderboard.rows if row.rank is not None)
    target = f"the best row, {best}," if leaderboard.floor is None else "the floor"
    return [
        f"The skill is the share of the way from the log loss of the prior to that of {target} on the same battles."
    ]


def columns(leaderboard: Leaderboard) -> dict[str, list[str]]:
    """Return column name -> one cell per row, with a dash where a value is unknown."""
    differences = {
        f"Δ {name} [95 %]": lambda row, name=name: _format(row.differences[name], "")
        for name in leaderboard.references
    }
    floor = {"above floor": lambda row: _format(row.above_floor, "+.4f")} if leaderboard.floor is not None else {}
    is_mixed = any(row.training_data for row in leaderboard.rows)
    elsewhere = {MADE_ELSEWHERE: lambda row: row.training_data and f"{row.training_data} data"} if is_mixed else {}
    cells: dict[str, Callable[[Row], str | None]] = {
        "experiment": lambda row: row.label,
        **elsewhere,
        "rank": lambda row: _span(row.rank_interval),
        "encoder": lambda row: row.encoder,
        "folds": lambda row: f"{row.folds}, tuned on the others" if row.tuned_on else row.folds,
        "battles": lambda row: f"{row.battles:,}",
        "log loss ± s.e.": lambda row: f"{row.log_loss:.4f} ± {row.standard_error:.4f}",
        **differences,
        **floor,
        "skill": lambda row: _percent(row.skill),
        "accuracy": lambda row: f"{100 * row.accuracy:.1f} %",
        "ECE": lambda row: f"{row.calibration_error:.3f}",
        "decided: log loss": lambda row: _format(row.decided_log_loss, ".4f"),
        "decided: accuracy": lambda row: _percent(row.decided_accuracy),
        "swap gap": lambda row: _format(row.swap_gap, ".4f"),
        "flip rate": lambda row: _percent(row.flip_rate),
        "tokens kept P / A / B": lambda row: _shares(row.kept),
        "battles without a side": lambda row: _format(row.lost_a_side, ","),
        "parameters": lambda row: _format(row.parameters, ","),
        "training (s)": lambda row: _format(row.training_seconds, ",.0f"),
        "prediction (battles/s)": lambda row: _format(
            row.battles_per_second, ",.3g" if (row.battles_per_second or 0) < 100 else ",.0f"
        ),
        "peak memory (MB)": lambda row: _format(row.peak_memory_mb, ",.0f"),
        "seed": lambda row: _format(row.seed, "d"),
        "submittable": lambda row: None if row.submittable is None else "yes" if row.submittable else "no",
    }
    return {name: [cell(row) or DASH for row in leaderboard.rows] for name, cell in cells.items()}


def seed_columns(leaderboard: Leaderboard) -> dict[str, list[str]]:
    """Return column name -> one cell per run that averages one experiment over several seeds."""
    cells: dict[str, Callable[[SeedSpread], str]] = {
        "average": lambda each: each.label,
        "runs": lambda each: ", ".join(each.members),
        "log loss of single runs, mean ± s.d.": lambda each: f"{each.mean:.4f} ± {each.deviation:.4f}",
        "log loss of the average": lambda each: f"{each.log_loss:.4f}",
    }
    return {name: [cell(each) for each in leaderboard.seeds] for name, cell in cells.items()}


def _table(cells: dict[str, list[str]]) -> list[str]:
    """Return the lines of a Markdown table from column name -> cells."""
    rows = [list(cells), *zip(*cells.values(), strict=True)]
    lines = ["| " + " | ".join(map(escape, row)) + " |" for row in rows]
    return [lines[0], "|" + "---|" * len(cells), *lines[1:]]


def escape(cell: str) -> str:
    r"""Return a cell without a bare `|`, `\`, backtick, `<` or line break, so that no label can end the cell."""
    return " ".join(re.sub(r"([\\|`<])", r"\\\1", cell).split())


def _span(interval: tuple[int, int] | None) -> str | None:
    """Return both ends of an interval as text, once if they are equal."""
    return None if interval is None else "–".join(map(str, dict.fromkeys(interval)))


def _shares(kept: dict[str, float] | None) -> str | None:
    return None if kept is None else " / ".join(f"{100 * kept[text]:.0f} %" for text in TEXTS)


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.1f} %"


def _format(value: object | None, form: str) -> str | None:
    return None if value is None else format(value, form)
