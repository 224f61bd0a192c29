"""`check` and `convert` say what files of battles contain and lose, and any battle file can be run on."""

import json
from pathlib import Path
from typing import Any

import pytest

from pairrank.data.reading import read_battles, schema_of
from pairrank.evaluation.run_record import read_run_record
from tests.support.battles import tiny_battles
from tests.support.command_line import refused
from tests.support.pages import PageParser
from tests.support.plain_texts import write_json_lines

WORDS = ("model_a", "model_b", "tie")


def annotated(*votes: int | None, name: int = 1, **cells: Any) -> dict[str, Any]:
    """A row of PandaLM with the votes of up to three annotators: 0 tie, 1 first, 2 second."""
    texts = {"instruction": f"Question {name}?", "response1": f"one {name}", "response2": f"two {name}"}
    judged = {f"annotator{i}": vote for i, vote in enumerate(votes, 1)}
    return {"idx": name, **texts, "cmp_key": "m1_m2", **judged, **cells}


def arena_rows(n: int = 40) -> list[dict[str, Any]]:
    """Votes of Chatbot Arena on the battles of `tiny_battles`, written here by hand."""
    battles = tiny_battles(n)
    return [
        {
            "question_id": battles.id[i],
            "model_a": battles.model_a[i],
            "model_b": battles.model_b[i],
            "winner": WORDS[battles.labels[i]],
            "judge": f"judge {i % 2}",
            "tstamp": 1.5,
            **{
                f"conversation_{side}": [
                    {"role": "user", "content": battles.prompt[i][0]},
                    {"role": "assistant", "content": getattr(battles, f"response_{side}")[i][0]},
                ]
                for side in "ab"
            },
        }
        for i in range(n)
    ]


@pytest.fixture
def annotations(here) -> Path:
    """Five votes on two pairs of answers, and two rows that hold no vote."""
    rows = [
        annotated(1, 1, 2, name=1),
        annotated(0, None, 2, name=2),
        annotated(1, 1, 1, name=3, response1=None),
        annotated(7, 1, 1, name=4),
    ]
    return write_json_lines(Path("votes.jsonl"), rows)


@pytest.fixture
def always_a(here) -> Path:
    """60 battles in which the first response always wins, as in files that put the chosen answer first."""
    rows = [{"prompt": f"q {i}", "response 1": f"yes {i}", "response 2": f"no {i}", "label": 0} for i in range(60)]
    return write_json_lines(Path("ordered.jsonl"), rows)


# check


