"""The table says what plain numpy, pandas and scikit-learn say, and lends no number to another's predictions."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score
from sklearn.metrics import log_loss as sklearn_log_loss

from pairrank.data.folder import DataFolder
from pairrank.data.folds import fold_of, prompt_key
from pairrank.data.predictions import Predictions, predictions_hash, read_predictions
from pairrank.errors import UserError
from pairrank.evaluation.entries import Entry, entries_in, publish, published_entries
from pairrank.evaluation.leaderboard import build_leaderboard
from pairrank.evaluation.leaderboard_table import markdown, notes, to_json, to_markdown
from pairrank.evaluation.run_record import record_from_json
from pairrank.runs.cross_validation import cross_validate
from pairrank.runs.experiment_files import load_experiment
from pairrank.runs.run import resolve_run
from tests.support.battles import tiny_battles, write_folder

ROOT = Path(__file__).parents[2]
BATTLES = tiny_battles(60)
PROMPTS = [prompt[0] for prompt in BATTLES.prompt]


def some_predictions(seed, rows=slice(None)):
    rng = np.random.default_rng(seed)
    return Predictions(BATTLES.id[rows], rng.dirichlet([4, 3, 2], 60)[rows])


def some_record(label, predictions, **more):
    values = {
        "label": label,
        "identity": "i",
        "predictions": predictions_hash(predictions),
        "experiment": {"submittable": True, "model": {"name": "m", "seed": 3}, "split": {"folds": 5}},
        "data": {"name": "d", "hash": BATTLES.content_hash(), "battles": len(BATTLES)},
        "folds": [0, 1, 2, 3, 4],
        "log_loss": 9.0,
        "encoder": {"name": "enc", "sha256": "0123456789abcdef"},
        "swap_gap": 0.01234,
        "flip_rate": 0.0625,
        "kept": {"prompt": 1.0, "response_a": 0.5, "response_b": 0.25},
        "lost_a_side": 2,
        "parameters": 1_234_567,
        "training_seconds": 61.2,
        "battles_per_second": 12.345,
        "peak_memory_mb": 1000.4,
        "warnings": [],
    }
    return record_from_json(values | more)


def entry(label, seed=0, rows=slice(None), **more):
    predictions = some_predictions(seed, rows)
    return Entry(label, predictions, some_record(label, predictions, **more))


def plain_losses(predictions):
    """Losses by id, by pandas alone."""
    winner = pd.Series(BATTLES.labels, index=BATTLES.id)[list(predictions.id)]
    table = pd.DataFrame(predictions.proba, index=predictions.id)
    return pd.Series(-np.log(table.to_numpy()[np.arange(len(table)), winner.to_numpy()]), index=predictions.id)


def plain_bootstrap(values, draws, seed=0):
    """Means when prompts are drawn: the very drawing of numpy, the sums by loops over a dictionary."""
    prompts = [PROMPTS[BATTLES.id.tolist().index(i)].casefold() for i in values.index]
    groups = {name: values.to_numpy()[[p == name for p in prompts]] for name in sorted(set(prompts))}
    names = list(groups)
    drawn = np.random.default_rng(seed).integers(0, len(names), (draws, len(names)))
    return np.array([np.concatenate([groups[names[i]] for i in row]).mean() for row in drawn])


def row_of(board, label):
    return next(row for row in board.rows if row.label == label)


def test_every_score_is_that_of_plain_libraries():
    entries = [entry("prior", 0), entry("other", 1), entry("third", 2)]
    board = build_leaderboard("d", BATTLES, entries, ["prior"])
    assert (board.battles, board.prompts, board.floor) == (60, 30, None)
    for e in entries:
        row = row_of(board, e.label)
        assert row.log_loss == pytest.approx(
            sklearn_log_loss(BATTLES.labels, e.predictions.proba, labels=[0, 1, 2])
        )
        assert row.accuracy == pytest.approx(accuracy_score(BATTLES.labels, e.predictions.proba.argmax(axis=1)))
        table = pd.DataFrame({"sure": e.predictions.proba.max(axis=1)})
        table["hit"] = e.predictions.proba.argmax(axis=1) == BATTLES.labels
        bins = table.sort_values("sure").reset_index(drop=True).groupby(lambda i: i * 15 // 60)
        ece = sum(abs(b["hit"].mean() - b["sure"].mean()) * len(b) for _, b in bins) / 60
        assert row.calibration_error == pytest.approx(ece)
        assert row.standard_error == pytest.approx(plain_bootstrap(plain_losses(e.predictions), 2_000).std(ddof=1))
    assert [row.log_loss for row in board.rows] == sorted(row.log_loss for row in board.rows)


def test_differences_are_paired_and_drawn_by_prompt():
    entries = [entry("prior", 0), entry("other", 1)]
    row = row_of(build_leaderboard("d", BATTLES, entries, ["prior"]), "other")
    gap = plain_losses(entries[1].predictions) - plain_losses(entries[0].predictions)
    low, high = np.quantile(plain_bootstrap(gap, 10_000), [0.025, 0.975])
    difference = row.differences["prior"]
    assert difference is not None
    assert (difference.mean, difference.low, difference.high) == pytest.approx((gap.mean(), low, high))


def test_partial_coverage_is_scored_and_paired_on_its_own_rows():
    rows = np.array([50, 3, 4, 17, 30, 31, 8])
    whole, part, other = entry("prior", 0), entry("part", 1, rows), entry("other", 2, np.arange(6))
    board = build_leaderboard("d", BATTLES, [whole, part, other], ["prior", "part"])
    row = row_of(board, "part")
    ours, reference = plain_losses(part.predictions), plain_losses(whole.predictions)
    assert row.battles == 7
    assert row.log_loss == pytest.approx(ours.mean())
    assert row.differences["prior"].mean == pytest.approx((ours - reference[ours.index]).mean())
    assert row.differences["part"] is None
    assert row_of(board, "prior").differences["part"].mean == pytest.approx((reference[ours.index] - ours).mean())
    shared = [BATTLES.id[3], BATTLES.id[4]]
    both = plain_losses(other.predictions)[shared] - ours[shared]
    assert row_of(board, "other").differences["part"].mean == pytest.approx(both.mean())


def test_entries_that_share_no_battle_have_no_difference():
    board = build_leaderboard("d", BATTLES, [entry("a", 0, slice(10)), entry("b", 1, slice(10, 20))], ["a"])
    assert row_of(board, "b").differences == {"a": None}


def test_the_order_of_a_prediction_file_does_not_matter():
    shuffled = entry("x", 1, np.random.default_rng(3).permutation(60))
    one, two = (build_leaderboard("d", BATTLES, [entry("prior", 0), e]) for e in (entry("x", 1), shuffled))
    a, b = asdict(row_of(one, "x")), asdict(row_of(two, "x"))
    assert a["log_loss"] == pytest.approx(b.pop("log_loss"))
    assert a["accuracy"] == b["accuracy"]
    assert a["differences"]["prior"] == pytest.approx(b["differences"]["prior"])


def test_the_floor_is_the_score_of_the_true_probabilities():
    truth = some_predictions(9)
    part = entry("part", 1, slice(20))
    shuffled = Predictions(truth.id[::-1], truth.proba[::-1])
    board = build_leaderboard("d", BATTLES, [entry("prior", 0), part], truth=shuffled)
    floor = plain_losses(truth)
    assert board.floor == pytest.approx(floor.mean())
    expected = (plain_losses(part.predictions) - floor[part.predictions.id]).mean()
    assert row_of(board, "part").above_floor == pytest.approx(expected)
    assert f"log loss of their true probabilities is {floor.mean():.4f}" in markdown(board)


def test_foreign_empty_unknown_and_doubled_entries_are_errors():
    foreign = Predictions(np.array(["1000", "x", "y"], dtype=object), np.full((3, 3), 1 / 3))
    with pytest.raises(UserError, match=r"alien: 2 of its 3 ids are not among these battles \(the first: x\)"):
        build_leaderboard("d", BATTLES, [Entry("alien", foreign, {})], [])
    with pytest.raises(UserError, match="no rows"):
        build_leaderboard("d", BATTLES, [entry("none", 0, slice(0))], [])
    with pytest.raises(UserError, match=r"--reference no entry is called 'pior'. Did you mean 'prior'\?"):
        build_leaderboard("d", BATTLES, [entry("prior")], ["pior"])
    with pytest.raises(UserError, match="prior: 2 entries have this name"):
        build_leaderboard("d", BATTLES, [entry("prior"), entry("prior", 1)], ["prior"])


def table_of(text):
    """The cells of a Markdown table, by row label."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    split = [[c.strip().replace("\\|", "|") for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert len({len(cells) for cells in split}) == 1
    return {cells[0]: dict(zip(split[0], cells, strict=True)) for cells in split[2:]}


