"""Draw the README's pictures again, from the simulated sample alone: python docs/pictures.py [--runs DIR].

Runs the experiments that are missing (with baseline, three and a half minutes on two cores), draws the leaderboard,
and takes a screenshot of the report in Chromium (Debian: apt-get install chromium).
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from pairrank.cli.run import RunRequest, run
from pairrank.data.folder import find_data
from pairrank.evaluation.entries import entries_in
from pairrank.evaluation.leaderboard import build_leaderboard
from pairrank.evaluation.survey import survey_of
from pairrank.report.leaderboard_charts import leaderboard_plot
from pairrank.report.results import results_page
from pairrank.report.scored_runs import Results, score_run

ROOT = Path(__file__).parents[1]
SAMPLE, PICTURES = ROOT / "Dataset" / "sample", ROOT / "docs" / "pictures"
NAMES = ["prior", "lengths", "structure", "kernel", "frozen", "stack", "ensemble-fast", "baseline"]
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--hide-scrollbars",
    "--window-size=1240,1010",
]


def main() -> None:
    """Run the experiments, draw the leaderboard and take the screenshot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "pictures")
    runs = parser.parse_args().runs
    chromium = shutil.which("chromium")
    if not chromium:
        sys.exit("Chromium was not found; it takes the screenshot. Install it (Debian: apt-get install chromium).")
    run(RunRequest(NAMES, SAMPLE, runs))
    data = find_data(SAMPLE)
    entries = {entry.label: entry for entry in entries_in(runs, data.train)}
    board = build_leaderboard(data.name, data.train, list(entries.values()), truth=data.truth)
    leaderboard_plot(board).save(PICTURES / "leaderboard.png")
    scored = [score_run(entries[row.label], data.train) for row in board.rows]
    page = results_page(Results(board, data.train, survey_of(data.train), scored))
    # A page folds the sections of single runs; the screenshot shows an open one.
    best = [replace(each, folded=False) for each in page.sections if each.title == board.rows[0].label]
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "report.html"
        replace(page, sections=best).write(file)
        options = [*FLAGS, f"--user-data-dir={scratch}/profile", f"--screenshot={PICTURES / 'report.png'}"]
        subprocess.run([chromium, *options, file.as_uri()], check=True, timeout=120)  # noqa: S603  # no part of it is from a user
    for picture in sorted(PICTURES.glob("*.png")):
        print(f"{picture}: {picture.stat().st_size / 1024:.0f} kB")


if __name__ == "__main__":
    main()
