"""`explore` and `report` as their user calls them."""

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from pairrank.api import pages
from pairrank.data.writing import write_battles
from pairrank.encoders.side_windows import side_texts
from pairrank.encoders.windows import template_rows
from pairrank.evaluation.run_record import EncoderRecord, read_run_record
from pairrank.evaluation.scoring import accuracy, log_loss
from pairrank.report.model_card import model_card, plain
from pairrank.report.scored_runs import ScoredRun
from tests.support.battles import write_folder
from tests.support.command_line import refused, run_python
from tests.support.pages import hostile_battles, made_up_results, publish_made_up
from tests.support.strategies import training_rows, write_rows

pytestmark = pytest.mark.slow


def test_explore_writes_one_page(call, tiny_bert):
    ended = call("explore", "--data", "data", "--encoder", tiny_bert)
    assert (ended.code, ended.err) == (0, "")
    assert "Written: data.html" in ended.out
    html = Path("data.html").read_text(encoding="utf-8")
    assert "The data: data" in html
    assert "40 battles of train.csv" in html
    assert "Length in tokens" in html


def test_explore_counts_all_tokens_without_special_ones(tiny_bert, battles):
    name, counts = pages._counted(battles, [str(tiny_bert)])
    assert name == str(tiny_bert)
    # What the tiny tokenizer makes of a text: "Hi" is no word of it, so two letters; "What is 2+2?" six tokens.
    assert counts.shape == (5, 3)
    assert counts[0, 0] == 2
    assert counts[1, 0] > counts[0, 0]
    assert counts[2, 1] == 0


def test_explore_shows_a_damaged_file(call):
    rows = training_rows(4)
    rows[2][-3:] = ["1", "1", "1"]
    Path("broken").mkdir()
    write_rows(Path("broken/train.csv"), rows)
    ended = call("explore", "--data", "broken", "--out", "broken.html")
    assert ended.code == 0
    assert "broken/train.csv: 1 complaints, listed in the page." in ended.out.replace("\\", "/")
    assert "id 2: winner columns are 1, 1, 1" in Path("broken.html").read_text(encoding="utf-8")


def test_explore_without_an_encoder_shows_lengths_in_characters(call, monkeypatch):
    monkeypatch.setattr(pages, "DEFAULT_ENCODER", "no-such-encoder")
    ended = call("explore", "--data", "data")
    assert ended.code == 0
    assert "The page has no lengths in tokens" in ended.out
    assert "Lengths in tokens need an encoder" in Path("data.html").read_text(encoding="utf-8")


def test_explore_refuses_what_it_cannot_show(call):
    Path("empty").mkdir()
    assert refused(call("explore", "--data", "empty"), "expected train.csv or test.csv")
    assert refused(call("explore", "--data", "gone"), "no such folder")
    assert refused(
        call("explore", "--data", "data", "--encoder", "nowhere"), "no requested encoder is available", "nowhere"
    )
    assert refused(call("explore", "--data", "data", "--out", "data/train.csv"), "read from this file")
    write_rows(Path("empty/train.csv"), training_rows(0))
    assert refused(call("explore", "--data", "empty"), "found none that could be shown")
    Path("cut").mkdir()
    Path("cut/train.csv").write_text('id,prompt,response_a,response_b\n1,"[""p', encoding="utf-8")
    assert refused(call("explore", "--data", "cut"), "damaged file")
    assert not Path("data.html").exists()


def test_report_writes_one_page_of_all_runs(call):
    assert call("run", "prior", "lengths", "--data", "data").code == 0
    ended = call("report", "--data", "data", "--out", "deep/er/report.html")
    assert (ended.code, ended.err) == (0, "")
    html = Path("deep/er/report.html").read_text(encoding="utf-8")
    assert "2 experiments on 40 battles" in html
    assert "Shown in detail: lengths." in html
    ended = call("report", "prior", "--data", "data", "--reference", "lengths")
    assert ended.code == 0
    html = Path("report.html").read_text(encoding="utf-8")
    assert "Shown in detail: prior." in html
    assert "Δ lengths" in html