def test_check_names_the_schema_and_the_dropped_rows_with_reasons(call, annotations, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    ended = call("check", annotations)
    assert ended.code == 0
    assert "schema pandalm" in ended.out
    assert "4 rows; dropped 2: " in ended.out
    assert "response1 is missing (1)" in ended.out
    assert "a vote is not 0, 1 or 2 (1)" in ended.out
    found = {
        cells[1].strip(): cells[2].strip() for line in ended.out.splitlines() if len(cells := line.split("│")) > 2
    }
    assert found["battles"] == "5"
    assert found["damaged rows"] == "0"
    assert found["winners"] == "A 40.0%, B 40.0%, tie 20.0%"
    assert found["distinct prompts"] == "2; 2 of them in several battles"
    assert found["repeated battles"] == "3"
    assert found["judges"] == "3: annotator1 (2), annotator3 (2), annotator2 (1)"


def test_check_of_a_folder_is_that_of_its_training_file_with_the_schema_of_data_toml(call):
    Path("mine").mkdir()
    row = {"prompt": "q", "response1": "one", "response2": "two", "annotator1": 1}
    row |= {"chosen": "one", "rejected": "two"}
    file = write_json_lines(Path("mine/train.jsonl"), [row])
    other = "trl_preference"
    assert schema_of(file).name != other
    Path("mine/data.toml").write_text(f'schema = "{other}"')
    for place in ("mine", file):
        assert f"schema {other} " in (ended := call("check", place)).out + ended.err
    assert refused(call("check", "runs-nowhere"), "runs-nowhere")
    Path("empty").mkdir()
    assert refused(call("check", "empty"), "empty", "train.csv")


def test_check_lists_damaged_rows_and_says_what_follows(call):
    write_json_lines(Path("damaged.jsonl"), [annotated(1, name=1), annotated(1, name=2, response2=3)])
    ended = call("check", "damaged.jsonl")
    assert ended.code == 0
    assert "Damaged: row 2: response2 is 3, expected text" in ended.out
    assert "`run` refuses" in ended.out


def test_the_table_of_check_fits_80_columns(call, annotations, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = call("check", annotations).out
    lines = [line for line in out.splitlines() if "; dropped " not in line]  # a message, which the terminal wraps
    assert len(lines) > 10
    assert max(map(len, lines)) <= 80


def test_text_of_a_file_cannot_act_on_the_terminal(call):
    row = annotated(1, name=1, motivation_app="\x1b]0;owned\x07[red]", response1="\x1b[31m")
    write_json_lines(Path("bad.jsonl"), [row, row | {"idx": 2, "response1": ["\x1b[31m"]}])
    ended = call("check", "bad.jsonl")
    assert ended.code == 0
    assert "\x1b" not in ended.out + ended.err
    assert "[red]" in ended.out


# One-sided files


def test_a_one_sided_file_is_loud_in_check_run_and_first_in_explores_page(call, always_a):
    warning = "ALL 60 BATTLES HAVE THE SAME WINNER, A"
    assert f"WARNING: {warning}" in call("check", always_a).out
    ran = call("run", "prior", "--data", always_a)
    assert ran.code == 0
    assert warning in ran.out + ran.err
    assert call("explore", "--data", always_a, "--out", "page.html").code == 0
    page = PageParser(Path("page.html").read_text(encoding="utf-8"))
    assert warning in page.text
    assert page.text.index(warning) < page.text.index("What the files contain")


def test_drawn_sides_are_not_one_sided(call):
    rows = [{"prompt": f"q {i}", "chosen": f"yes {i}", "rejected": f"no {i}"} for i in range(60)]
    write_json_lines(Path("pairs.jsonl"), rows)
    ended = call("check", "pairs.jsonl")
    assert ended.code == 0
    assert "schema trl_preference" in ended.out
    assert "WARNING" not in ended.out + ended.err
    assert "tie 0.0%" in ended.out


# Connected battles


@pytest.mark.parametrize(("share", "is_warned"), [(0.15, False), (0.5, True)])
def test_check_and_run_warn_that_one_fold_holds_too_many_connected_battles(call, share, is_warned):
    rows = [row | {"question_id": i, "turn": 1, "id": str(i)} for i, row in enumerate(arena_rows(60))]
    rows = [row | {"question_id": "all"} if i < share * 60 else row for i, row in enumerate(rows)]
    write_json_lines(Path("judged.jsonl"), [{k: v for k, v in row.items() if k != "tstamp"} for row in rows])
    warning = "30 of 60 battles (50%) are connected"
    assert (warning in " ".join(call("check", "judged.jsonl").out.split())) == is_warned
    ran = call("run", "prior", "--data", "judged.jsonl")
    assert ran.code == 0
    assert (ran.out + ran.err).count("connected by the same prompts") == is_warned


# convert


@pytest.mark.parametrize("schema", ["chatbot_arena", "arena_140k", "mt_bench", "comparia"])
@pytest.mark.parametrize("kind", [".csv", ".jsonl.gz", ".parquet"])
def test_convert_there_and_back_gives_the_same_bytes(call, schema, kind):
    there = call("convert", "data/train.csv", f"there{kind}", "--to", schema)
    assert there.code == 0
    assert f"Written: there{kind}, schema {schema}, 40 battles." in there.out
    assert "Lost" not in there.out
    assert call("convert", f"there{kind}", "back.csv").code == 0
    assert Path("back.csv").read_bytes() == Path("data/train.csv").read_bytes()


def test_convert_names_what_the_new_file_cannot_hold(call, annotations):
    ended = call("convert", annotations, "train.csv")
    assert ended.code == 0
    assert "5 battles." in ended.out
    (lost,) = [line for line in ended.out.splitlines() if line.startswith("Lost")]
    assert "judge" in lost
    assert "model" not in lost
    assert "winner" not in lost
    single = call("convert", annotations, "single.jsonl", "--to", "auto_j")
    (lost,) = [line for line in single.out.splitlines() if line.startswith("Lost")]
    assert all(name in lost for name in ("model_a", "model_b", "judge"))


def test_convert_with_majority_writes_one_battle_per_pair_of_answers(call, annotations):
    ended = call("convert", annotations, "train.csv", "--votes", "majority")
    assert ended.code == 0
    assert "2 battles of 5 votes" in ended.out
    found = read_battles("train.csv")
    assert [turns[0] for turns in found.response_a] == ["one 1", "one 2"]
    assert found.labels.tolist() == [0, 2]  # 2 of 3 votes for the first; one tie and one vote are no majority


@pytest.mark.parametrize(("both_bad", "count"), [("0", 3), ("1", 4)])
def test_convert_with_both_bad_0_leaves_out_votes_against_both(call, both_bad, count):
    rows = [row | {"winner": word} for row, word in zip(arena_rows(4), [*WORDS, "tie (bothbad)"], strict=True)]
    write_json_lines(Path("arena.jsonl"), rows)
    assert call("convert", "arena.jsonl", "train.csv", "--both-bad", both_bad).code == 0
    assert read_battles("train.csv").labels.tolist() == [0, 1, 2, 2][:count]


def test_convert_keeps_battles_to_predict_without_winners(call):
    assert call("convert", "data/test.csv", "test.parquet").code == 0
    found = read_battles("test.parquet")
    assert found.winner is None
    assert found.content_hash() == read_battles("data/test.csv").content_hash()
    ended = call("convert", "data/test.csv", "train.csv", "--votes", "majority")
    assert refused(ended, "data/test.csv", "no winners")


# Running on other files


def test_a_single_file_runs_as_the_same_battles_in_a_folder_do(call):
    write_json_lines(Path("votes.jsonl"), arena_rows())
    assert call("run", "prior", "--data", "votes.jsonl").code == 0
    assert call("run", "prior", "--data", "data").code == 0
    one, other = (read_run_record(Path("runs", name, "prior")) for name in ("votes", "data"))
    assert (one.data.battles, other.data.battles) == (40, 40)
    scores = [
        json.loads(Path("runs", name, "prior/metrics.json").read_text())["log_loss"] for name in ("votes", "data")
    ]
    assert scores[0] == scores[1]


@pytest.mark.parametrize(("settings", "battles"), [('votes = "majority"', 20), ('votes = "each"', 60), (None, 60)])
def test_data_toml_says_how_the_votes_of_a_folder_are_counted(call, settings, battles):
    Path("mine").mkdir()
    write_json_lines(Path("mine/train.jsonl"), [annotated(i % 3, i % 3, 1, name=i) for i in range(20)])
    if settings:
        Path("mine/data.toml").write_text(settings)
    ended = call("run", "prior", "--data", "mine")
    assert ended.code == 0
    found = read_run_record(Path("runs/mine/prior")).data
    assert found.battles == battles
    is_joined = battles == 20
    assert found.settings == ('votes = "majority"' if is_joined else "")
    shown = " ".join((ended.out + ended.err).split())
    assert ('votes = "majority" (60 votes, 20 battles)' in shown) == is_joined


def test_data_toml_names_a_schema_where_the_columns_fit_another(call):
    Path("mine").mkdir()
    rows = [
        {"prompt": f"q {i}", "response1": f"one {i}", "response2": f"two {i}", "annotator1": 1 + i % 2}
        | {"chosen": f"Human: q {i} Assistant: one", "rejected": f"Human: q {i} Assistant: two {i}"}
        for i in range(20)
    ]
    file = write_json_lines(Path("mine/train.jsonl"), rows)
    recognised = schema_of(file).name
    assert recognised != "trl_preference"
    for settings, schema in (("", recognised), ('schema = "trl_preference"', "trl_preference")):
        Path("mine/data.toml").write_text(settings)
        ended = call("run", "prior", "--data", "mine", "--runs", f"runs-{schema}")
        assert ended.code == 0
        assert f"schema {schema} " in ended.out + ended.err


@pytest.mark.parametrize("winners", [["", "", ""], ["model_a", "", "who?"]])
def test_predict_writes_a_row_for_every_battle_whatever_its_winner(call, winners):
    assert call("run", "prior", "--data", "data").code == 0
    texts = {"prompt": "How far?", "response_a": "Far.", "response_b": "Near."}
    rows = [{"id": f"w{i}", **texts, "winner": winner} for i, winner in enumerate(winners)]
    write_json_lines(Path("wsdm.jsonl"), rows)
    assert call("predict", "prior", "wsdm.jsonl", "--data", "data", "--out", "out.csv").code == 0
    assert [line.split(",")[0] for line in Path("out.csv").read_text().splitlines()] == ["id", "w0", "w1", "w2"]


# Mistakes


def test_an_unknown_schema_is_one_message_with_the_known_ones(call):
    for arguments in (
        ("check", "data/train.csv", "--schema", "kagle"),
        ("convert", "data/train.csv", "out.csv", "--schema", "kagle"),
        ("convert", "data/train.csv", "out.csv", "--to", "kagle"),
    ):
        assert refused(call(*arguments), "kagle", "kaggle")
    assert not Path("out.csv").exists()


def test_unknown_columns_are_one_message_with_the_nearest_schema(call):
    write_json_lines(Path("other.jsonl"), [{"question": "q", "answer_0": "a", "comment": 1}])
    for arguments in (("check", "other.jsonl"), ("convert", "other.jsonl", "out.csv"), ("run", "prior", "--data")):
        ended = call(*arguments, *(["other.jsonl"] if arguments[-1] == "--data" else []))
        assert refused(ended, "other.jsonl", "missing column 'answer_1'", "webgpt", "'comment'")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("votes = majority", ["data.toml"]),
        ('votes = "most"', ["most", "majority"]),
        ("both_bad = 3", ["both_bad", "from 0 to 1"]),
        ('both_bad = "none"', ["data.toml", "both_bad"]),
        ('vote = "each"', ["data.toml", "vote", "votes"]),
        ('schema = "kagle"', ["kagle", "kaggle"]),
    ],
)
def test_a_wrong_data_toml_is_one_message(call, text, words):
    Path("data/data.toml").write_text(text)
    for command in (("run", "prior"), ("ratings",)):
        assert refused(call(*command, "--data", "data"), *words)