def test_json_and_markdown_say_the_same(tmp_path):
    entries = [
        entry("prior", 0),
        entry("other", 1, slice(30), folds=[1, 3]),
        Entry("notebook", some_predictions(2), {}),
    ]
    board = build_leaderboard("arena", BATTLES, entries, ["prior", "other"], some_predictions(9))
    to_json(board, tmp_path / "b.json")
    to_markdown(board, tmp_path / "b.md")
    rows = json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))["rows"]
    table = table_of((tmp_path / "b.md").read_text(encoding="utf-8"))
    assert list(table) == [row["label"] for row in rows]
    for row in rows:
        cells = table[row["label"]]
        assert cells["log loss ± s.e."] == f"{row['log_loss']:.4f} ± {row['standard_error']:.4f}"
        for name in ("prior", "other"):
            d = row["differences"][name]
            expected = "–" if d is None else f"{d['mean']:+.4f} [{d['low']:+.4f}, {d['high']:+.4f}]"
            assert cells[f"Δ {name} [95 %]"] == expected
        assert cells["accuracy"] == f"{100 * row['accuracy']:.1f} %"
        assert cells["ECE"] == f"{row['calibration_error']:.3f}"
        assert cells["above floor"] == f"{row['above_floor']:+.4f}"
    assert table["other"]["folds"] == "2 of 5 (number 1, 3)"
    told = {
        "encoder": "enc (01234567)",
        "folds": "all 5",
        "swap gap": "0.0123",
        "flip rate": "6.2 %",
        "tokens kept P / A / B": "100 % / 50 % / 25 %",
        "battles without a side": "2",
        "parameters": "1,234,567",
        "training (s)": "61",
        "prediction (battles/s)": "12.3",
        "peak memory (MB)": "1,000",
        "seed": "3",
        "submittable": "yes",
    }
    assert {key: table["prior"][key] for key in told} == told
    # What somebody else's file cannot tell.
    assert {table["notebook"][key] for key in told} == {"–"}
    assert all(line in (tmp_path / "b.md").read_text(encoding="utf-8") for line in notes(board))


