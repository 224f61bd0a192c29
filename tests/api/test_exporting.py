"""`export` writes what the leaderboard has scored, for other programs."""

import hashlib
import json
from pathlib import Path
from uuid import UUID

import jsonschema
import numpy as np
import pytest

import pairrank
from pairrank.data.predictions import Predictions
from pairrank.errors import UserError
from tests.support.battles import tiny_battles

BATTLES = tiny_battles()
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}


def an_object(**properties):
    """Return a schema of an object that must have these properties."""
    return {"type": "object", "required": list(properties), "properties": properties}


SOURCE = an_object(dataset_name={"type": "string"}, source_type={"const": "other"}, additional_details=TEXTS)
METRIC = an_object(
    lower_is_better={"type": "boolean"},
    score_type={"const": "continuous"},
    min_score={"type": "number"},
    max_score={"type": "number"},
)
RESULT = an_object(
    evaluation_name={"type": "string"},
    source_data=SOURCE,
    metric_config=METRIC,
    score_details=an_object(score={"type": "number"}),
)
RELATION = {"enum": ["first_party", "third_party", "collaborative", "other"]}
REQUIRED = an_object(
    schema_version={"const": "0.2.2"},
    evaluation_id={"type": "string"},
    retrieved_timestamp={"type": "string", "pattern": r"^\d+\.\d+$"},
    source_metadata=an_object(
        source_type={"enum": ["documentation", "evaluation_run"]},
        source_organization_name={"type": "string"},
        evaluator_relationship=RELATION,
    ),
    model_info=an_object(name={"type": "string"}, id={"type": "string"}, additional_details=TEXTS),
    eval_library=an_object(name={"type": "string"}, version={"type": "string"}),
    evaluation_results={"type": "array", "items": RESULT, "minItems": 1},
) | {"additionalProperties": False}
"""What version 0.2.2 of the schema of Every Eval Ever requires of the fields that are exported."""


@pytest.fixture
def exported(cross_validated):
    """A run, and an entry that has predicted 30 of the 40 battles."""
    cross_validated("prior")
    proba = np.random.default_rng(0).dirichlet([3, 3, 2], 30)
    predictions = Predictions(BATTLES.id[:30], proba)
    pairrank.enter(predictions, "judge", "A judge", "data", by="A/B: lab", partial=True)
    return predictions


def test_each_line_has_a_battle_with_its_fold_outcome_and_predictions(exported):
    assert pairrank.export("e.jsonl", data="data") == [Path("e.jsonl")]
    lines = [json.loads(line) for line in Path("e.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["id"] for line in lines] == BATTLES.id.tolist()
    assert [line["outcome"] for line in lines] == [("A", "B", "tie")[winner] for winner in BATTLES.labels]
    for line, prompt in zip(lines, BATTLES.prompt, strict=True):
        digest = hashlib.sha256(b"\0" + prompt[0].casefold().encode()).digest()
        assert line["fold"] == int.from_bytes(digest[:8], "big") % 5
        assert set(line["predictions"]) == {"prior", "judge"}
    given = [line["predictions"]["judge"] for line in lines]
    assert np.array(given[:30]) == pytest.approx(exported.proba, abs=1e-8)
    assert given[30:] == [None] * 10
    assert "question, number" not in Path("e.jsonl").read_text(encoding="utf-8")
    pairrank.export("p.jsonl", ["prior"], "data")
    assert set(json.loads(Path("p.jsonl").read_text(encoding="utf-8").splitlines()[0])["predictions"]) == {"prior"}


def test_scores_have_the_form_of_every_eval_ever(exported):
    files = pairrank.export("out", data="data", form="every-eval-ever", organization="Lab")
    by_name = {file.parent.name: file for file in files}
    assert by_name["judge"].parent == Path("out/data/A_B_ lab/judge")
    assert by_name["prior"].parent == Path("out/data/Lab/prior")
    board = {row.label: row for row in pairrank.compare(data="data").rows}
    for label, file in by_name.items():
        assert UUID(file.stem).version == 4
        record = json.loads(file.read_text(encoding="utf-8"))
        jsonschema.validate(record, REQUIRED)
        scores = {each["evaluation_name"]: each["score_details"]["score"] for each in record["evaluation_results"]}
        assert scores == {"log_loss": board[label].log_loss, "accuracy": board[label].accuracy}
    record = json.loads(by_name["judge"].read_text(encoding="utf-8"))
    assert record["model_info"]["additional_details"]["training_data"] == "not declared"
    assert record["source_metadata"]["evaluator_relationship"] == "other"
    again = pairrank.export("out", data="data", form="every-eval-ever", organization="Lab")
    assert again == files


def test_outputs_that_would_replace_something_are_refused(exported):
    for out, form, words in (
        ("data", "jsonl", "this is a folder"),
        ("data/train.csv", "jsonl", "are read from this file"),
        ("data/train.csv", "every-eval-ever", "this is a file"),
        ("x", "xml", "expected jsonl or every-eval-ever"),
    ):
        with pytest.raises(UserError, match=words):
            pairrank.export(out, data="data", form=form)
    with pytest.raises(UserError, match="no run is called"):
        pairrank.export("x.jsonl", ["none"], "data")