def test_convert_refuses_to_overwrite_what_it_reads(call):
    before = Path("data/train.csv").read_bytes()
    for out in ("data/train.csv", "data/../data/train.csv", Path("data/train.csv").resolve()):
        assert refused(call("convert", "data/train.csv", out), "read from this file")
    assert refused(call("convert", "data/train.csv", "data"), "folder")
    assert Path("data/train.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["out.csv", "--to", "kagle"], ["--to kagle", "kaggle"]),
        (["out.csv", "--to", "helpsteer2"], ["helpsteer2", "not written"]),
        (["out.xlsx"], ["out.xlsx", "ending"]),
        (["data/test.csv"], ["OUT data/test.csv", "exists"]),
        (["data"], ["OUT data", "folder"]),
    ],
)
def test_convert_refuses_its_target_before_it_reads_the_input(call, arguments, words):
    Path("damaged.csv").write_bytes(b"\0")  # its own fault would be another message
    before = Path("data/test.csv").read_bytes()
    assert refused(call("convert", "damaged.csv", *arguments), *words)
    assert Path("data/test.csv").read_bytes() == before


def test_convert_says_that_folds_will_differ_without_groups(call):
    rows = [row | {"question_id": i, "turn": 1} for i, row in enumerate(arena_rows(4))]
    judged = [{name: cell for name, cell in row.items() if name != "tstamp"} for row in rows]
    write_json_lines(Path("judged.jsonl"), judged)
    for out, words in (("a.csv", True), ("b.jsonl", False)):
        ended = call("convert", "judged.jsonl", out, "--to", "kaggle" if words else "mt_bench")
        assert ended.code == 0
        assert ("folds will differ" in ended.out) == words