@pytest.mark.slow
def test_report_includes_published_results_and_added_files(call):
    hostile = hostile_battles()
    Path("hostile").mkdir()
    write_battles(hostile, Path("hostile/train.csv"))
    publish_made_up(Path("published"), hostile)
    ended = call(
        "report",
        "--data",
        "hostile",
        "--published",
        "published",
        "--add",
        "mine=published/predictions/hostile/one.csv",
    )
    assert ended.code == 0, ended.err
    html = Path("report.html").read_text(encoding="utf-8")
    assert "5 experiments on 240 battles" in html
    assert "training0-curves" in html  # the published history is drawn


def test_report_refuses_wrong_names_and_files(call):
    assert refused(call("report", "--data", "data"), "nothing to compare", "Start with: run baseline")
    assert call("run", "prior", "--data", "data").code == 0
    assert refused(call("report", "prio", "--data", "data"), "prior", "finished runs")
    assert refused(call("report", "lengths", "--data", "data"), "To train it: pairrank run lengths")
    assert refused(call("report", "--data", "data", "--out", "data/train.csv"), "read from this file")
    assert refused(call("report", "--data", "data", "--reference", "x"), "--reference")
    assert refused(call("report", "--data", "data", "--published", "none", "--add", "x"), "--add x")


@pytest.mark.parametrize(
    "model",
    [
        {"name": "baseline", "budget": "fair", "cells": "turns"},
        {"name": "baseline", "budget": "right", "cells": "json"},
        {"name": "siamese", "budget": "latest", "layout": "pair", "share": "side"},
        {"name": "siamese", "budget": "fair", "layout": "apart", "share": "battle"},
        {"name": "frozen", "budget": "fair"},
    ],
)
def test_a_battle_is_marked_as_cut_only_if_its_model_drops_tokens(tiny_bert, model):
    """The oracle: a window that nothing fills keeps every token, so a battle is cut if alone it keeps fewer."""
    battles = hostile_battles(40)
    one = next(run for run in made_up_results(battles).runs if run.label == "one")
    _, counts = pages._counted(battles, [str(tiny_bert)])
    # About the middle one fits: of a battle in one text, or of an answer behind its prompt.
    parts = (
        counts
        if model["name"] == "baseline"
        else counts[:, 1:] / 2
        if model.get("layout") == "apart"
        else counts[:, :2]
    )
    model = model | {"max_tokens": int(np.median(parts.sum(axis=1)))}
    record = replace(one.record, experiment={"model": model}, encoder=EncoderRecord(str(tiny_bert), "0"))
    [(name, cut)] = pages._windows([replace(one, record=record)], battles).values()
    assert name == f"{model['max_tokens']} tokens"
    assert 0 < cut.sum() < 40
    _, tokenizer = pages._tokenizer([str(tiny_bert)])
    options = {key: value for key, value in model.items() if key not in ("name", "max_tokens")}
    read = template_rows if model["name"] == "baseline" else side_texts
    for i in range(40):
        _, coverage = read(battles.take(slice(i, i + 1)), tokenizer, model["max_tokens"], **options)
        assert cut[i] == (sum(coverage.kept.values()) < sum(coverage.total.values())), i


@pytest.mark.parametrize(
    "model",
    [
        {"name": "judge"},
        {"name": "likelihood"},
        {"name": "frozen", "template": "chat"},
        {"name": "siamese", "head": "pretrained"},
    ],
)
def test_a_model_with_a_layout_of_its_own_has_no_window(tiny_bert, model):
    battles = hostile_battles(30)
    one = next(run for run in made_up_results(battles).runs if run.label == "one")
    record = replace(
        one.record, experiment={"model": model | {"max_tokens": 60}}, encoder=EncoderRecord(str(tiny_bert), "0")
    )
    assert pages._windows([replace(one, record=record)], battles) == {}


def test_a_run_without_an_available_encoder_has_no_window(tiny_bert, monkeypatch):
    battles = hostile_battles(30)
    one = next(run for run in made_up_results(battles).runs if run.label == "one")
    assert pages._windows([one], battles) == {}
    model = {"name": "baseline", "max_tokens": 60}
    for encoder, most in (("gone", 100), (str(tiny_bert), 10)):
        monkeypatch.setattr(pages, "MOST_COUNTED", most)
        record = replace(one.record, experiment={"model": model}, encoder=EncoderRecord(encoder, "0"))
        assert pages._windows([replace(one, record=record)], battles) == {}


# The model card


