"""What a run's user must know, in the form that model hubs read: use, data, metrics, biases, provenance."""

import re
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined

from pairrank.evaluation.scoring import Mean
from pairrank.files import write_text
from pairrank.report.judged_runs import Judged, Results
from pairrank.report.wording import configuration, ends, facts, one_line

CARD = "model-card.md"


def write_model_card(results: Results, run: Judged, folder: Path) -> None:
    """Write the run's model-card.md."""
    write_text(folder / CARD, model_card(results, run))


def model_card(results: Results, run: Judged) -> str:
    """The card as Markdown with the front matter of a model hub; every name in it is escaped."""
    if (record := run.record) is None:
        raise ValueError(f"{run.label}: a prediction file that no run made has no model card")
    row, experiment = results.row(run), record.experiment
    slices = [
        [plain(f"{score.kind}: {score.name}"), f"{score.log_loss.battles:,}", *_figures(score.log_loss, ".3f")]
        for score in results.slices(run)
    ]
    found = [
        [
            f"favours the {bias.name}",
            f"{bias.observed:+.3f}",
            f"{bias.predicted:+.3f}",
            " ".join(_figures(bias.excess, "+.3f")),
        ]
        for bias in results.biases(run)
    ]
    return (
        _environment()
        .get_template(CARD)
        .render(
            front=_front(run, results.board.data, row.log_loss, row.accuracy),
            label=plain(run.label),
            about=plain(experiment.get("about") or "No description was given."),
            submittable=record.is_submittable,
            data={key: plain(str(value)) for key, value in asdict(record.data).items()},
            battles=f"{record.data.battles:,}",
            scored=f"{row.battles:,}",
            folds=row.folds,
            simulated=results.board.floor is not None,
            extra=", ".join(plain(source["path"]) for source in experiment.get("extra", [])),
            inputs=", ".join(map(plain, record.inputs)),
            metrics=_metrics(results, run),
            slices=slices,
            biases=found,
            warnings=[plain(warning) for warning in row.warnings],
            provenance=[[name, plain(value)] for name, value in facts(record).items()],
            configuration=configuration(record).replace("```", "'''"),
        )
    )


def _metrics(results: Results, run: Judged) -> list[list[str]]:
    row = results.row(run)
    rows = [["log loss (nats)", *_figures(results.mean(run, run.losses), ".4f")]]
    for reference, difference in row.differences.items():
        if difference is not None:
            interval = f"[{difference.low:+.4f}, {difference.high:+.4f}]"
            rows.append(
                [f"log loss less that of {plain(reference)}, same battles", f"{difference.mean:+.4f}", interval]
            )
    rows.append(["accuracy", *_figures(results.mean(run, run.proba.argmax(axis=1) == run.winner), ".3f")])
    rows.append(["expected calibration error", f"{row.calibration_error:.3f}", ""])
    for name, value in (("swap gap", row.swap_gap), ("flip rate", row.flip_rate)):
        if value is not None:
            rows.append([f"{name} (0 is symmetric)", f"{value:.4f}", ""])
    return rows


def _figures(mean: Mean, form: str) -> tuple[str, str]:
    return f"{mean.mean:{form}}", ends(mean, form)


def plain(text: str) -> str:
    """Untrusted text that stays text in Markdown: no link, picture, markup, mention or end of a table's cell."""
    escaped = re.sub(r"([\\`*_{}\[\]<>#!|~@])", r"\\\1", one_line(text))
    # A hub makes links of bare addresses, too.
    return " ".join(escaped.replace("://", ":\\//").replace("www.", "www\\.").split())


def _front(run: Judged, data: str, log_loss: float, accuracy: float) -> str:
    """The front matter, as the hub's own library writes it."""
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
            EvalResult(metric_type="log_loss", metric_value=round(log_loss, 6), **scored),
            EvalResult(metric_type="accuracy", metric_value=round(accuracy, 6), **scored),
        ],
    )
    text: str = card.to_yaml()
    return text.strip()


@cache
def _environment() -> Environment:
    # Markdown, in which every name has been made plain already.
    return Environment(
        loader=PackageLoader("pairrank.report"),
        autoescape=False,  # noqa: S701
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