def test_notes_name_the_traps_and_the_warnings():
    board = build_leaderboard("d", BATTLES, [entry("prior", warnings=["stuck at\nthe prior"])])
    text = "\n".join(notes(board))
    assert "about one looks significant by chance" in text
    assert "not the random seed" in text
    assert "prior: stuck at the prior" in text


@pytest.mark.parametrize("label", ["a|b", "a\\|b", "[red]x[/]", "[x](y)", "`a`", "a\nb", "<b>"])
def test_an_odd_label_does_not_break_the_table(label):
    board = build_leaderboard("d|d", BATTLES, [entry("prior", 0), entry(label, 1)], ["prior", label])
    text = markdown(board)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert len({len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines}) == 1


def test_published_entries_make_the_same_table(tmp_path):
    entries = [
        entry("prior", 0),
        entry("part+seed=1", 1, slice(30), folds=[0]),
        Entry("book", some_predictions(2), {}),
    ]
    entries[0] = Entry("prior", entries[0].predictions, entries[0].record, some_predictions(5))
    entries[1] = Entry(entries[1].label, entries[1].predictions, entries[1].record, some_predictions(6))
    publish(tmp_path, "d", entries)
    again = published_entries(tmp_path, "d", BATTLES)
    first = markdown(build_leaderboard("d", BATTLES, published_entries(tmp_path, "d", BATTLES), ["prior"]))
    assert first == markdown(build_leaderboard("d", BATTLES, entries, ["prior"]))
    # Only a whole run makes a submission.
    assert [file.name for file in (tmp_path / "submissions" / "d").iterdir()] == ["prior.csv"]
    # Published once more, from the published files alone, nothing changes.
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    publish(tmp_path, "d", again)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
    (tmp_path / "predictions" / "d" / ".7.prior.csv").write_text("half-written")
    assert len(published_entries(tmp_path, "d", BATTLES)) == 3


