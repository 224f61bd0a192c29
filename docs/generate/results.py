"""The pages of the results, from committed files alone: leaderboard, learning curves, speed."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from generate.markdown import DOCS, ROOT, below, site_links, table, text
from pairrank.evaluation.intervals import Difference
from pairrank.evaluation.leaderboard import Leaderboard, Row
from pairrank.evaluation.leaderboard_table import columns, escape, notes
from pairrank.evaluation.ranks import PairDifference
from pairrank.evaluation.seeds import SeedSpread
from pairrank.report.answer import MAX_DRAWN, leader_sentence, tied_sentence
from pairrank.report.leaderboard_charts import leaderboard_plot

BENCHMARKS, RESULTS = ROOT / "benchmarks", ROOT / "benchmarks" / "results"
FIRST = ("experiment", "log loss ± s.e.", "rank", "skill", "accuracy", "ECE")
"""Columns of the short table, which fits a phone."""


def board() -> Leaderboard:
    """Return the committed leaderboard, as `leaderboard_table.to_json` has written it."""
    values = _json(BENCHMARKS / "leaderboard.json")
    return Leaderboard(
        **values
        | {
            "references": tuple(values["references"]),
            "rows": tuple(map(_row, values["rows"])),
            "seeds": tuple(SeedSpread(**each) for each in values["seeds"]),
            "pairs": tuple(PairDifference(**each) for each in values["pairs"]),
        }
    )


def _row(values: Mapping[str, Any]) -> Row:
    differences = {name: each and Difference(**each) for name, each in values["differences"].items()}
    interval = values["rank_interval"] and tuple(values["rank_interval"])
    return Row(**{**values, "differences": differences, "rank_interval": interval})


def leaderboard() -> str:
    """Return the answer, the chart, a short table, and the whole table with its notes."""
    found = board()
    cells = {name: [escape(cell) for cell in values] for name, values in columns(found).items()}
    every = [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]
    chart = leaderboard_plot(found, MAX_DRAWN)
    single = [line for line in notes(found) if any(line.startswith(f"{row.label}: ") for row in found.rows)]
    general = [line for line in notes(found) if line and line not in single]
    parts = [
        f"{found.battles:,} battles of {text(found.data)} with {found.prompts:,} distinct prompts, scored out of "
        f"fold. {text(leader_sentence(found))} {text(tied_sentence(found))}",
        f'```{{raw}} html\n<figure class="chart">{chart.svg()}</figure>\n```',
        "Each column is defined in the [glossary](../reference/glossary.md).",
        "## The main columns",
        table([{name: row[name] for name in FIRST} for row in every]),
        "## How to read it",
        *map(text, general),
        "## All columns",
        table([{escape(name): row[name] for name in cells} for row in every]),
        "## Notes on single rows",
        "\n".join(f"- {text(line)}" for line in single),
    ]
    return "\n\n".join(parts) + "\n"


def overview() -> str:
    """Return the best rows of the leaderboard that can be submitted, and those that they are compared with."""
    found = board()
    best = [row for row in found.rows if row.submittable][:3]
    compared = [row for row in found.rows if row.label in found.references and row not in best]
    rows = [
        {"experiment": escape(row.label), "log loss ± s.e.": f"{row.log_loss:.4f} ± {row.standard_error:.4f}"}
        for row in (*best, *compared)
    ]
    return (
        f"The three best rows that can be submitted, of {len(found.rows)} on {found.battles:,} real battles, and "
        f"those that all rows are compared with:\n\n{table(rows)}"
    )


def learning_curves() -> str:
    """Return what each published set of learning curves says, and links to their pages."""
    return "\n\n".join(_curves(file) for file in sorted((DOCS / "curves").glob("*/learning-curves.json"))) + "\n"


def _curves(file: Path) -> str:
    """Return the log loss of each experiment at the largest number of training battles."""
    found = _json(file)
    rows = [
        {
            "experiment": escape(curve["label"]),
            "battles": f"{curve['points'][-1]['battles']:,.0f}",
            "log loss [95 %]": "{mean:.4f} [{low:.4f}, {high:.4f}]".format(**curve["points"][-1]["log_loss"]),
        }
        for curve in found["curves"]
    ]
    folder = file.parent.name
    ends = [f"{name} {found[name]:.4f}" for name in ("prior", "floor") if found.get(name) is not None]
    known = f" Log loss of the {' and of the '.join(ends)}." if ends else ""
    picture = f"![Log loss by the number of training battles](../curves/{folder}/learning-curves.svg)"
    return "\n\n".join(
        [
            f"## {text(folder)}",
            f"{found['battles']:,} scored battles with {found['prompts']:,} distinct prompts.{known} The table "
            "shows the largest number of training battles.",
            picture,
            table(rows),
            f"[All sizes, laws and crossings](../curves/{folder}/learning-curves.md)",
        ]
    )


def speed() -> str:
    """Return the measured speeds: training and prediction, encoding, reading, memory."""
    notes = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    parts = [
        "## Training, prediction and encoding",
        _speeds(
            _json(RESULTS / "speed-ends.json"),
            "The published recipe, pairrank, and other libraries with their own defaults.",
        ),
        _speeds(
            _json(RESULTS / "speed.json"),
            "From the published recipe to ours, each row has one more change than the row above.",
        ),
        "## Reading and streaming",
        *_reading(_json(RESULTS / "reading.json")),
        "## Memory of predicting a file",
        table(
            [
                {
                    "file": each["file"],
                    "model": each["model"],
                    "battles": f"{each['battles']:,}",
                    "peak memory (MB)": f"{each['peak_mb']:,}",
                    "seconds": f"{each['seconds']:.0f}",
                }
                for each in _json(RESULTS / "scale-memory.json")
            ]
        ),
        "## Every command at the size of Kaggle's competition",
        *_kaggle_size(),
        "## How it was measured",
        site_links(below(notes, 1), BENCHMARKS, "results/speed.md"),
    ]
    return "\n\n".join(parts) + "\n"


def _speeds(found: Mapping[str, Any], what: str) -> str:
    """Return the table of settings and other libraries; a cell is empty where a row does not do that."""
    cells = {
        "training (battles/s)": ("train_battles_per_second", ".2f"),
        "times published": ("train_times_published", ".2f"),
        "prediction (battles/s)": ("predict_battles_per_second", ".1f"),
        "encoding (texts/s)": ("encode_texts_per_second", ".1f"),
        "of a plain product": ("encode_share_of_product", ".0%"),
    }
    rows = [
        {
            "setting": escape(each["setting"]),
            "way": ", ".join(filter(None, each["way"].values())),
            **{head: format(each[name], how) if name in each else "" for head, (name, how) in cells.items()},
        }
        for each in found["rows"]
    ]
    machine = found["machine"]
    about = (
        f"{found['battles']} real battles with minilm, on {machine['threads']} threads of {machine['processor']}. "
        f"{what}"
    )
    return f"{about}\n\n{table(rows)}"


def _reading(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    read = [
        {
            "schema": each["schema"],
            "file": each["kind"],
            "battles": f"{each['battles']:,}",
            "seconds": f"{each['seconds']:.1f}",
            "peak memory (MB)": f"{each['peak_mb']:,}",
        }
        for each in found["read"]
    ]
    predicted = [
        {
            "battles": f"{each['battles']:,}",
            "seconds": f"{each['seconds']:.1f}",
            "peak memory (MB)": f"{each['peak_mb']:,}",
        }
        for each in found["predict"]
    ]
    return [table(read), "A file that is predicted in parts:", table(predicted)]


def _kaggle_size() -> list[str]:
    """Return seconds and memory of every command before and after, and how the seconds grow with the battles."""
    before, after, small = (_json(RESULTS / f"kaggle-size{part}.json") for part in ("-before", "", "-small"))
    ratio = math.log(after["battles"] / small["battles"])
    rows = []
    for name in dict.fromkeys([*after["steps"], *before["steps"]]):
        step, earlier, fewer = (each["steps"].get(name, {}) for each in (after, before, small))
        grown = math.log(step["cpu_seconds"] / fewer["cpu_seconds"]) / ratio if step and fewer else None
        rows.append(
            {
                "command": name,
                "seconds before": _seconds(earlier),
                "memory before (GB)": _gigabytes(earlier),
                "seconds": _seconds(step) or "not measured",
                "processor seconds": f"{step['cpu_seconds']:,.0f}" if step else "",
                "memory (GB)": _gigabytes(step),
                "exponent": "" if grown is None else f"{grown:.2f}",
            }
        )
    about = (
        f"{after['battles']:,} battles, to learn from or to predict, on {after['cores']} cores. A command uses the "
        "results of those above it. Memory is that of all processes of a command together, at its largest. Other "
        "programs used the machine at times, which lengthens the wall seconds more than the processor seconds. An "
        f"exponent of 1 means that from {small['battles']:,} battles on, processor seconds grow as the battles do."
    )
    return [" ".join(filter(None, [about, after.get("note")])), table(rows)]


def _seconds(step: Mapping[str, Any]) -> str:
    """Return the wall seconds of a step, after "over" if it did not finish in that time; "" if not measured."""
    if not step:
        return ""
    return f"{'over ' if step.get('is_unfinished') else ''}{step['seconds']:,.0f}"


def _gigabytes(step: Mapping[str, Any]) -> str:
    return f"{step['peak_mb'] / 1024:.1f}" if step.get("peak_mb") else ""


def log() -> str:
    """Return the dated findings of experiments/LOG.md."""
    found = (ROOT / "experiments" / "LOG.md").read_text(encoding="utf-8")
    return site_links(below(found, 0), ROOT / "experiments", "results/log.md")


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))