def test_a_run_writes_a_model_card_with_valid_metadata(call):
    assert call("run", "prior", "lengths", "--data", "data").code == 0
    for name in ("prior", "lengths"):
        folder = Path("runs/data") / name
        card, metrics = ModelCard.load(folder / "model-card.md"), read_run_record(folder)
        [result] = [r for r in card.data.eval_results if r.metric_type == "log_loss"]
        assert result.metric_value == pytest.approx(metrics.log_loss, abs=1e-6)
        text = card.text
        for part in ("Intended use", "Metrics", "Biases", "Provenance", metrics.data.hash, metrics.commit):
            assert part in text
    assert "log loss minus that of prior, same battles" in text


def test_the_figures_of_a_card_are_those_of_the_predictions():
    results = made_up_results()
    one = next(run for run in results.runs if run.label == "one")
    text = model_card(results, one)
    assert f"| log loss (nats) | {log_loss(one.proba, one.winner):.4f} | [" in text
    assert f"| accuracy | {accuracy(one.proba, one.winner):.3f} | [" in text
    first = next(bias for bias in results.biases(one) if bias.name.startswith("first"))
    assert f"| favours the first answer (A) | {first.observed:+.3f} | {first.predicted:+.3f} |" in text


EVIL = (
    "![p](http://t.example/p.png) [free](https://e.example) <b>x</b> `c` www.e.example a@e.example | # *y* \u202e"
)


def test_no_name_becomes_markup_in_a_card():
    battles = hostile_battles()
    battles.model_a[:] = EVIL
    results = made_up_results(battles)
    one = next(run for run in results.runs if run.label == "one")
    data = replace(one.record.data, name=EVIL)
    one = replace(one, record=replace(one.record, experiment=one.record.experiment | {"about": EVIL}, data=data))
    body = model_card(results, one).split("---\n", 2)[2].split("```toml")[0]
    assert body.count(plain(EVIL)) >= 3
    tokens = MarkdownIt("commonmark").enable("table").parse(body)
    kinds = Counter(inner.type for token in tokens for inner in [token, *(token.children or [])])
    assert not set(kinds) & {"image", "link_open", "html_inline", "html_block", "code_inline"}
    assert kinds["em_open"] == 1  # the competition's name, which is ours
    assert kinds["table_open"] == 4
    # What a hub would make a link of by itself, too.
    assert not re.search("https?://", body)
    assert "www.e" not in body
    assert "a@e" not in body
    # It reads as what it is: the same text, less what is not printable.
    inline = [token for token in tokens if token.type == "inline"]
    texts = ["".join(child.content for child in token.children or []) for token in inline]
    assert any(EVIL.replace("\u202e", "�") in text for text in texts)


def test_a_card_without_a_second_prompt_claims_no_interval():
    results = made_up_results()
    one = next(run for run in results.runs if run.label == "one")
    lone = ScoredRun(one.label, one.record, one.rows[:1], one.proba[:1], one.winner[:1])
    text = model_card(results, lone)
    assert "[one prompt]" in text
    assert "inf" not in text.split("```toml")[0].replace("information", "")


def test_a_card_marks_diagnostics_and_simulated_battles(call):
    assert call("simulate", "arena", "--train", "60", "--test", "5").code == 0
    assert call("run", "identity", "--data", "arena").code == 0
    text = Path("runs/arena/identity/model-card.md").read_text(encoding="utf-8")
    assert "**This is a diagnostic.**" in text
    assert "**simulated**" in text
    assert json.loads(Path("runs/arena/identity/metrics.json").read_text(encoding="utf-8"))["label"] == "identity"


@pytest.mark.slow
def test_pages_load_torch_only_for_a_tokenizer(here):
    code = (
        "import sys; sys.argv = ['x', 'report', '--data', 'data', '--add', 'mine=oof.csv']\n"
        "from pairrank.cli.app import main\n"
        "try: main()\nexcept SystemExit as end: assert not end.code, end.code\n"
        "print('LOADED', 'torch' in sys.modules)"
    )
    from pairrank.data.folder import DataFolder
    from pairrank.data.predictions import Predictions

    train = DataFolder(write_folder(here / "data")).train
    Predictions(train.id, np.full((len(train), 3), 1 / 3)).write(here / "oof.csv")
    done = run_python("-c", code, cwd=here)
    assert "LOADED False" in done.stdout, done.stdout + done.stderr