def test_no_published_number_stays_with_anothers_predictions(tmp_path):
    publish(
        tmp_path,
        "d",
        [Entry("x", some_predictions(0), some_record("x", some_predictions(0)), some_predictions(5))],
    )
    publish(tmp_path, "d", [Entry("x", some_predictions(1))])
    (found,) = published_entries(tmp_path, "d", BATTLES)
    assert (found.record, found.test) == (None, None)
    publish(tmp_path, "d", [entry("x", 0)])
    some_predictions(1).write(tmp_path / "predictions" / "d" / "x.csv")
    with pytest.raises(UserError, match=r"x\.csv: the recorded results belong to other predictions"):
        published_entries(tmp_path, "d", BATTLES)


@pytest.fixture
def runs(tmp_path):
    """Two finished runs of the prior on a tiny folder."""
    data = DataFolder(write_folder(tmp_path / "data", n=60))
    for changes in ([], ["smoothing=50"]):
        cross_validate(resolve_run(load_experiment("prior", changes), data, tmp_path / "runs"))
    return tmp_path / "runs"


def test_runs_are_entered_with_their_numbers(runs):
    plain, smooth = entries_in(runs, BATTLES)
    assert (plain.label, smooth.label) == ("prior", "prior+smoothing=50")
    assert plain.record.log_loss == pytest.approx(plain_losses(plain.predictions).mean(), abs=1e-8)
    assert plain.test is not None
    assert entries_in(runs, tiny_battles(10)) == []


def test_no_run_lends_its_numbers_to_anothers_predictions(runs, caplog):
    """A table whose numbers come from another config's run."""
    metrics = runs / "prior+smoothing=50" / "metrics.json"
    sound = metrics.read_bytes()
    metrics.write_bytes((runs / "prior" / "metrics.json").read_bytes())
    assert [e.label for e in entries_in(runs, BATTLES)] == ["prior"]
    assert "belong to other predictions" in caplog.messages[0]
    metrics.write_bytes(sound)
    (runs / "prior" / "oof.csv").write_bytes((runs / "prior+smoothing=50" / "oof.csv").read_bytes())
    assert [e.label for e in entries_in(runs, BATTLES)] == ["prior+smoothing=50"]
    metrics.write_text("{")
    caplog.clear()
    assert entries_in(runs, BATTLES) == []
    assert len(caplog.messages) == 2


def test_a_run_on_other_battles_is_left_out_though_the_ids_are_the_same(runs, caplog):
    others = replace(BATTLES, winner=np.roll(BATTLES.labels, 1))
    assert entries_in(runs, others) == []
    assert all("other battles" in line for line in caplog.messages)
    assert len(caplog.messages) == 2


def test_what_was_published_for_other_battles_is_refused(tmp_path):
    publish(tmp_path, "d", [entry("prior")])
    with pytest.raises(UserError, match="other battles"):
        published_entries(tmp_path, "d", replace(BATTLES, winner=np.roll(BATTLES.labels, 1)))


def test_a_row_that_covers_fewer_battles_stands_below(tmp_path):
    """One battle predicted as it came scores 0, and says less than forty that score 1."""
    sure = Predictions(BATTLES.id[:1], np.eye(3)[BATTLES.labels[:1]])
    board = build_leaderboard("arena", BATTLES, [entry("prior"), Entry("sure", sure, {})])
    assert [row.label for row in board.rows] == ["prior", "sure"]
    assert "| sure | – | – | 1 |" in markdown(board)


def test_a_renamed_run_does_not_pass_for_the_plain_experiment(runs):
    (runs / "prior").rename(runs / "old")
    (runs / "prior+smoothing=50").rename(runs / "prior")
    assert {e.label for e in entries_in(runs, BATTLES)} == {"old (prior)", "prior (prior+smoothing=50)"}


