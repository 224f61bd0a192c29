"""From data to an answer: what fits the time is trained, pooled, compared, reported and submitted."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, isfinite
from pathlib import Path
from typing import get_args

from pairrank import distributed
from pairrank.api import comparison, pages, prediction
from pairrank.api.automation.checks import check_data
from pairrank.api.automation.clock import Clock
from pairrank.api.automation.plan import ORDER, Decision, Preset, names_of
from pairrank.api.automation.pool import POOL, members_of, write_pool
from pairrank.api.automation.speed import Speed, measure_speed
from pairrank.api.automation.summary import found, more_minutes, submitted
from pairrank.api.automation.training import Training, resolve_runs
from pairrank.api.comparison import Leaderboard
from pairrank.api.html import folded, table
from pairrank.api.model_cards import write_cards_of
from pairrank.api.sources import BattlesLike, DataLike, Source, find_source, home_of
from pairrank.errors import UserError, excerpt, unknown_name
from pairrank.progress import in_words
from pairrank.runs.cross_validation import cross_validate

logger = logging.getLogger(__name__)

FINISHING, FINISHING_PER_THOUSAND = 12.0, 8.0
"""Seconds that pool, leaderboard, model cards, report and submission need, and those for each 1,000 battles."""
MOST_MINUTES = 100_000.0
ShowPlan = Callable[[Sequence[Decision]], None]
"""A function that shows the plan before anything is trained."""


@dataclass(frozen=True, eq=False, repr=False)
class AutoResult:
    """What `auto` has found."""

    plan: tuple[Decision, ...]
    """What was run, what was left out, and why."""
    warnings: tuple[str, ...]
    """What the data may mislead about."""
    runs: Path
    """The folder of the runs, with all files."""
    seconds: float
    """Seconds from the beginning to the end."""
    label: str = ""
    """Name of the run to use, which was chosen without looking at a score; "" if nothing was trained."""
    board: Leaderboard | None = None
    """The leaderboard of all runs on the data; None if nothing was trained."""
    report: Path | None = None
    submission: Path | None = None
    """A valid submission; None if there are no test battles."""
    model_card: Path | None = None
    summary: tuple[str, ...] = ()
    """Three sentences: what was found, what is submitted, and what more minutes would be used for."""

    def __repr__(self) -> str:
        return f"AutoResult({self.label!r}, {self.seconds:.0f} s, {str(self.runs)!r})"

    def _repr_html_(self) -> str:
        rows = [(each.name, f"{each.seconds:.0f}", each.status, each.why) for each in self.plan]
        shown = table(["experiment", "expected seconds", "", "why"], rows, "plan")
        board = "" if self.board is None else self.board._repr_html_()
        return board + shown + folded("Summary", self.summary) + folded("Warnings", self.warnings)


def auto(
    data: DataLike = None,
    *,
    test: "BattlesLike | None" = None,
    minutes: float = 20,
    preset: Preset = "good",
    runs: str | Path | None = None,
    dry_run: bool = False,
    show_plan: ShowPlan = lambda plan: None,
) -> AutoResult:
    """Train what fits the time, pool it, and write leaderboard, report, model cards and a submission.

    It is the command `auto`. The files are in the folder of the runs. Called again, also after a crash, it uses
    finished folds again, so that the minutes go to what is missing.

    - `data`, `test` and `runs`: as in `cross_validate`.
    - `minutes`: the time for everything. The plan is made from the costs in the experiment files, a measurement
      of this machine, and what the finished folds have taken.
    - `preset`: "quick" for counted features only, "good" with stacks and frozen encoders, "best" with fine-tuned
      encoders.
    - `dry_run`: check and plan, and train nothing.
    - `show_plan`: is called with the plan before anything is trained.

    >>> import pairrank
    >>> result = pairrank.auto("Dataset/sample", minutes=2, preset="quick")
    >>> print(*result.summary)
    >>> result.board.to_dataframe()

    Raises UserError, with all complaints at once, for data that cannot work, and for a time that is too short.
    """
    begun = time.monotonic()
    _refuse_arguments(minutes, preset)
    source = find_source(data, test)
    home = home_of(runs, source)
    warnings = check_data(source)
    for warning in warnings:
        logger.warning(f"WARNING: {warning}")
    training = _prepare(source, home, preset, Clock(60 * minutes, begun=begun))
    plan = training.plan()
    _refuse_short_time(plan, minutes, training)
    show_plan(plan)
    if dry_run:
        return AutoResult(plan, warnings, home, training.clock.passed)
    training.train()
    return _finish(source, training, home, preset, warnings)


def _refuse_arguments(minutes: float, preset: str) -> None:
    """Raise UserError for an unknown preset, a time that is none, and several processes."""
    if distributed.world_size() > 1:
        raise UserError("torchrun starts several processes, which only the command `run` combines. Use that.")
    if preset not in get_args(Preset):
        raise UserError(unknown_name("preset", preset, get_args(Preset)))
    is_number = isinstance(minutes, int | float) and not isinstance(minutes, bool)
    if not is_number or not isfinite(minutes) or not 0 < minutes <= MOST_MINUTES:
        raise UserError(
            f"minutes: found {excerpt(minutes)}, expected a number above 0 and at most {MOST_MINUTES:,.0f}."
        )


def _prepare(source: Source, home: Path, preset: Preset, clock: Clock) -> Training:
    """Resolve the experiments and measure the machine."""
    names = names_of(preset)
    resolved, unavailable = resolve_runs(names, source, home)
    with_encoders = any(ORDER[name][0] != "counted" for name in resolved)
    speed = measure_speed(source.train, with_encoders)
    logger.info(
        f"Measured: counting features takes {speed.counted:.1f} times as long as in the estimates"
        + (f", encoding {speed.frozen:.1f} times." if with_encoders else ".")
    )
    return Training(names, resolved, speed, clock, _finishing_seconds(source, speed), unavailable=unavailable)


def _finishing_seconds(source: Source, speed: Speed) -> float:
    """Return the seconds to keep for what follows the training."""
    battles = len(source.train) + (0 if source.test is None else len(source.test))
    return (FINISHING + FINISHING_PER_THOUSAND * battles / 1000) * max(1.0, speed.counted)


def _refuse_short_time(plan: Sequence[Decision], minutes: float, training: Training) -> None:
    """Raise UserError if not even the first experiment fits, or if it cannot be run."""
    if plan[0].status == "unavailable":
        raise UserError(plan[0].why)
    if plan[0].status == "left out":
        raise UserError(
            f"--minutes {minutes:g}: too short for these battles on this machine. Reading and checking have taken "
            f"{training.clock.passed:.0f} s, and leaderboard and report take {in_words(training.reserve)}. Use "
            f"--minutes {1 + ceil((training.clock.passed + training.reserve) / 60)} or more."
        )


def _finish(
    source: Source, training: Training, home: Path, preset: Preset, warnings: tuple[str, ...]
) -> AutoResult:
    """Pool and compare what was trained, write all files, and return the result."""
    plan, names = training.plan(), training.finished
    pool = write_pool(names, source, home)
    trained = [training.runs[name] for name in names]
    chosen = pool or trained[-1]
    if pool:
        record = cross_validate(pool)
        logger.info(f"{POOL}: log loss {record.log_loss:.4f}" if record.log_loss is not None else POOL)
    write_cards_of(source, [*trained, *([pool] if pool else [])])
    board = comparison.compare(None, source, runs=home)
    board.write(home)
    submission = _submission(source, chosen.experiment.label, home)
    report = pages.report((), source, home / "report.html", runs=home)
    summary = (
        found(board),
        submitted(board, chosen.experiment.label, members_of(names), submission is not None),
        more_minutes(plan, preset, training.reserve),
    )
    card = chosen.folder / "model-card.md"
    label, seconds = chosen.experiment.label, training.clock.passed
    return AutoResult(plan, warnings, home, seconds, label, board, report, submission, card, summary)


def _submission(source: Source, label: str, home: Path) -> Path | None:
    """Write the submission of a run, and return its path; None without test battles, and if some are lost."""
    if source.test is None or not len(source.test) or source.test.lost_rows:
        return None
    out = home / "submission.csv"
    prediction.submit(label, source, out, runs=home)
    return out