def test_convert_refuses_what_cannot_be_written_and_leaves_nothing(call, here):
    before = sorted(here.iterdir())
    assert refused(call("convert", "data/train.csv", "out.xlsx"), "out.xlsx", ".parquet")
    assert refused(call("convert", "data/train.csv", "out.jsonl", "--to", "trl_preference"), "ties")
    assert refused(call("convert", "data/train.csv", "out.csv", "--to", "helpsteer2"), "not written")
    assert refused(call("convert", "gone.csv", "out.csv"), "gone.csv", "no such file")
    assert call("convert", "data/train.csv", "out.csv", "--votes", "most").code == 2
    assert call("convert", "data/train.csv", "out.csv", "--both-bad", "2").code == 2
    assert sorted(here.iterdir()) == before


# Schemas of one's own

OWN = """
from pairrank.data.battles import Winner
from pairrank.data.formats.base import RowSchema, Vote, register


@register
class Arguments(RowSchema):
    about = "two arguments about a topic"
    required = ("topic", "one", "two", "convinced")

    def votes(self, row):
        winner = {"1": Winner.A, "2": Winner.B}.get(str(row["convinced"]), Winner.TIE)
        return [Vote((row["topic"],), (row["one"],), (row["two"],), winner)]
"""
ARGUED = [{"topic": f"t {i}", "one": f"yes {i}", "two": f"no {i}", "convinced": i % 3} for i in range(30)]


