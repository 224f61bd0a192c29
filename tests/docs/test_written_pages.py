"""README is short and has the published figures; links lead to files; pages are listed; code draws the pictures."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pairrank.data.folder import find_data
from tests.support.docs import load_script
from tests.support.pages_of_docs import FENCE, ROOT, blocks_of, name_of, pages

LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
PICTURE = re.compile(r"!\[(?P<alt>[^\]]+)\]\((?P<target>[^)\s]+)\)")
CHECKED_BY_THE_SITE = ("docs/reference/", "docs/results/")
"""Folders of pages that are written or generated for the site; its build fails if one is missing."""
README = ROOT / "README.md"
ROWS = {
    "prior": "prior",
    "baseline-as-published": "baseline-as-published@minilm",
    "siamese": "siamese",
    "structure": "structure",
    "ensemble-fast": "ensemble-fast",
}
"""Row of the table in README -> row of the published leaderboard."""


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def numbers(text: str) -> set[str]:
    return set(re.findall(r"\d+(?:\.\d+)?", text.replace(",", "")))


def table() -> dict[str, list[str]]:
    """The rows of README's table of scores: what follows the name in each."""
    lines = [line.strip("|").split("|") for line in README.read_text(encoding="utf-8").splitlines()]
    cells = [[cell.strip().strip("`") for cell in line] for line in lines]
    return {first: rest for first, *rest in cells if first in ROWS and len(rest) == 3}


def test_readme_has_at_most_150_lines():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


def test_readme_has_the_scores_of_the_published_leaderboard():
    published = json.loads((ROOT / "benchmarks" / "leaderboard.json").read_text(encoding="utf-8"))["rows"]
    losses = {row["label"]: row for row in published}
    assert list(table()) == list(ROWS)
    for name, (_, whole, _) in table().items():
        row = losses[ROWS[name]]
        assert whole == (f"{row['log_loss']:.4f}" if row["battles"] == 1587 else "not run")
    whole = [row for row in published if row["submittable"] and row["rank"]]
    ensembles = [row for row in whole if row["label"].startswith("ensemble")]
    assert min(ensembles, key=lambda row: row["log_loss"])["label"] == "ensemble-fast"
    tied = [row for row in published if row["rank"] == 1]
    counts = f"Of the {sum(row['rank'] is not None for row in published)} rows"
    assert counts in README.read_text(encoding="utf-8")
    assert f"{len(tied)} may be the best" in README.read_text(encoding="utf-8")


def test_readme_has_the_scores_of_the_predictions_on_the_battles_of_fold_0(arena):
    """Log loss from the committed predictions and the winners, without pairrank's scores."""
    train = find_data(arena).train
    winner = dict(zip(train.id.tolist(), train.labels.tolist(), strict=True))
    files = {name: ROOT / "benchmarks" / "predictions" / "arena" / f"{label}.csv" for name, label in ROWS.items()}
    shared = set(pd.read_csv(files["baseline-as-published"], dtype={"id": str})["id"])
    assert len(shared) == 313
    for name, (_, _, part) in table().items():
        rows = pd.read_csv(files[name], dtype={"id": str}).query("id in @shared")
        proba = rows.iloc[:, 1:4].to_numpy()
        chosen = proba[np.arange(len(rows)), [winner[each] for each in rows["id"]]] / proba.sum(axis=1)
        assert part == f"{-np.log(chosen).mean():.4f}"


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_link_leads_to_a_file(page):
    targets = [found["target"].split("#")[0] for found in LINK.finditer(prose(page))]
    files = [(page.parent / target).resolve() for target in targets if target and "://" not in target]
    assert [file for file in files if not (file.exists() or name_of(file).startswith(CHECKED_BY_THE_SITE))] == []


@pytest.mark.parametrize("folder", ["start", "how-to", "concepts"])
def test_every_page_is_in_the_contents_of_its_folder_and_in_the_table_that_a_reader_sees(folder):
    index = ROOT / "docs" / folder / "index.md"
    here = {file.stem for file in index.parent.glob("*.md")} - {"index"}
    trees = [block.text for block in blocks_of(index) if block.language == "{toctree}"]
    listed = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
    linked = {found["target"].removesuffix(".md") for found in LINK.finditer(prose(index))}
    assert sorted(listed) == sorted(here)
    assert here <= linked


def test_every_concept_has_a_picture_that_code_draws_and_whose_text_has_the_numbers_of_the_chart():
    drawn = {chart.name: chart for chart in (draw() for draw in load_script("concept_pictures").DRAWN)}
    shown = {}
    for page in (ROOT / "docs" / "concepts").glob("*.md"):
        for found in PICTURE.finditer(prose(page)):
            shown[Path(found["target"]).stem] = found["alt"]
            assert (page.parent / found["target"]).stat().st_size < 100_000
    assert set(shown) == set(drawn)
    for name, alt in shown.items():
        assert numbers(alt) <= numbers(drawn[name].alt)


def test_the_picture_of_folds_counts_battles_whose_prompt_is_in_another_fold(battles):
    script = load_script("concept_pictures")
    assert script.shared_prompts(battles, np.array([0, 1, 2, 3, 4])) == 0.4  # "Hi" and "  hi " of five battles
    assert script.shared_prompts(battles, np.array([0, 1, 0, 3, 4])) == 0


def test_the_figures_of_the_picture_of_nesting_are_in_the_log():
    log = (ROOT / "experiments" / "LOG.md").read_text(encoding="utf-8")
    for usual, nested in load_script("concept_pictures").NESTED.values():
        assert f"| {usual:.4f} | {nested:.4f} |" in log
