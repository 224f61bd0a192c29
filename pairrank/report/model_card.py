"""The model card of a run, in the form that model hubs read: use, data, metrics, biases, provenance."""

import re
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined

from pairrank.evaluation.intervals import Mean
from pairrank.evaluation.leaderboard import Row
from pairrank.files import write_text
from pairrank.report.formatting import configuration, interval_ends, one_line, provenance
from pairrank.report.scored_runs import Results, ScoredRun

CARD = "model-card.md"


def write_model_card(results: Results, run: ScoredRun, folder: Path) -> None:
    """Write model-card.md into the folder of a run."""
    write_text(folder / CARD, model_card(results, run))


def model_card(results: Results, run: ScoredRun) -> str:
    """Return the model card as Markdown with the front matter of a model hub; all names in it are escaped.

    Raises ValueError for a prediction file that no run of pairrank made.
    """
    if (record := run.record) is None:
        raise ValueError(f"{run.label}: no model card, because no run of pairrank made this prediction file")
    row, data = results.row(run), record.data
    values = {
        "front": _front(run, results.leaderboard.data, row),
        "label": plain(run.label),
        "about": plain(record.experiment.get("about") or "No description was given."),
        "submittable": record.is_submittable,
        "data": {"name": plain(data.name), "hash": plain(data.hash)},
        "battles": f"{data.battles:,}",
        "scored": f"{row.battles:,}",
        "folds": row.folds,
        "simulated": results.leaderboard.floor is not None,
        "extra": ", ".join(plain(source["path"]) for source in record.experiment.get("extra", [])),
        "inputs": ", ".join(map(plain, record.inputs)),
        "metrics": _metrics(results, run),
        "slices": _slices(results, run),
        "biases": _biases(results, run),
        "warnings": [plain(warning) for warning in row.warnings],
        "provenance": [[name, plain(value)] for name, value in provenance(record).items()],
        "configuration": configuration(record).replace("```", "'''"),
    }
    return _environment().get_template(CARD).render(**values)


def _metrics(results: Results, run: ScoredRun) -> list[list[str]]:
    row = results.row(run)
    rows = [["log loss (nats)", *_mean_cells(results.mean(run, run.losses), ".4f")]]
    for reference, difference in row.differences.items():
        if difference is not None:
            name = f"log loss minus that of {plain(reference)}, same battles"
            interval = f"[{difference.low:+.4f}, {difference.high:+.4f}]"
            rows.append([name, f"{difference.mean:+.4f}", interval])
    rows.append(["accuracy", *_mean_cells(results.mean(run, run.proba.argmax(axis=1) == run.winner), ".3f")])
    rows.append(["expected calibration error", f"{row.calibration_error:.3f}", ""])
    for name, value in (("swap gap", row.swap_gap), ("flip rate", row.flip_rate)):
        if value is not None:
            rows.append([f"{name} (0 is symmetric)", f"{value:.4f}", ""])
    return rows


def _slices(results: Results, run: ScoredRun) -> list[list[str]]:
    return [
        [plain(f"{score.kind}: {score.name}"), f"{score.log_loss.battles:,}", *_mean_cells(score.log_loss, ".3f")]
        for score in results.slices(run)
    ]


def _biases(results: Results, run: ScoredRun) -> list[list[str]]:
    return [
        [
            f"favours the {bias.name}",
            f"{bias.observed:+.3f}",
            f"{bias.predicted:+.3f}",
            " ".join(_mean_cells(bias.excess, "+.3f")),
        ]
        for bias in results.biases(run)
    ]


def _mean_cells(mean: Mean, form: str) -> tuple[str, str]:
    return f"{mean.mean:{form}}", interval_ends(mean, form)


def plain(text: str) -> str:
    """Return untrusted text escaped for Markdown: no link, image, markup, mention or end of a table cell."""
    escaped = re.sub(r"([\\`*_{}\[\]<>#!|~@])", r"\\\1", one_line(text))
    # Hubs turn bare URLs into links, too.
    return " ".join(escaped.replace("://", ":\\//").replace("www.", "www\\.").split())


def _front(run: ScoredRun, data: str, row: Row) -> str:
    """Return the front matter, written by the library of the Hugging Face Hub."""
    scored: dict[str, Any] = {
        "task_type": "text-classification",
        "dataset_type": "pairwise-preferences",
        "dataset_name": data,
    }
    card = ModelCardData(
        model_name=run.label,
        library_name="pairrank",
        pipeline_tag="text-classification",
        tags=["preference", "chatbot-arena", "reward-model"],
        eval_results=[
            EvalResult(metric_type="log_loss", metric_value=round(row.log_loss, 6), **scored),
            EvalResult(metric_type="accuracy", metric_value=round(row.accuracy, 6), **scored),
        ],
    )
    text: str = card.to_yaml()
    return text.strip()


@cache
def _environment() -> Environment:
    # The output is Markdown, and `plain` has escaped every name.
    return Environment(
        loader=PackageLoader("pairrank.report"),
        autoescape=False,  # noqa: S701
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