@pytest.mark.slow
def test_the_committed_leaderboard_can_be_rebuilt(arena):
    committed = ROOT / "benchmarks" / "LEADERBOARD.md"
    if not committed.is_file():
        pytest.skip("benchmarks/LEADERBOARD.md has not been made yet")
    battles = DataFolder(arena).train
    entries = published_entries(ROOT / "benchmarks", "arena", battles)
    kept = json.loads((ROOT / "benchmarks" / "leaderboard.json").read_text(encoding="utf-8"))
    board = build_leaderboard("arena", battles, entries, kept["references"])
    assert markdown(board) == committed.read_text(encoding="utf-8")
    assert json.loads(json.dumps(asdict(board))) == kept


def test_predictions_of_a_notebook_are_read_as_they_are(tmp_path):
    book = some_predictions(4)
    text = "winner_tie,id,winner_model_b,winner_model_a,note\n" + "".join(
        f"{c},{i},{b},{a},x\n" for i, (a, b, c) in zip(book.id, book.proba.tolist(), strict=True)
    )
    (tmp_path / "book.csv").write_text(text)
    board = build_leaderboard("d", BATTLES, [Entry("book", read_predictions(tmp_path / "book.csv"), {})], [])
    assert board.rows[0].log_loss == pytest.approx(plain_losses(book).mean())


# --- Tuned settings


def test_a_tuned_row_is_of_the_battles_that_no_search_has_seen():
    whole, tuned = entry("whole", 1), entry("tuned", 2, tuned_on=[0, 2, 3])
    tuned.record.experiment["split"] = {"folds": 5, "salt": "s"}
    board = build_leaderboard("tiny", BATTLES, [whole, tuned], ["whole"])
    unseen = np.array([fold_of(prompt_key(prompt), 5, "s") in (1, 4) for prompt in BATTLES.prompt])
    assert 0 < unseen.sum() < 60
    row = board.rows[-1]
    proba, winner = tuned.predictions.proba[unseen], BATTLES.labels[unseen]
    assert row.label == "tuned"
    assert row.battles == unseen.sum()
    assert row.log_loss == pytest.approx(sklearn_log_loss(winner, proba, labels=[0, 1, 2]))
    assert row.accuracy == pytest.approx(accuracy_score(winner, proba.argmax(axis=1)))
    own = sklearn_log_loss(winner, whole.predictions.proba[unseen], labels=[0, 1, 2])
    assert row.differences["whole"].mean == pytest.approx(row.log_loss - own)
    assert row.folds == "2 of 5 (number 1, 4)"
    text = markdown(board)
    assert "2 of 5 (number 1, 4), tuned on the others" in text
    assert "tuned: its setting was tuned on folds 0, 2, 3; this row covers only the other battles." in text
    assert "whole: its setting" not in text


def test_a_tuned_entry_without_unseen_battles_has_no_row_and_is_told():
    tuned = entry("tuned", 2, tuned_on=[0, 2, 3, 4])
    tuned.record.experiment["split"] = {"folds": 5, "salt": ""}
    member = np.array([fold_of(prompt_key(prompt), 5, "") for prompt in BATTLES.prompt])
    partial = replace(tuned, predictions=some_predictions(2, np.flatnonzero(member == 0)))
    board = build_leaderboard("tiny", BATTLES, [entry("whole"), partial], ["whole"])
    assert [row.label for row in board.rows] == ["whole"]
    assert board.unscored == ("tuned",)
    assert "tuned: not in the table, because it has predicted only folds on which its setting" in markdown(board)


def test_a_foreign_id_of_a_tuned_entry_is_complained_of_as_ever():
    tuned = entry("tuned", 2, tuned_on=[0, 1, 2, 3])
    tuned.record.experiment["split"] = {"folds": 5, "salt": ""}
    foreign = Predictions(np.append(tuned.predictions.id[1:], ["nobody"]), tuned.predictions.proba)
    with pytest.raises(UserError, match="nobody"):
        build_leaderboard("tiny", BATTLES, [entry("whole"), replace(tuned, predictions=foreign)], ["whole"])


def test_the_row_of_a_nested_search_says_that_its_seconds_are_not_all():
    searched = entry("searched", 2, chosen={"0": {}})
    board = build_leaderboard("tiny", BATTLES, [entry("whole"), searched], ["whole"])
    text = markdown(board)
    assert "searched: the setting of each fold was chosen by a search within its training" in text
    assert "whole: the setting of each fold" not in text
