"""A small experiment with a search table, on simulated battles, as a user would have them."""

from pathlib import Path

from pairrank.data.folder import DataFolder
from pairrank.runs.experiment_files import load_experiment
from pairrank.runs.resolution import resolve_run
from pairrank.tuning.search import Search

SMALL = """about = "Lengths, quickly."

[model]
name = "structure"
learner = "logistic"
groups = ["length"]

[search]
penalty = {low = 0.1, high = 1000.0, log = true}
clip = {low = 1.0, high = 6.0}
"""


def write_experiment(name: str, text: str = SMALL) -> Path:
    Path("experiments").mkdir(exist_ok=True)
    file = Path("experiments", f"{name}.toml")
    file.write_text(text, encoding="utf-8")
    return file


def some_search(name: str = "small", **changes) -> Search:
    run = resolve_run(load_experiment(name), DataFolder(Path("arena")), Path("runs"))
    asked = {"untouched": 4, "folds": (0, 1, 2, 3), "home": Path("runs", f"{name}+tuning"), "trials": 6}
    return Search(run, **(asked | changes))