@pytest.fixture
def own_schema(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A schema in a file of its own, whose name no other test uses, and a file with its columns."""
    file = here / f"arguments_{here.name}.py"
    file.write_text(OWN, encoding="utf-8")
    write_json_lines(here / "debates.jsonl", ARGUED)
    monkeypatch.setenv("PAIRRANK_SCHEMAS", str(file))
    return file


def test_a_schema_of_ones_own_is_recognised_in_every_command(call, own_schema):
    ended = call("check", "debates.jsonl")
    assert ended.code == 0
    assert own_schema.stem in ended.out
    assert call("convert", "debates.jsonl", "kaggle.csv").code == 0
    found = read_battles("kaggle.csv")
    assert found.labels.tolist() == [2, 0, 1] * 10
    assert found.prompt[4] == ("t 4",)
    assert call("run", "prior", "--data", "debates.jsonl").code == 0
    assert call("predict", "prior", "debates.jsonl", "--data", "debates.jsonl", "--out", "p.csv").code == 0
    assert len(Path("p.csv").read_text().splitlines()) == 31


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("gone.py", None, ["gone.py", "no Python file"]),
        ("notes.txt", "x", ["notes.txt", "no Python file"]),
        ("kaggle.py", OWN, ["kaggle", "part of pairrank", "another name"]),
        ("broken.py", "1 / 0", ["broken.py", "fails", "ZeroDivisionError"]),
        ("idle.py", "x = 1", ["idle.py", "registers no schema"]),
        ("my.own.py", OWN, ["my.own.py", "another dot"]),
        ("leaves.py", "raise SystemExit(3)", ["leaves.py", "fails", "SystemExit: 3"]),
        ("function.py", OWN.split("class")[0] + "def f(): ...", ["function.py", "@register", "subclass"]),
        ("silent.py", OWN.replace("about =", "what ="), ["silent.py", "about is None"]),
        ("letters.py", OWN.replace('("topic", "one", "two", "convinced")', '"topic"'), ["required is 'topic'"]),
        ("empty.py", OWN.replace('("topic", "one", "two", "convinced")', "()"), ["empty.py", "required", "empty"]),
        ("abstract.py", OWN.replace("def votes", "def vote"), ["abstract.py", "votes is missing"]),
        ("carrier.py", OWN.replace("about =", 'carries = ("modell",)\n    about ='), ["carries", "modell"]),
    ],
)
def test_a_wrong_file_of_a_schema_is_one_message(call, here, monkeypatch, name, text, words):
    if text is not None:
        (here / name).write_text(text, encoding="utf-8")
    monkeypatch.setenv("PAIRRANK_SCHEMAS", str(here / name))
    assert refused(call("check", "data/train.csv"), *words)


def test_convert_refuses_a_schema_of_ones_own_that_is_only_read_before_it_reads(call, own_schema):
    Path("damaged.csv").write_bytes(b"\0")
    assert refused(call("convert", "damaged.csv", "out.csv", "--to", own_schema.stem), "not written")


def test_two_schema_files_of_one_name_are_one_message(call, here, own_schema, monkeypatch):
    (here / "more").mkdir()
    (here / "more" / own_schema.name).write_text(OWN, encoding="utf-8")
    monkeypatch.setenv("PAIRRANK_SCHEMAS", f"{own_schema}:more/{own_schema.name}")
    assert refused(call("check", "data/train.csv"), "the same name", f"more/{own_schema.name}")


def test_a_schema_file_may_have_dataclasses_and_annotations_of_the_future(call, own_schema, monkeypatch):
    text = "from __future__ import annotations\nfrom dataclasses import dataclass\n" + OWN
    other = own_schema.with_name(f"future_{own_schema.name}")
    other.write_text(text + "\n@dataclass\nclass Note:\n    text: str = ''\n", encoding="utf-8")
    monkeypatch.setenv("PAIRRANK_SCHEMAS", str(other))
    assert other.stem in call("check", "debates.jsonl").out


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("raise AttributeError('no topic')", ["fails (AttributeError: no topic)"]),
        ("raise SystemExit(2)", ["fails (SystemExit: 2)"]),
        ("float('')", ["fails (ValueError: "]),
        ("return [3]", ["gives 3, expected a list of votes"]),
        ("return [Vote('t', ('a',), ('b',), 0)]", ["prompt is 't'", "tuple of turns"]),
        ("return [Vote(('t',), (None,), ('b',), 0)]", ["response_a contains None"]),
        ("return [Vote(('t',), ('a', 'b'), ('b',), 0)]", ["unequal turns", "2 in response_a"]),
        ("return [Vote(('t',), ('a',), ('b',), 7)]", ["winner is 7"]),
        ("return [Vote(('t',), ('a',), ('b',), 0, soft=(5, -1, 0))]", ["soft is (5, -1, 0)"]),
        ("return [Vote(('t',), ('a',), ('b',), 0, strength=2)]", ["strength is 2"]),
        ("return [Vote(('t',), ('a',), ('b',), 0, weight=0)]", ["weight is 0"]),
        ("return [Vote(('t',), ('a',), ('b',), 0, both_bad=True)]", ["both_bad", "tie"]),
        ("return [Vote(('t',), ('a',), ('b',), 0, judge=['x'])]", ["judge is ['x']"]),
    ],
)
def test_what_a_schema_of_ones_own_does_wrong_is_a_complaint_about_the_row(call, own_schema, given, words):
    own_schema.write_text(OWN.replace("        winner =", f"        {given}\n        winner ="), encoding="utf-8")
    ended = call("run", "prior", "--data", "debates.jsonl")
    assert refused(ended, "debates.jsonl: 30 complaints", "row 1: ", own_schema.name, *words)
    assert call("check", "debates.jsonl").code == 0


def test_the_example_of_the_documentation_reads_ordinary_rows(tmp_path, monkeypatch):
    text = (Path(__file__).parents[2] / "Dataset" / "README.md").read_text(encoding="utf-8")
    file = tmp_path / f"arguments_{tmp_path.name}.py"
    file.write_text("#" + text.split("```python\n# arguments.py")[1].split("```")[0], encoding="utf-8")
    monkeypatch.setenv("PAIRRANK_SCHEMAS", str(file))
    row = {"topic": "t", "argument_1": "a", "argument_2": "b", "convinced_1": 3, "convinced_2": "2"}
    rows = [row, row | {"convinced_1": ""}, row | {"convinced_2": None}, row | {"argument_1": None}]
    path = write_json_lines(tmp_path / "debates.jsonl", rows)
    assert read_battles(path).labels.tolist() == [0]
    assert len(read_battles(path, damage="repair")) == 4
    bare = [{name: cell for name, cell in row.items() if "convinced" not in name} for row in rows]
    test = read_battles(write_json_lines(path, bare), damage="repair")
    assert (len(test), test.winner, len(test.repairs)) == (4, None, 1)


def test_submit_refuses_a_test_file_with_rows_that_hold_no_battle(call, run_once):
    run_once("prior")
    Path("data/test.csv").unlink()
    answer = {"id": "t1", "prompt": "p", "chosen": "a", "rejected": "b"}
    write_json_lines(Path("data/test.jsonl"), [answer, answer | {"id": "t2", "rejected": None}])
    ended = call("submit", "prior", "--data", "data")
    warning, error = ended.err.split("Error: ")
    assert ended.code == 2
    assert "schema trl_preference" in warning
    assert "1 rows of the test file hold no battle" in error


def test_no_file_beside_battles_can_name_code(call, own_schema, monkeypatch):
    monkeypatch.delenv("PAIRRANK_SCHEMAS")
    Path("data/data.toml").write_text(f'schema = "{own_schema.name}"')
    assert refused(call("run", "prior", "--data", "data"), own_schema.name, "PAIRRANK_SCHEMAS")


# Test files and graded preferences


def test_the_schema_of_data_toml_holds_for_a_test_file_with_its_columns_only(call):
    Path("mine").mkdir()
    write_json_lines(Path("mine/train.jsonl"), [annotated(1 + i % 2, name=i) for i in range(20)])
    Path("mine/data.toml").write_text('schema = "pandalm"')
    Path("mine/test.csv").write_text(Path("data/test.csv").read_text(encoding="utf-8"), encoding="utf-8")
    assert call("run", "prior", "--data", "mine").code == 0
    assert len(Path("runs/mine/prior/test.csv").read_text().splitlines()) == len(read_battles("data/test.csv")) + 1


def test_data_toml_beside_extra_battles_applies_to_them(call):
    Path("mine").mkdir()
    Path("more").mkdir()
    for folder, count in (("mine", 20), ("more", 40)):
        rows = [annotated(1 + i % 2, 1, 1, name=f"{folder} {i}") for i in range(count)]
        write_json_lines(Path(folder, "train.jsonl"), rows)
    Path("more/data.toml").write_text('votes = "majority"')
    ended = call("run", "structure", "--data", "mine", "--extra", "more=0.5", "--set", "seeds=1", "--fold", "0")
    assert ended.code == 0
    assert "40 of 40 extra battles" in ended.out + ended.err
