"""Every command does what it says, and a user's mistake is one message."""

import csv
import gzip
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pairrank.api import entries, sources
from pairrank.cli import app, console, listing
from pairrank.data.battles import object_array
from pairrank.data.predictions import Predictions, read_predictions
from pairrank.data.reading import read_battles, stream_battles
from pairrank.data.simulation import simulate as simulated
from pairrank.data.writing import write_battles
from pairrank.errors import UserError
from tests.support.battles import tiny_battles, write_folder
from tests.support.command_line import refused, run_python

ROOT = Path(__file__).parents[2]
COMMANDS = [
    "run",
    "list",
    "describe",
    "new-model",
    "check-model",
    "compare",
    "explore",
    "report",
    "submit",
    "predict",
    "merge",
    "rm",
    "curve",
    "tune",
    "ratings",
    "simulate",
    "fetch-encoder",
    "doctor",
]
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


@pytest.fixture
def trained(run_once):
    """./runs/data/prior, finished."""
    run_once("prior")
    return Path("runs/data/prior")


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:  # noqa: PTH123
        return list(csv.reader(file))


# Help


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(call, command):
    ended = call(command, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert "Usage:" in ended.out
    assert command in call("--help").out


def test_help_loads_few_modules_and_nothing_heavy():
    """What is not loaded takes no time: a number that depends on no clock."""
    code = (
        "import runpy, sys; sys.argv = ['pairrank', '--help']\n"
        "try: runpy.run_module('pairrank.experiments', run_name='__main__')\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'pandas', 'sklearn', 'lightgbm', 'transformers', 'pyarrow', 'numpy', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)), len(sys.modules) < 400, file=sys.stderr)"
    )
    ended = run_python("-c", code)
    assert ended.stderr == "[] True\n"
    assert "Start with: run baseline" in ended.stdout


def test_the_package_offers_what_the_readme_uses():
    names = "Battles, Predictions, UserError, Winner, build, load_model, read_battles, read_predictions"
    code = "import pairrank, sys; assert 'numpy' not in sys.modules\n"
    code += f"from pairrank import {names}\nprint(build('prior'))"
    assert run_python("-c", code).stdout == "Prior(smoothing=1.0)\n"
    wrong = run_python("-c", "import pairrank; pairrank.bild")
    assert "module 'pairrank' has no attribute 'bild'" in wrong.stderr


# run, list, compare


def test_run_writes_all_files_of_a_run(call, here):
    ended = call("run", "prior", "structure", "--data", "data")
    assert (ended.code, ended.err) == (0, "")
    for name in ("prior", "structure"):
        folder = here / "runs" / "data" / name
        there = {
            "experiment.toml",
            "oof.csv",
            "test.csv",
            "test",
            "metrics.json",
            "model-card.md",
            *(f"fold{k}" for k in range(5)),
        }
        assert {file.name for file in folder.iterdir()} == there
        assert len(read_predictions(folder / "oof.csv")) == 40
        assert len(read_predictions(folder / "test.csv")) == 6
        assert json.loads((folder / "metrics.json").read_text())["label"] == name
    board = (here / "runs" / "data" / "LEADERBOARD.md").read_text(encoding="utf-8")
    assert "| prior |" in board
    assert "| structure |" in board
    assert "Δ prior" in ended.out
    again = call("run", "structure", "--data", "data")
    assert again.out.count("used again") == 5


def test_run_trains_the_prior_too_as_the_reference(call):
    call("run", "lengths", "--data", "data")
    assert Path("runs/data/prior/metrics.json").is_file()


def test_options_of_run_are_part_of_the_runs_name(call):
    ended = call(
        "run", "prior", "--data", "data", "--runs", "out", "--salt", "1", "--limit", "30", "--set", "smoothing=2"
    )
    assert ended.code == 0
    folder = Path("out/prior+smoothing=2+salt=1+limit=30")
    assert tomllib.loads((folder / "experiment.toml").read_text())["split"] == {
        "folds": 5,
        "salt": "1",
        "limit": 30,
        "nested": False,
    }
    assert "prior+smoothing=2+salt=1+limit=30" in ended.out
    again = call("run", folder / "experiment.toml", "--data", "data", "--runs", "out")
    assert again.out.count("used again") == 5


def test_folds_that_are_finished_are_used_again(call):
    ended = call("run", "prior", "--data", "data", "--fold", "1", "--fold", "1")
    assert ended.out.count("training on") == 1
    assert "1 of 5" in ended.out
    ended = call("run", "prior", "--data", "data")
    assert ended.out.count("used again") == 1
    assert "all 5" in ended.out


def test_run_refuses_before_any_work(call):
    assert refused(call("run", "prior", "bseline", "--data", "data"), "Did you mean 'baseline'?")
    assert refused(call("run", "prior", "--data", "data", "--fold", "5"), "--fold 5", "folds 0 to 4")
    assert refused(call("run", "prior", "--data", "data", "--set", "smoothing"), "expected key=value")
    assert refused(call("run", "prior", "--data", "nowhere"), "no such folder")
    assert not Path("runs").exists()


def test_other_battles_in_the_same_folder_are_refused(call, trained, here):
    write_folder(here / "other", first=2)
    before = (trained / "oof.csv").read_bytes()
    assert refused(call("run", "prior", "--data", "other", "--runs", "runs/data"), "other battles", "--runs")
    assert (trained / "oof.csv").read_bytes() == before


def test_list_shows_experiments_and_runs(call, trained, here):
    ended = call("list", "--data", "data")
    assert ended.code == 0
    for name in ("prior", "lengths", "structure", "baseline", "baseline-as-published"):
        assert name in ended.out
    assert "0, 1, 2, 3, 4" in ended.out
    assert f"{json.loads((trained / 'metrics.json').read_text())['log_loss']:.4f}" in ended.out
    assert "Nothing has been run" in call("list", "--data", "data", "--runs", "none").out


def test_one_broken_experiment_does_not_hide_the_others(call, trained, here):
    (here / "experiments").mkdir()
    (here / "experiments" / "broken.toml").write_text("about: [red]")
    (here / "experiments" / "marked.toml").write_text('about = "[red]odd[/] \\u001b[31m"\n[model]\nname = "prior"')
    (trained.parent / "half").mkdir()
    (trained.parent / "half" / "metrics.json").write_text("{")
    ended = call("list", "--data", "data")
    assert ended.code == 0
    assert "cannot be read" in ended.out
    assert "[red]odd[/] \\x1b[31m" in ended.out
    assert "Left out: runs/data/half" in ended.out
    assert "structure" in ended.out


@pytest.mark.slow
def test_list_imports_no_model():
    code = (
        "import sys; sys.argv = ['pairrank', 'list', '--data', '.', '--runs', 'none']\n"
        "from pairrank.cli.app import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'sklearn', 'lightgbm', 'transformers'} & set(sys.modules)))"
    )
    assert run_python("-c", code).stdout.splitlines()[-1] == "[]"


def test_compare_writes_markdown_and_json(call, trained):
    ended = call("compare", "--data", "data")
    assert ended.code == 0
    rows = json.loads((trained.parent / "leaderboard.json").read_text(encoding="utf-8"))["rows"]
    assert rows[0]["label"] == "prior"
    assert f"{rows[0]['log_loss']:.4f} ± " in ended.out
    assert f"{rows[0]['log_loss']:.4f} ± " in (trained.parent / "LEADERBOARD.md").read_text(encoding="utf-8")


def test_compare_adds_a_file_of_predictions(call, trained):
    battles = tiny_battles()
    proba = np.random.default_rng(0).dirichlet([2, 2, 2], 40)
    Predictions(battles.id, proba).write(Path("book.csv"))
    ended = call(
        "compare", "--data", "data", "--add", "[b]ook=book.csv", "--reference", "[b]ook", "--reference", "prior"
    )
    assert ended.code == 0, ended.err
    expected = -np.log(proba[np.arange(40), battles.labels]).mean()
    row = next(line for line in ended.out.splitlines() if "[b]ook" in line and "│" in line)
    assert f"{expected:.4f} ± " in row
    assert "–" in row
    assert "Δ [b]ook" in ended.out


def test_compare_refuses_wrong_files_and_names(call, trained):
    battles = tiny_battles()
    Predictions(battles.id, np.full((40, 3), 1 / 3)).write(Path("book.csv"))
    Predictions(object_array(["x"]), np.full((1, 3), 1 / 3)).write(Path("foreign.csv"))
    assert refused(call("compare", "--data", "data", "--add", "prior=book.csv"), "prior is the name of a run")
    assert refused(call("compare", "--data", "data", "--add", "b=foreign.csv"), "not among these battles", "x")
    assert refused(call("compare", "--data", "data", "--add", "book.csv"), "expected NAME=FILE")
    assert refused(call("compare", "--data", "data", "--add", "../../b=book.csv"), "cannot name a file")
    assert refused(call("compare", "--data", "data", "--add", "b=none.csv"), "none.csv: no such file")
    assert refused(call("compare", "--data", "data", "--reference", "pior"), "Did you mean 'prior'?")
    assert refused(call("compare", "--data", "data", "--runs", "none"), "nothing to compare")


def test_compare_names_its_reference_if_there_is_no_prior(call):
    Predictions(tiny_battles().id, np.full((40, 3), 1 / 3)).write(Path("book.csv"))
    ended = call("compare", "--data", "data", "--runs", "none", "--add", "book=book.csv")
    assert ended.code == 0
    assert "the reference is book." in ended.out


def test_compare_publishes_and_reads_what_it_published(call, trained):
    first = call("compare", "--data", "data", "--publish", "benchmarks")
    assert first.code == 0
    published = Path("benchmarks/LEADERBOARD.md").read_bytes()
    assert Path("benchmarks/submissions/data/prior.csv").read_bytes() == (trained / "test.csv").read_bytes()
    shutil.rmtree("runs")
    assert call("compare", "--data", "data", "--publish", "benchmarks").code == 0
    assert Path("benchmarks/LEADERBOARD.md").read_bytes() == published
    for file in Path("benchmarks").rglob("*"):
        # No text of any battle leaves with the results.
        assert not file.is_file() or "question, number" not in file.read_text(encoding="utf-8")


def test_compare_leaves_a_damaged_run_out_and_names_it(call, trained):
    shutil.copytree(trained, trained.parent / "lender")
    (trained / "metrics.json").write_text("{")
    ended = call("compare", "--data", "data")
    assert ended.code == 0
    assert "Left out: runs/data/prior" in ended.out
    assert "lender (prior)" in ended.out


# submit


def test_submit_writes_what_the_competition_expects(call, trained):
    ended = call("submit", "prior", "--data", "data")
    assert ended.code == 0
    rows = rows_of("submission.csv")
    assert rows[0] == ["id", "winner_model_a", "winner_model_b", "winner_tie"]
    assert [row[0] for row in rows[1:]] == [str(6000 + i) for i in range(6)]
    for row in rows[1:]:
        assert abs(sum(map(float, row[1:])) - 1) < 1e-6
    assert Path("submission.csv").read_bytes() == (trained / "test.csv").read_bytes()
    assert "6 battles, valid" in ended.out


@pytest.fixture
def remembered(run_once, add_model, here):
    """./runs/data/memory, a model whose test predictions differ from fold to fold."""
    add_model("memory")
    (here / "memory.toml").write_text('[model]\nname = "memory"')
    run_once("memory.toml")
    return Path("runs/data/memory")


def test_submit_predicts_a_changed_test_file_with_the_saved_models(call, remembered):
    """On Kaggle the three rows shown become 25,000, one of them damaged."""
    many = tiny_battles(25, first=7000, word="test", labelled=False)
    write_battles(many, Path("data/test.csv"))
    with open("data/test.csv", "a", encoding="utf-8") as file:  # noqa: PTH123
        file.write('"666","no [red]list\x1b[31m[/]","[""a""]","[""b"",""c""]"\n')
    ended = call("submit", "memory", "--data", "data", "--out", "deep/er/s.csv")
    assert ended.code == 0, ended.err
    assert "saved models predict them now" in ended.out
    assert "Repaired: id 666" in ended.err
    assert not CONTROL.search(ended.out + ended.err)
    rows = rows_of("deep/er/s.csv")[1:]
    assert [row[0] for row in rows] == [*many.id, "666"]
    # By hand: the five models answer (.5 + b, .3, .2 - b) with b their number of training battles / 10,000.
    sizes = [len(json.loads(line)[1]) for line in (remembered / "fits.txt").read_text().splitlines()]
    product = np.prod([[0.5 + n / 1e4, 0.3, 0.2 - n / 1e4] for n in sizes], axis=0) ** 0.2
    np.testing.assert_allclose([float(x) for x in rows[0][1:]], product / product.sum(), atol=1e-8)
    np.testing.assert_allclose([float(x) for x in rows[-1][1:]], [1 / 3] * 3, atol=1e-8)


def test_submit_keeps_the_order_of_the_test_file(call, remembered):
    backwards = tiny_battles(6, first=5000, word="test", labelled=False).take(slice(None, None, -1))
    write_battles(backwards, Path("data/test.csv"))
    assert call("submit", "memory", "--data", "data").code == 0
    assert [row[0] for row in rows_of("submission.csv")[1:]] == backwards.id.tolist()


def test_submit_predicts_again_if_texts_change_under_the_same_ids(call, remembered):
    before = rows_of(remembered / "test.csv")
    write_battles(tiny_battles(6, first=5000, word="new", labelled=False), Path("data/test.csv"))
    ended = call("submit", "memory", "--data", "data")
    assert "saved models predict them now" in ended.out
    rows = rows_of("submission.csv")
    assert [row[0] for row in rows] == [row[0] for row in before]
    # The model in arenas.py answers a third each where the prompt says nothing of a test.
    np.testing.assert_allclose([[float(x) for x in row[1:]] for row in rows[1:]], np.full((6, 3), 1 / 3), atol=1e-8)


def test_submit_replaces_damaged_test_predictions(call, remembered):
    sound = (remembered / "test.csv").read_bytes()
    for damage in (b"rubbish", sound.replace(b"6003,", b"9999,"), sound[: len(sound) // 2], None):
        if damage is None:
            (remembered / "test.csv").unlink()
        else:
            (remembered / "test.csv").write_bytes(damage)
        assert call("submit", "memory", "--data", "data").code == 0
        assert Path("submission.csv").read_bytes() == sound


def test_submit_refuses_a_diagnostic(call, here):
    (here / "peek.toml").write_text('submittable = false\n[model]\nname = "prior"')
    call("run", "peek.toml", "--data", "data")
    assert refused(call("submit", "peek", "--data", "data"), "a diagnostic is not submittable")
    assert not Path("submission.csv").exists()


def test_submit_refuses_a_partial_run_and_names_the_command_that_completes_it(call):
    call("run", "prior", "--data", "data", "--runs", "out", "--fold", "1", "--salt", "7")
    ended = call("submit", "prior+salt=7", "--data", "data", "--runs", "out")
    assert refused(ended, "only fold 1 of 5 is trained")
    command = ended.err.split("Finish the run with: ")[1].split()
    assert call(*command).code == 0
    assert call("submit", "prior+salt=7", "--data", "data", "--runs", "out").code == 0


def test_submit_refuses_models_of_two_configurations(call, trained):
    fold = trained / "fold3" / "fold.json"
    fold.write_text(json.dumps(json.loads(fold.read_text()) | {"identity": "another"}))
    assert refused(call("submit", "prior", "--data", "data"), "fold 3", "Train them with: run runs/data/prior")
    assert call("run", "prior", "--data", "data").code == 0
    assert call("submit", "prior", "--data", "data").code == 0


def test_submit_needs_a_run_and_a_test_file(call, trained):
    assert refused(call("submit", "pror", "--data", "data"), "Did you mean 'prior'?", "Looked in runs/data")
    assert refused(call("submit", "structure", "--data", "data"), "To train it: pairrank run structure")
    Path("data/test.csv").unlink()
    assert refused(call("submit", "prior", "--data", "data"), "nothing to submit")


def test_the_name_of_an_experiment_finds_its_run_with_another_encoder(call, trained):
    trained.rename(trained.parent / "prior@minilm")
    assert call("submit", "prior", "--data", "data").code == 0
    assert entries.expand_label("b", ["b", "b@x"]) == "b"
    assert entries.expand_label("b", ["b@x", "b@y"]) == "b"
    assert entries.expand_label("b", ["b@x", "b@x+seed=1"]) == "b@x"


# predict


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_predict_reads_every_kind_of_file(call, remembered, suffix):
    battles = tiny_battles(11, first=7000, word="test", labelled=False)
    write_battles(battles, Path("new.csv"))
    file = Path(f"new{suffix}")
    if suffix == ".csv.gz":
        file.write_bytes(gzip.compress(Path("new.csv").read_bytes()))
    if suffix == ".parquet":
        import pandas

        pandas.read_csv("new.csv", dtype=str, keep_default_na=False).to_parquet(file)
    ended = call("predict", "memory", file, "--out", "out.csv", "--data", "data")
    assert ended.code == 0, ended.err
    # The same battles as a test file give the same answers.
    Path("new.csv").replace("data/test.csv")
    call("submit", "memory", "--data", "data")
    assert Path("out.csv").read_bytes() == Path("submission.csv").read_bytes()
    assert "11 battles, 0 repairs" in ended.out


def test_predict_copies_columns_of_the_battles(call, remembered):
    battles = tiny_battles(7, first=7000, word="test", labelled=False)
    languages, judges = [f"l{i}" for i in range(7)], ['"a,b"'] * 7
    battles = replace(battles, language=object_array(languages), judge=object_array(judges))
    write_battles(replace(battles, winner=np.zeros(7, dtype=np.int64)), Path("new.jsonl"), "chatbot_arena")
    options = ("--data", "data", "--out", "out.csv")
    assert call("predict", "memory", "new.jsonl", *options).code == 0
    plain = Path("out.csv").read_text().splitlines()
    wanted = ("--copy", "language", "--copy", "judge", "--copy", "category")
    assert call("predict", "memory", "new.jsonl", *options, *wanted).code == 0
    with Path("out.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == [*plain[0].split(","), "language", "judge", "category"]
    assert [",".join(row[:4]) for row in rows] == plain[1:]
    assert [row[4:] for row in rows] == [[name, '"a,b"', ""] for name in languages]
    assert refused(call("predict", "memory", "new.jsonl", *options, "--copy", "langage"), "'language'")


def test_predict_reads_in_parts_and_keeps_every_damaged_row(call, remembered, monkeypatch):
    sizes = []

    def in_threes(path, schema):
        for part in stream_battles(path, rows=3, schema=schema):
            sizes.append(len(part))
            yield part

    monkeypatch.setattr("pairrank.api.prediction.stream_battles", in_threes)
    write_battles(tiny_battles(7, first=7000, word="test", labelled=False), Path("new.csv"))
    with open("new.csv", "a", encoding="utf-8") as file:  # noqa: PTH123
        file.write('"a [red]","{","[""\x1b[2J""]","[1]"\n"","","",""\n"c"\n')
    ended = call("predict", "memory", "new.csv", "--out", "out.csv", "--data", "data")
    assert ended.code == 0, ended.err
    rows = rows_of("out.csv")
    assert [row[0] for row in rows[1:]] == [*(str(8000 + i) for i in range(7)), "a [red]", "row-9", "c"]
    assert sizes == [3, 3, 3, 1]
    assert "id a [red]" in ended.err
    assert not CONTROL.search(ended.out + ended.err)
    assert len(read_predictions("out.csv")) == 10


def test_predict_reports_repeated_ids(call, remembered):
    battles = tiny_battles(4, first=7000, word="test", labelled=False)
    write_battles(replace(battles, id=object_array(["1", "2", "1", "3"])), Path("new.csv"))
    ended = call("predict", "memory", "new.csv", "--out", "out.csv", "--data", "data")
    assert ended.code == 0
    # A prediction file has one row per id, as every command that reads it demands: the first row of an id counts.
    assert [row[0] for row in rows_of("out.csv")[1:]] == ["1", "2", "3"]
    assert "Repaired: id 1: repeated in row 3" in ended.err


def test_predict_keeps_the_old_output_if_it_fails(call, remembered):
    Path("out.csv").write_text("precious")
    write_battles(tiny_battles(3000, first=7000, word="test", labelled=False), Path("new.csv"))
    whole = gzip.compress(Path("new.csv").read_bytes())
    Path("new.csv.gz").write_bytes(whole[: len(whole) * 9 // 10])
    assert refused(call("predict", "memory", "new.csv.gz", "--out", "out.csv", "--data", "data"), "damaged file")
    assert Path("out.csv").read_text() == "precious"
    assert [file.name for file in Path().glob(".*out.csv")] == []


def test_predict_reports_a_partial_run(call, here):
    call("run", "prior", "--data", "data", "--fold", "2")
    ended = call("predict", "prior", "data/test.csv", "--out", "out.csv", "--data", "data")
    assert ended.code == 0
    assert "1 of 5 folds are trained" in ended.out


def test_lines_are_printed_unchanged_except_for_control_characters(capsys):
    text = "[red]x[/] [/nothing] :smile: " + "long " * 60
    console.say(text + "\x1b[2J\u202e\u2028")
    console.warn(text + "\x07")
    out, err = capsys.readouterr()
    assert out == text + "\\x1b[2J\\u202e\\u2028\n"
    assert err == text + "\\x07\n"


def test_only_the_first_repairs_are_shown(capsys):
    for before in range(0, 30, 6):
        console.show_repairs([f"row {i}" for i in range(before, before + 6)], before)
    err = capsys.readouterr().err.splitlines()
    assert [line for line in err if line.startswith("Repaired")] == [f"Repaired: row {i}" for i in range(10)]
    assert err.count("… and more") == 1


# simulate, doctor


def test_simulate_writes_battles_that_an_experiment_runs_on(call):
    ended = call("simulate", "arena", "--train", "40", "--test", "5", "--seed", "3")
    assert ended.code == 0
    ended = call("run", "prior", "--data", "arena")
    assert ended.code == 0
    assert "above floor" in ended.out
    assert "The battles are simulated" in ended.out
    assert call("simulate", "arena", "--train", "30", "--test", "5").code == 0
    assert len(rows_of("arena/train.csv")) == 31


def test_simulate_writes_battles_of_another_content(call, here):
    """The number after --content is the share of battles that only content decides."""
    for content in ("0", "1"):
        assert call("simulate", content, "--train", "20", "--test", "5", "--content", content).code == 0
        expected, _ = simulated(20, content=float(content))
        assert read_battles(here / content / "train.csv").content_hash() == expected.content_hash()


@pytest.mark.parametrize("content", ["-0.1", "1.5", "nan"])
def test_simulate_refuses_other_values_of_content(call, here, content):
    assert refused(call("simulate", "arena", "--content", content), f"content = {content}", "from 0", "to 1")
    assert not (here / "arena").exists()


@pytest.mark.parametrize("name", ["train.csv", "test.csv", "train.csv.gz", "test.parquet"])
def test_simulate_never_overwrites_real_battles(call, here, name):
    (here / "real").mkdir()
    (here / "real" / name).write_text("precious")
    assert refused(call("simulate", "real"), name, "is not simulated", "Use another folder")
    assert [file.name for file in (here / "real").iterdir()] == [name]
    assert (here / "real" / name).read_text() == "precious"


def test_doctor_shows_the_size_of_the_cache_and_no_cache_turns_it_off(call, here, monkeypatch):
    from pairrank.vector_cache import cache_key, open_cache

    monkeypatch.setenv("PAIRRANK_CACHE", str(here / "cache"))
    monkeypatch.delenv("PAIRRANK_NO_CACHE", raising=False)
    assert "0 vectors, 0 MB" in call("doctor", "--data", "data").out
    open_cache().put({cache_key(i): np.zeros(1_000, np.float32) for i in range(1_000)})
    assert re.search(r"vectors\.sqlite: 1,000 vectors, [45] MB", call("doctor", "--data", "data").out)
    # Set by the command for its own process, and taken back here with everything else of the environment.
    monkeypatch.setenv("PAIRRANK_NO_CACHE", "")
    assert call("run", "prior", "--data", "data", "--no-cache").code == 0
    assert os.environ["PAIRRANK_NO_CACHE"] == "1"
    assert "switched off by PAIRRANK_NO_CACHE" in call("doctor", "--data", "data").out


def test_fetch_encoder_refuses_an_unknown_name(call):
    assert refused(call("fetch-encoder", "mpnt"), "no encoder to fetch is called 'mpnt'", "'mpnet'")


def test_doctor_shows_versions_encoders_and_data(call, monkeypatch):
    from pairrank.cli import doctor
    from pairrank.encoders import catalogue

    def find(names):
        if names == ["minilm"]:
            return catalogue.Encoder("minilm", Path("somewhere"), "0123456789abcdef0123")
        raise UserError(f"no requested encoder is available:\n  - {names[0]}: the hub is asleep\nAny local folder")

    monkeypatch.setattr(doctor, "find_encoder", find)
    ended = call("doctor", "--data", "data")
    assert ended.code == 0
    for word in (
        "python",
        "torch",
        "CPU",
        "0123456789abcdef…",
        "the hub is asleep",
        "train: 40 battles",
        "6 battles",
    ):
        assert word in ended.out
    Path("data/train.csv").write_text("id\n1\n")
    ended = call("doctor", "--data", "data")
    assert ended.code == 0
    assert "missing column 'prompt'" in ended.out


# Mistakes, terminals, interruption


def test_debug_shows_the_traceback_at_any_place_in_the_command(call):
    for arguments in (["--debug", "run", "x", "--data", "data"], ["run", "x", "--data", "data", "--debug"]):
        ended = call(*arguments)
        assert ended.code == 2
        assert "Traceback" in ended.err
        assert "no experiment is called 'x'" in ended.err
    assert refused(call("run", "x", "--data", "data"))


def test_a_bug_is_not_reported_as_a_users_mistake(here, monkeypatch, capsys):
    monkeypatch.setattr(listing, "show_list", lambda *_: int("x"))
    monkeypatch.setattr(
        sys, "argv", ["pairrank", "list", "--runs", "postgresql://me:SECRET@host/db?password=SECRET"]
    )
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 1
    message = capsys.readouterr().err
    assert "this is a bug in pairrank (ValueError: invalid literal" in message
    assert "Traceback" not in message
    log = Path(message.partition("with the file ")[2].partition(", which")[0])
    assert "Traceback" in log.read_text()
    assert "postgresql://me:***@host/db?password=***" in log.read_text()
    assert "SECRET" not in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    log.unlink()


def test_the_name_of_an_experiment_without_a_run_says_how_to_train_it(call):
    for name in ("structure", "strcture"):
        assert refused(call("submit", name, "--data", "data"), f"no run is called '{name}'", "run structure")


def test_wrong_options_are_refused_in_one_message(call):
    for arguments in (
        ["run"],
        ["fly"],
        ["run", "prior", "--fold", "x"],
        ["run", "prior", "--seed", "-1"],
        ["submit"],
    ):
        ended = call(*arguments)
        assert ended.code == 2
        assert "Error" in ended.err
        assert "Traceback" not in ended.err


def test_wrong_paths_are_refused_in_one_message(call, trained, here):
    (here / "file").write_text("x")
    assert refused(call("run", "prior", "--data", "file"), "file: ", "missing column 'id'")
    assert refused(call("predict", "prior", "data", "--out", "o.csv", "--data", "data"), "data")
    assert refused(call("predict", "prior", "none.csv", "--out", "o.csv", "--data", "data"), "no such file")
    assert refused(
        call("predict", "prior", "file", "--out", "o.csv", "--data", "data"), "file: ", "missing column 'prompt'"
    )
    assert refused(call("submit", "prior", "--data", "data", "--out", "data"), "--out data: this is a folder")
    assert refused(call("predict", "prior", "data/test.csv", "--out", "data", "--data", "data"), "is a folder")
    assert refused(call("submit", "prior", "--data", "data", "--out", "file/s.csv"), "file")
    assert refused(call("run", "prior", "--data", "data", "--runs", "file"), "file")
    assert refused(call("simulate", "file"), "file")
    assert refused(call("run", "data/train.csv.toml", "--data", "data"), "no such experiment file")


def test_an_unreadable_file_is_one_message(call, monkeypatch):
    def denied(*_):
        raise PermissionError(13, "Permission denied", "data/train\x1b.csv")

    monkeypatch.setattr(sources, "find_data", denied)
    ended = call("list")
    assert refused(ended, "data/train\\x1b.csv: Permission denied.")
    assert ended.err.count("\n") == 1


def test_text_of_battles_cannot_act_on_the_terminal(call, here):
    (here / "bad").mkdir()
    (here / "bad" / "train.csv").write_text(
        "id,model_a,model_b,prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie\n"
        '"\x1b]0;owned\x07[red]x[/nothing]\u202e","m","k","no list [/]\x1b[31m","[]","[]",1,0,0\n'
    )
    ended = call("run", "prior", "--data", "bad")
    assert refused(ended, "[red]x[/nothing]", "\\x1b]0;owned\\x07", "\\u202e")
    assert not CONTROL.search(ended.err)


@pytest.mark.parametrize("columns", [1, 20, 30, 40, 80, 300])
def test_a_narrow_terminal_keeps_the_log_loss(call, run_once, monkeypatch, columns):
    run_once("prior", "--set", "smoothing=12345")
    monkeypatch.setenv("COLUMNS", str(columns))
    ended = call("compare", "--data", "data")
    assert ended.code == 0
    shown = f"{json.loads(Path('runs/data/prior/metrics.json').read_text())['log_loss']:.4f}"
    if columns >= 30:
        assert f"{shown} ± 0." in ended.out
        assert re.search(r"log loss +[│┃|]", ended.out)
        table = [line for line in ended.out.splitlines() if line.startswith(("│", "┃", "┏", "└"))]
        assert all(len(line) <= columns for line in table)
    header = "".join(line for line in ended.out.splitlines() if line.startswith("┃"))
    assert ("accuracy" in header) == (columns > 80)
    assert call("list", "--data", "data").code == 0


def test_a_long_label_is_wrapped_before_the_difference_is_left_out(call, run_once, monkeypatch):
    run_once("prior")
    monkeypatch.setenv("COLUMNS", "80")
    call("run", "prior", "--data", "data", "--set", "smoothing=12345", "--salt", "a-rather-long-one-" * 3)
    ended = call("compare", "--data", "data")
    assert "Δ prior [95 %]" in ended.out
    assert all(len(line) <= 80 for line in ended.out.splitlines() if line.startswith(("│", "┃", "┏", "└")))


def test_output_to_a_file_has_no_control_characters(call):
    for arguments in (["run", "prior"], ["list"], ["compare"], ["submit", "prior"]):
        ended = call(*arguments, "--data", "data")
        assert not CONTROL.search(ended.out + ended.err), arguments
    assert "Δ prior [95 %]" in call("compare", "--data", "data").out


def test_a_log_file_gets_every_column_in_one_line_per_row(call):
    label = "prior+smoothing=12345+salt=a-rather-long-one-that-fills-the-line"
    arguments = ["--set", "smoothing=12345", "--salt", "a-rather-long-one-that-fills-the-line"]
    ended = call("run", "prior", "--data", "data", *arguments)
    row = next(line for line in ended.out.splitlines() if line.startswith(f"│ {label}"))
    assert row.count("│") == 23


@pytest.mark.slow
def test_a_console_without_unicode_does_not_end_the_run(here):
    environment = {"PYTHONIOENCODING": "ascii"}
    ended = run_python("-m", "pairrank.experiments", "run", "prior", "--data", "data", cwd=here, env=environment)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "\\u0394 prior" in ended.stdout


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["2>&-", "1>&-", "0<&- 1>&- 2>&-"])
def test_closed_standard_streams_do_not_end_a_command(here, closed):
    """Nor does the output of a library end up in a file that took the number of a closed stream."""
    command = f"{sys.executable} -m pairrank.experiments"
    predict = "predict prior data/test.csv --data data --out o.csv"
    script = f"{command} run prior --data data {closed} && {command} {predict} {closed}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(["bash", "-c", script], cwd=here, env=environment, check=True, timeout=60)
    test = read_battles(here / "data" / "test.csv", "repair")
    assert read_predictions(here / "o.csv").id.tolist() == test.id.tolist()


@pytest.mark.parametrize("number", ["0", " 0", "00", "²", "-3", "wide"])
def test_a_terminal_of_no_columns_counts_as_unknown(call, trained, monkeypatch, number):
    monkeypatch.setenv("COLUMNS", number)
    assert "prior" in call("compare", "--data", "data").out
    assert "COLUMNS" not in os.environ


def test_arguments_that_no_message_can_repeat_are_refused(call):
    assert refused(call("run", "prior", "--salt", "\udcff"), "'\\udcff' contains bytes that are not UTF-8")
    ended = call("run", "x" * 1_000_000)
    assert refused(ended, "1,000,000 characters")
    assert len(ended.err) < 500


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_ctrl_c_says_how_to_resume(here):
    code = (
        "import signal, sys, time; sys.argv = ['pairrank', 'run', 'prior']\n"
        # Under a shell's background job, Ctrl-C would be ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pairrank.cli import app, run\n"
        "run.run = lambda *_: (print('ready', flush=True), time.sleep(60))\n"
        "app.main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "resumes from the finished folds and epochs" in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_closed_pipe_is_no_error(here):
    script = f"{sys.executable} -m pairrank.experiments list | head -n 1"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        ["bash", "-c", script], cwd=here, env=environment, capture_output=True, text=True, timeout=60
    )
    assert "Traceback" not in ended.stderr
