"""No step begins that is expected to end after the time; what is dropped is named. The clock is a number."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from pairrank.api.automation.clock import Clock, OutOfTime, deadline
from pairrank.api.automation.plan import names_of
from pairrank.api.automation.speed import Speed
from pairrank.api.automation.training import Training, resolve_runs
from pairrank.api.sources import find_source
from pairrank.errors import UserError


@dataclass
class Fake:
    """A clock that only training moves: `seconds` gives what a fold of an experiment takes."""

    seconds: Callable[[str, int], float]
    time: float = 0.0
    made: list[tuple[str, int, float]] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    broken: str = ""

    def make_fold(self, run, fold: int) -> None:
        name = run.experiment.name
        if name == self.broken:
            raise UserError("the disk is full")
        self.made.append((name, fold, self.time))
        self.time += self.seconds(name, fold)

    def finish(self, run) -> float:
        self.finished.append(run.experiment.name)
        return 1.0


@pytest.fixture
def training(here) -> Callable[..., Training]:
    """A function that returns the training of tiny battles, whose folds are made by a fake."""
    source = find_source("data")

    def make(fake: Fake, budget: float, preset="quick", reserve: float = 5.0, **changes) -> Training:
        names = names_of(preset)
        runs, unavailable = resolve_runs(names, source, here / "runs")
        return Training(
            names,
            runs,
            Speed(10.0, 10.0, 10.0),
            Clock(budget, lambda: fake.time),
            reserve,
            fake.make_fold,
            fake.finish,
            lambda run: [
                fold for fold in range(5) if (run.experiment.name, fold) not in {m[:2] for m in fake.made}
            ],
            unavailable=unavailable,
            **changes,
        )

    return make


def test_with_enough_time_everything_is_trained_in_order(training, log_lines):
    fake = Fake(lambda name, fold: 1.0)
    work = training(fake, 1000)
    work.train()
    assert fake.finished == work.finished == names_of("quick")
    assert [made[:2] for made in fake.made] == [(name, fold) for name in names_of("quick") for fold in range(5)]
    assert sum("log loss 1.0000" in line for line in log_lines) == 4
    assert not [line for line in log_lines if "dropped" in line]


@pytest.mark.parametrize("budget", [30, 60, 120, 500])
@pytest.mark.parametrize("slowness", [0.1, 1.0, 20.0])
def test_no_fold_begins_that_is_expected_to_end_after_the_time(training, budget: float, slowness: float):
    fake = Fake(lambda name, fold: slowness * (fold + 1))
    work = training(fake, budget)
    expected = []
    make = work.make_fold

    def observed(run, fold: int) -> None:
        [step] = [each for each in work.plan() if each.name == run.experiment.name]
        expected.append((fake.time, work.costs.of_fold(step.candidate, step.candidate.done)))
        make(run, fold)

    work.make_fold = observed
    work.train()
    assert all(begun + seconds <= budget - work.reserve for begun, seconds in expected)
    # Only the last fold may have taken longer than expected.
    assert fake.time - fake.seconds(*fake.made[-1][:2]) <= budget - work.reserve if fake.made else True


def test_what_no_longer_fits_is_dropped_and_named(training, log_lines):
    fake = Fake(lambda name, fold: 60.0 if name == "structure" else 0.1)
    work = training(fake, 200)
    before = {each.name: each.status for each in work.plan()}
    assert before["structure"] == before["kernel"] == "planned"
    work.train()
    assert "structure" not in work.finished
    assert "kernel" in work.finished, "what still fits is trained"
    dropped = [line for line in log_lines if "dropped" in line]
    assert dropped[0].startswith("structure:")
    assert "finished folds are kept" in dropped[0]
    assert fake.time <= 200


def test_what_was_left_out_is_taken_in_when_the_others_were_faster(training, log_lines):
    fake = Fake(lambda name, fold: 0.001)
    work = training(fake, 58)
    assert "left out" in {each.status for each in work.plan()}
    work.train()
    assert work.finished == names_of("quick")
    assert [line for line in log_lines if "now fits" in line]


def test_an_experiment_that_cannot_be_trained_stops_no_other(training, log_lines):
    fake = Fake(lambda name, fold: 0.1, broken="structure")
    work = training(fake, 1000)
    work.train()
    assert work.finished == ["prior", "lengths", "kernel"]
    [line] = [line for line in log_lines if "dropped" in line]
    assert "structure" in line
    assert "the disk is full" in line


def test_finished_folds_are_not_made_again(training):
    fake = Fake(lambda name, fold: 1.0)
    fake.made = [("structure", fold, 0.0) for fold in range(3)]
    training(fake, 1000).train()
    assert [fold for name, fold, _ in fake.made if name == "structure"] == [0, 1, 2, 3, 4]


needs_timer = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="Windows has no such timer")


@pytest.mark.slow
@needs_timer
def test_a_fold_that_takes_too_long_is_stopped(training, log_lines):
    fake = Fake(lambda name, fold: 0.0)

    def sleep_in_structure(run, fold: int) -> None:
        if run.experiment.name == "structure":
            time.sleep(60)
        fake.make_fold(run, fold)

    work = training(fake, 1000)
    work.make_fold, work.speed, work.clock = sleep_in_structure, Speed(0.001, 0.001, 0.001), Clock(9)
    work.train()
    assert work.finished == ["prior", "lengths"]
    assert "took too long" in next(line for line in log_lines if "structure: dropped" in line)


@needs_timer
def test_a_deadline_interrupts_and_leaves_no_timer_behind():
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(OutOfTime), deadline(0.05):
        time.sleep(10)
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    with deadline(60):
        pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
