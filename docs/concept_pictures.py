"""Draw the pictures of docs/concepts again, from committed files alone: python docs/concept_pictures.py.

Each function returns one chart, whose name is that of its file in docs/pictures. They take a few seconds.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pairrank.data.battles import Battles
from pairrank.data.folder import find_data
from pairrank.data.folds import assign_folds, prompt_keys
from pairrank.data.frames import from_records
from pairrank.data.predictions import read_predictions
from pairrank.data.probabilities import margin_and_tie, softmax
from pairrank.features.evidence import Evidence
from pairrank.report.charts import BLUE, GREEN, GREY, OUTCOMES, RED, YELLOW, Chart, new_axes, styled

ROOT = Path(__file__).parents[1]
SAMPLE, PICTURES = ROOT / "Dataset" / "sample", ROOT / "docs" / "pictures"

NESTED = {
    "structure and all features,\nmultinomial": (1.0104, 1.0215),
    "stack": (1.0207, 1.0172),
    "stack-identity": (1.0137, 1.0106),
    "ensemble-fast": (1.0165, 1.0153),
}
"""Log loss without and with nested inputs, from experiments/LOG.md (2026-11-24, the nested check)."""


def shared_prompts(battles: Battles, folds: npt.NDArray[np.int64]) -> float:
    """Return the share of the battles whose prompt is also in another fold, so that a model could have seen it."""
    keys = np.array(prompt_keys(battles))
    seen = [bool((folds[keys == key] != fold).any()) for key, fold in zip(keys, folds, strict=True)]
    return float(np.mean(seen))


@styled
def folds() -> Chart:
    """Draw how many battles of the sample have a prompt that is on both sides of the split."""
    battles = find_data(SAMPLE).train
    random = np.random.default_rng(0).permutation(np.arange(len(battles)) % 5)
    shares = [shared_prompts(battles, random), shared_prompts(battles, assign_folds(battles))]
    figure, [axes] = new_axes(1.5)
    axes.barh([1, 0], [100 * share for share in shares], color=[RED, BLUE], height=0.55)
    axes.set_yticks([1, 0], ["random folds", "folds by prompt"])
    for place, share in zip((1, 0), shares, strict=True):
        axes.text(100 * share + 0.4, place, f"{share:.1%}", va="center", fontsize=8)
    axes.set(xlabel="scored battles whose prompt is also trained on (%)", xlim=(0, 100 * shares[0] * 1.25))
    return Chart(
        "folds",
        figure,
        "Five folds of the 600 simulated battles.",
        f"In random folds, {shares[0]:.1%} of the scored battles have a prompt that is also trained on; in folds "
        "by prompt, none.",
    )


@styled
def nesting() -> Chart:
    """Draw the log loss of stacks with and without nested inputs."""
    figure, [axes] = new_axes(2.2)
    for place, (usual, nested) in enumerate(reversed(NESTED.values())):
        axes.plot([usual, nested], [place, place], color=GREY, linewidth=1.5, zorder=1)
        axes.scatter(usual, place, color=RED, marker="o", s=22, label="" if place else "usual out of fold")
        axes.scatter(nested, place, color=BLUE, marker="s", s=22, label="" if place else "nested")
    axes.set_yticks(range(len(NESTED)), list(reversed(NESTED)))
    axes.set(xlabel="log loss (nats, lower is better)")
    figure.legend(loc="outside upper center", ncols=2)
    said = "; ".join(f"{name.replace(chr(10), ' ')} {a:.4f} and {b:.4f}" for name, (a, b) in NESTED.items())
    return Chart(
        "nesting", figure, "1,587 real battles.", f"Usual and nested log loss of four experiments: {said}."
    )


@styled
def ranks() -> Chart:
    """Draw the interval of the rank of each row of the published leaderboard."""
    rows = json.loads((ROOT / "benchmarks" / "leaderboard.json").read_text(encoding="utf-8"))["rows"]
    ranked = [row for row in rows if row["rank_interval"]]
    figure, [axes] = new_axes(4.6)
    for place, row in enumerate(reversed(ranked)):
        low, high = row["rank_interval"]
        colour = BLUE if low == 1 else GREY
        axes.plot([low, high], [place, place], color=colour, linewidth=2.5, solid_capstyle="butt")
        axes.plot([low, high], [place, place], "|", color=colour, markersize=5)
    axes.set_yticks(range(len(ranked)), [row["label"] for row in reversed(ranked)], fontsize=6)
    axes.set(xlabel="95 % interval of the rank", xlim=(0, len(ranked) + 1), ylim=(-1, len(ranked)))
    tied = sum(row["rank_interval"][0] == 1 for row in ranked)
    return Chart(
        "ranks",
        figure,
        "The published leaderboard.",
        f"The intervals of the ranks of {len(ranked)} rows. {tied} of them begin at rank 1: these rows are tied "
        f"with the best. The last row, {ranked[-1]['label']}, has rank {ranked[-1]['rank_interval'][0]}.",
    )


@styled
def difference_head() -> Chart:
    """Draw the probabilities that a margin and a tie logit stand for."""
    margin = np.linspace(-3, 3, 121)
    figure, panels = new_axes(3.6, 2, sharex=True)
    for axes, tie in zip(panels, (-0.5, 1.0), strict=True):
        proba = softmax(np.stack([margin, -margin, np.full(margin.shape, tie)], axis=1))
        for (name, colour), column, style in zip(OUTCOMES.items(), proba.T, ("-", "--", ":"), strict=True):
            axes.plot(margin, column, style, color=colour, label=name if tie < 0 else "")
        axes.set(ylabel="probability", ylim=(0, 1), title=f"tie logit t = {tie:g}")
    panels[-1].set(xlabel="margin m")
    figure.legend(loc="outside upper center", ncols=3)
    return Chart(
        "difference-head",
        figure,
        "Probabilities of the logits (m, -m, t).",
        "As the margin grows, A wins more often and B less often. At margin 0 both are equally likely, and a "
        "tie is likelier than at any other margin. A larger tie logit makes ties more likely at every margin.",
    )


@styled
def ties() -> Chart:
    """Draw the true probability of a tie in the sample against the true margin."""
    truth = read_predictions(SAMPLE / "train-truth.csv").proba
    margin, _ = margin_and_tie(truth)
    figure, [axes] = new_axes(2.4)
    axes.scatter(np.abs(margin), truth[:, 2], s=9, color=BLUE, alpha=0.6, linewidths=0)
    axes.set(xlabel="absolute margin |m|: how different the answers are", ylabel="P(tie)", ylim=(0, None))
    return Chart(
        "ties",
        figure,
        "True probabilities of the 600 simulated battles.",
        "Battles lie on a few falling curves: the more the answers differ in quality, the less likely is a tie. "
        "Each curve stands for one tendency of voters to see a tie.",
    )


@styled
def evidence() -> Chart:
    """Draw how votes on identical answers correct a prediction."""
    counts = np.arange(21)
    battle, before = _identical(), np.array([[0.36, 0.34, 0.30]])
    after = [Evidence((0.0, 0.0, float(n)), (0.0, 0.0, 0.0)).correct(battle, before)[0, 2] for n in counts]
    figure, [axes] = new_axes(2.2)
    axes.plot(counts, after, "o-", color=BLUE, markersize=3.5)
    axes.axhline(before[0, 2], color=RED, linestyle=":", linewidth=1)
    axes.text(20, before[0, 2] + 0.02, "prediction of the model", ha="right", color=RED, fontsize=8)
    axes.set(xlabel="training battles with identical answers, all ties", ylabel="P(tie)", ylim=(0, 1))
    axes.set_xticks(range(0, 21, 4))
    return Chart(
        "evidence",
        figure,
        "Correction of a prediction for identical answers.",
        f"Without such battles the prediction stays at {after[0]:.2f}. After 4 ties it is {after[4]:.2f}, after 16 "
        f"ties {after[16]:.2f}.",
    )


def _identical() -> Battles:
    """Return one battle whose answers are identical."""
    return from_records([{"id": "1", "prompt": "p", "response_a": "yes", "response_b": "yes"}])


@styled
def floor() -> Chart:
    """Draw the learning curves on simulated battles that only the content decides, with prior and floor."""
    file = ROOT / "docs" / "curves" / "content-1-to-20000" / "learning-curves.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    figure, [axes] = new_axes(2.8)
    shown = {"structure": (GREY, "s"), "baseline-reads": (YELLOW, "^"), "siamese-reads": (BLUE, "o")}
    for curve in found["curves"]:
        if curve["label"] in shown:
            colour, marker = shown[curve["label"]]
            sizes = [point["battles"] for point in curve["points"]]
            losses = [point["log_loss"]["mean"] for point in curve["points"]]
            axes.plot(sizes, losses, marker=marker, color=colour, markersize=4, label=curve["label"])
    axes.axhline(found["prior"], color=RED, linestyle=":", linewidth=1, label="prior")
    axes.axhline(found["floor"], color=GREEN, linestyle="--", linewidth=1, label="floor")
    axes.set(xscale="log", xlabel="training battles (log scale)", ylabel="log loss (nats)", ylim=(0.6, 1.15))
    axes.set_xticks([400, 1600, 6400, 19_844], ["400", "1,600", "6,400", "19,844"])
    axes.minorticks_off()
    figure.legend(loc="outside upper center", ncols=3)
    return Chart(
        "floor",
        figure,
        "Simulated battles that only the content of the answers decides.",
        f"The prior has a log loss of {found['prior']:.3f} and the floor {found['floor']:.3f}. Counted "
        "features and an encoder that reads prompt, A and B as one text stay near the prior at every size. An "
        "encoder that reads each answer separately comes close to the floor.",
    )


DRAWN = (folds, nesting, ranks, difference_head, ties, evidence, floor)
"""All pictures of the concepts."""


def write(chart: Chart, folder: Path) -> Path:
    """Write a chart as SVG, the same bytes each time; return the file."""
    file = folder / f"{chart.name}.svg"
    chart.save(file)
    return file


def main() -> None:
    """Write all pictures into docs/pictures."""
    for draw in DRAWN:
        chart = draw()
        file = write(chart, PICTURES)
        print(f"{file.relative_to(ROOT)}: {file.stat().st_size / 1024:.0f} kB. {chart.alt}")


if __name__ == "__main__":
    main()
