"""Made-up battles and runs, in memory and on disk, from which tests make pages."""

from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from pairrank.data.battles import Battles, object_array
from pairrank.data.predictions import Predictions, predictions_hash
from pairrank.data.probabilities import normalise
from pairrank.data.simulation import simulate
from pairrank.evaluation.entries import Entry, publish
from pairrank.evaluation.leaderboard import build_leaderboard
from pairrank.evaluation.run_record import record_from_json
from pairrank.evaluation.survey import survey_of
from pairrank.report.scored_runs import Results, score_run

ATTACK = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>\u202e\x1b[31m</div></details>"
"""A text of a battle that contains markup, a script, control characters and closing tags."""
NAME = "a$b$ <b>|`\u202e evil"
"""A model name that contains markup, a formula and the end of a table cell."""


class PageParser(HTMLParser):
    """The tags, attributes and text of an HTML page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def hostile_battles(n: int = 240) -> Battles:
    """Return simulated battles, the first twelve of which contain attacks."""
    battles, _ = simulate(n)
    columns = {name: column.copy() for name, column in vars(battles).items() if isinstance(column, np.ndarray)}
    for i in range(12):
        columns["prompt"][i] = (f"{ATTACK} {i}", "and again")
        columns["response_a"][i] = (ATTACK, "W" * 5_000)
        columns["response_b"][i] = ("", ATTACK)
        columns["model_a"][i] = NAME
    columns["id"] = object_array([*(f"<i>{i}</i>" for i in range(3)), *battles.id[3:]])
    return Battles(**columns)


def entry_of(label: str, battles: Battles, sharpness: float, seed: int, **metrics: object) -> Entry:
    """Return a made-up run, whose predictions are the true probabilities mixed with noise and sharpened."""
    _, truth = simulate(len(battles))
    noise = np.random.default_rng(seed).dirichlet(np.ones(3), len(battles))
    predictions = Predictions(battles.id, normalise((0.5 * truth.proba + 0.5 * noise + 0.02) ** sharpness))
    values = {
        "label": label,
        "identity": "0123456789abcdef",
        "predictions": predictions_hash(predictions),
        "experiment": {
            "name": label,
            "about": f"{label}: made up.",
            "submittable": True,
            "inputs": [],
            "extra": [],
            "model": {"name": "structure", "seed": 0},
            "split": {"folds": 5, "salt": "", "limit": 0},
        },
        "data": {"name": "hostile", "hash": battles.content_hash(), "battles": len(battles)},
        "folds": [0, 1, 2, 3, 4],
        "swap_gap": 0.0,
        "flip_rate": 0.0,
        "training_seconds": 10.0 * seed,
        "parameters": 100 * seed,
        "versions": {"python": "3.11"},
        "commit": "abc",
        "device": "CPU",
    }
    return Entry(label, predictions, record_from_json(values | metrics))


HISTORY_ROWS = [
    {
        "Fold": fold,
        "Step": step,
        "Training Loss": 1.1 - step / 1_000,
        "Validation Loss": None if step == 30 else 1.05,
        "Accuracy": None if step == 30 else 0.4,
        "Log Loss": None if step == 30 else 1.04 + fold / 100,
        "Runtime": 2.0,
        "Samples Per Second": 30.5,
        "Steps Per Second": 3.0,
    }
    for fold in (0, 1)
    for step in (10, 20, 30)
]


def made_up_entries(battles: Battles) -> list[Entry]:
    """Return a prior, two runs, a pool of them, and a user's file with a hostile name."""
    prior = entry_of("prior", battles, 0.0, 1)
    one, two = entry_of("one", battles, 1.0, 2, history=HISTORY_ROWS), entry_of("two", battles, 2.0, 3)
    pool = entry_of("pool", battles, 1.5, 4, inputs={"one": "1", "two": "2"}, warnings=["<b>a warning</b>"])
    pool.record.experiment["model"] = {"name": "pool"}
    half = np.arange(len(battles)) % 2 == 0
    stranger = Entry("x$y$ <i>", Predictions(battles.id[half], two.predictions.proba[half]))
    return [prior, one, two, pool, stranger]


def made_up_results(battles: Battles | None = None, **fields: object) -> Results:
    """Return the results of the made-up runs, from which a page is made."""
    battles = hostile_battles() if battles is None else battles
    entries = made_up_entries(battles)
    board = build_leaderboard("hostile", battles, entries)
    by_label = {entry.label: entry for entry in entries}
    runs = [score_run(by_label[row.label], battles) for row in board.rows]
    return Results(board, battles, survey_of(battles), runs, **fields)


def publish_made_up(folder: Path, battles: Battles) -> None:
    """Publish the made-up runs as `compare --publish` does, except the one whose label is no valid file name."""
    publish(folder, "hostile", [entry for entry in made_up_entries(battles) if entry.label != "x$y$ <i>"])
