"""From the command line: what an experiment builds on is told, made in order, and goes with it wherever it goes."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pairrank.cli.plan import LONG, Clock, Plan, Step
from pairrank.data.battles import object_array
from pairrank.data.folder import DataFolder
from pairrank.data.predictions import read_predictions
from pairrank.data.simulation import write_arena
from pairrank.data.writing import write_battles
from pairrank.evaluation.run_record import read_run_record
from pairrank.runs.resolution import resolve_run
from tests.support.command_line import refused
from tests.support.strategies import write_rows

pytestmark = pytest.mark.slow


@pytest.fixture
def experiments(here):
    """A pool of a quick model and the prior, and a stack on that pool."""
    write("quick", 'seconds = 50\n[model]\nname = "structure"\ngroups = ["length"]\nlearner = "logistic"')
    write("both", 'about = "Two of them."\ninputs = ["quick", "prior"]\nseconds = 1\n[model]\nname = "pool"')
    write("tower", 'inputs = ["both"]\n[model]\nname = "gbdt"\nlearner = "multinomial"\ngroups = ["length"]')
    write_arena(here / "arena", 60, 20, seed=0)


ORDER = ("quick", "prior", "both", "tower")


def write(name: str, text: str) -> None:
    Path("experiments").mkdir(exist_ok=True)
    Path("experiments", f"{name}.toml").write_text(text, encoding="utf-8")


def plan_of(*names: str, folds: tuple[int, ...] = (), nested: bool = False) -> Plan:
    from pairrank.runs.experiment_files import load_experiment

    data, home = DataFolder(Path("arena")), Path("runs/arena")
    return Plan.of([resolve_run(load_experiment(name, nested=nested), data, home) for name in names], folds)


def plan(name: str, nested: bool = False) -> list[str]:
    return plan_of(name, nested=nested).lines()


def test_the_plan_names_inputs_and_the_time_they_take(experiments, call):
    assert plan("quick") == []
    write("untimed", '[model]\nname = "prior"')
    write("both", 'inputs = ["quick", "untimed"]\nseconds = 1\n[model]\nname = "pool"')
    first, whole = plan("both")
    # 50 s per thousand battles, 60 of them.
    assert first.startswith("both needs inputs")
    assert first.endswith("quick (about 3 s), untimed (unknown time).")
    assert "about 3 s in all, plus the experiments without an estimate" in whole
    ended = call("run", "tower", "--data", "arena")
    assert ended.code == 0, ended.err
    made = [line.split(",")[0] for line in ended.out.splitlines() if "training on" in line]
    assert list(dict.fromkeys(made)) == ["quick", "untimed", "both", "tower"]
    first, whole = plan("both")
    assert first == "both builds on quick, untimed: finished, used unchanged."
    assert "both: about 1 s in all, on two cores." in whole
    assert set(read_run_record(Path("runs/arena/tower")).inputs) == {"both"}


def test_the_estimate_of_a_nested_run_reads_no_experiment_file_again(experiments):
    steps = plan_of("tower", nested=True).steps
    shutil.rmtree("experiments")
    # quick, both and prior take 52 s per thousand battles, for 60 battles, in all folds but the first time.
    assert steps[-1].seconds == pytest.approx((50 + 1 + 1) * 0.06 * 4)


def test_a_dry_run_shows_the_plan_and_writes_nothing(experiments, call, here):
    before = sorted(here.rglob("*"))
    ended = call("run", "tower", "quick", "--data", "arena", "--dry-run", "--fold", "1")
    assert (ended.code, ended.err) == (0, "")
    assert sorted(here.rglob("*")) == before
    lines = ended.out.splitlines()
    # Inputs get all their folds, the named experiments those of --fold.
    places = [lines.index(f"{name}: 60 battles, 20 test battles, in runs/arena/{name}") for name in ORDER]
    assert places == sorted(places)
    assert [lines[i + 1].split(",")[0].strip() for i in places] == [
        "to train: fold 1",
        "to train: folds 0",
        "to train: folds 0",
        "to train: fold 1",
    ]
    assert "about 1 s on two cores" in lines[places[0] + 1]
    assert "--dry-run" in lines[-1]


def test_a_dry_run_says_what_is_finished_and_what_is_not(experiments, call):
    assert call("run", "quick", "--data", "arena", "--fold", "0", "--fold", "3").code == 0
    ended = call("run", "quick", "--data", "arena", "--dry-run")
    assert "finished, used again: folds 0, 3" in ended.out
    assert "to train: folds 1, 2, 4" in ended.out
    # Another setting of the same file makes finished folds stale.
    write("quick", '[model]\nname = "structure"\ngroups = ["length"]\nlearner = "logistic"\npenalty = 3.0')
    assert "to train: folds 0, 1, 2, 3, 4" in call("run", "quick", "--data", "arena", "--dry-run").out


def test_a_dry_run_refuses_what_a_run_refuses(experiments, call):
    assert refused(call("run", "quikc", "--data", "arena", "--dry-run"), "Did you mean 'quick'?")
    assert refused(call("run", "quick", "--data", "arena", "--dry-run", "--fold", "9"), "folds 0 to 4")


def test_the_remaining_time_follows_what_the_first_runs_took(experiments):
    """With a minute as estimated added, a run of 3 s that took 129 s was three times as slow as estimated."""
    quick, both = plan_of("quick").steps[0], plan_of("both").steps[-1]
    assert quick.seconds == pytest.approx(3)
    slow = Step(both.run, both.missing, ())
    slow.__dict__["seconds"] = 6.0
    clock = Clock((quick, slow), begun=time.monotonic() - 129)
    line = clock.remaining_after(quick)
    assert line.startswith("1 of 2 runs done")
    assert "about 18 s" in line
    assert clock.remaining_after(slow) == ""


def test_no_remaining_time_is_invented(experiments):
    write("untimed", '[model]\nname = "prior"')
    quick, untimed = plan_of("quick").steps[0], plan_of("untimed").steps[0]
    hour = time.monotonic() - 3600
    assert Clock((quick, untimed), begun=hour).remaining_after(quick) == ""
    assert Clock((untimed, quick), begun=hour).remaining_after(untimed) == ""
    # And what is over in seconds needs no line.
    assert Clock((quick, quick), begun=time.monotonic() - LONG / 2).remaining_after(quick) == ""


def test_a_pool_of_equal_weights_is_the_geometric_mean_of_its_inputs_out_of_fold_and_in_test(
    experiments, call, run_once
):
    run_once("both", data="arena")
    for file in ("oof.csv", *(f"test/fold{k}.csv" for k in range(5))):
        quick, prior, both = (read_predictions(Path("runs/arena", n, file)) for n in ("quick", "prior", "both"))
        product = np.sqrt(quick.proba * prior.align(quick.id).proba)
        assert np.allclose(both.align(quick.id).proba, product / product.sum(axis=1, keepdims=True), atol=1e-8)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--nested"], "quick: this experiment has no inputs"),
        (["--extra", "nowhere.csv"], "extra 'nowhere.csv': no battle file"),
        (["--extra", "arena=much"], "--extra arena=much: expected PATH=WEIGHT"),
        (["--extra", "arena=-1"], "weight = -1.0: expected a number above 0"),
        (["--extra", "arena/test.csv"], "contains no winners"),
    ],
)
def test_contradictions_are_refused_before_any_work(experiments, call, arguments, expected):
    ended = call("run", "quick", "--data", "arena", *arguments)
    assert refused(ended, expected.split(": ", 1)[1] if "--nested" in arguments else expected)
    assert not Path("runs").exists()


def test_extra_battles_are_counted_in_the_log_and_part_of_the_name(experiments, call):
    write_arena(Path("more"), 40, 5, seed=7)
    ended = call("run", "quick", "--data", "arena", "--extra", "more=0.5", "--fold", "0")
    assert ended.code == 0, ended.err
    assert "extra battles from more at weight 0.5; left out: " in ended.out
    metrics = read_run_record(Path("runs/arena/quick+extra=more,0.5"))
    [[source]] = metrics.extra
    assert source["read"] == 40 == source["used"] + source["in_test"] + source["in_fold"]
    assert metrics.experiment["extra"] == [{"path": "more", "weight": 0.5}]


def test_submit_predicts_inputs_first_for_a_test_file_of_any_length(experiments, call, run_once, here):
    run_once("tower", data="arena")
    test = DataFolder(here / "arena").test
    assert test is not None
    for count in (1, 7):
        write_battles(test.take(slice(count)), here / "arena" / "test.csv")
        ended = call("submit", "tower", "--data", "arena", "--out", "s.csv")
        assert ended.code == 0, ended.err
        kept = read_predictions("runs/arena/tower/test.csv").align(test.id[:count])
        assert np.allclose(read_predictions("s.csv").proba, kept.proba, atol=1e-8)


def test_damaged_rows_are_predicted_and_change_no_other_row(experiments, call, run_once, here):
    run_once("tower", data="arena")
    test = DataFolder(here / "arena").test
    assert test is not None
    order = np.random.default_rng(0).permutation(len(test))
    shuffled = test.take(order)
    texts = ("prompt", "response_a", "response_b")
    rows = [[shuffled.id[i], *(json.dumps(getattr(shuffled, name)[i]) for name in texts)] for i in range(len(test))]
    rows[0][2], rows[1][3], rows[2][2] = '[""]', '["broken \\ud83d"]', "[null]"
    write_rows(Path("odd.csv"), [["id", *texts], *rows])
    ended = call("predict", "tower", "odd.csv", "--data", "arena", "--out", "p.csv")
    assert ended.code == 0, ended.err
    got, kept = read_predictions("p.csv"), read_predictions("runs/arena/tower/test.csv")
    assert got.id.tolist() == shuffled.id.tolist()
    assert np.allclose(got.proba[3:], kept.align(got.id).proba[3:], atol=1e-8)
    assert np.allclose(got.proba.sum(axis=1), 1, atol=1e-6)


def test_what_builds_on_a_diagnostic_cannot_be_submitted(experiments, call):
    write("names", 'submittable = false\n[model]\nname = "identity"')
    write("told", 'submittable = false\ninputs = ["names"]\n[model]\nname = "pool"')
    assert call("run", "told", "--data", "arena").code == 0
    assert refused(call("submit", "told", "--data", "arena"), "diagnostic")


def test_an_input_with_wrong_ids_is_trained_again(experiments, call, run_once):
    run_once("quick", "prior", data="arena")
    file = Path("runs/arena/quick/test/fold0.csv")
    kept = read_predictions(file)
    replace(kept, id=object_array(["other", *kept.id[1:]])).write(file)
    # Damaged, so it is made again rather than believed.
    assert call("run", "both", "--data", "arena").code == 0
    assert read_predictions(file).id.tolist() == kept.id.tolist()


def test_inputs_are_run_first_in_any_order_of_names(experiments, call):
    ended = call("run", "both", "quick", "--data", "arena")
    assert ended.code == 0, ended.err
    made = [line.split(",")[0] for line in ended.out.splitlines() if "training on" in line]
    assert list(dict.fromkeys(made)) == ["quick", "both"]


def test_all_missing_files_of_extra_battles_are_reported_before_any_work(experiments, call):
    write("quick", 'extra = ["gone.csv"]\n[model]\nname = "structure"')
    write("other", 'extra = ["away.csv"]\n[model]\nname = "prior"')
    write("both", 'inputs = ["quick", "other"]\n[model]\nname = "pool"')
    assert refused(call("run", "both", "--data", "arena"), "quick: extra 'gone.csv'", "other: extra 'away.csv'")
    assert not Path("runs").exists()


def test_the_plan_of_a_nested_run_takes_longer(experiments, call):
    # 60 battles: 3 s for quick, four times that again inside the five folds, and what else there is.
    assert plan("both", nested=True)[-1] == "both+nested=true: about 15 s in all, on two cores."


def test_battles_are_never_overwritten_by_predictions(experiments, call):
    assert call("run", "quick", "--data", "arena").code == 0
    kept = Path("arena/test.csv").read_bytes()
    for command in (
        ["predict", "quick", "arena/test.csv", "--data", "arena"],
        ["submit", "quick", "--data", "arena"],
    ):
        assert refused(call(*command, "--out", "arena/../arena/test.csv"), "battles are read from this file")
    assert Path("arena/test.csv").read_bytes() == kept


def test_a_run_on_replaced_inputs_is_neither_submitted_nor_compared(experiments, call, run_once):
    run_once("both", data="arena")
    write("quick", '[model]\nname = "structure"\ngroups = ["length"]\nlearner = "logistic"\npenalty = 3.0')
    assert call("run", "quick", "--data", "arena").code == 0
    assert refused(call("submit", "both", "--data", "arena"), "other predictions of quick")
    ended = call("compare", "--data", "arena")
    assert "runs/arena/both: the predictions of its input quick have changed" in ended.out.replace("\\", "/")


def test_training_battles_without_model_names_are_reported(experiments, call):
    write("names", 'submittable = false\n[model]\nname = "identity"')
    battles = DataFolder(Path("arena")).train
    write_battles(replace(battles, model_a=None, model_b=None), Path("arena/train.csv"))
    assert "no training battle names both of its models" in call("run", "names", "--data", "arena").out
