"""The own validator of manifests refuses what the library `jsonschema` refuses, and describes each fault."""

import copy
import json

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairrank.evaluation.json_schema import schema_complaints
from pairrank.evaluation.manifest import MANIFEST, manifest_schema, manifest_to_json
from tests.support.entered import some_manifest

SOUND = json.loads(json.dumps(manifest_to_json(some_manifest())))
VALIDATOR = jsonschema.Draft202012Validator(manifest_schema())
VALUES = [
    None,
    True,
    0,
    1,
    1.0,
    -1,
    2.5,
    "",
    " ",
    "x",
    "a/b",
    ".x",
    "x" * 3_000,
    "https://a.b",
    "ftp://a",
    [],
    {},
    {"a": 1},
]
VALUES += [
    "0" * 16,
    "0" * 64,
    "F" * 64,
    "2026-11-27T08:15:00Z",
    "2026-11-27",
    "scores",
    {"name": "x", "sha256": "1" * 64},
]
VALUES += [{"temperature": 1, "tie_logit": 0.5}, {"temperature": "1", "tie_logit": 0, "more": 1}]
VALUES += [{"battles": 3, "sha256": "a" * 64}, {"battles": 0, "sha256": "a" * 64}, {"battles": True, "sha256": 1}]
VALUES += [{"battles": 3, "hash": "a" * 16, "name": "d"}, {"battles": 3, "hash": "a" * 17, "name": ""}]
KEYS = [*SOUND, "colour"]


@given(
    st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(VALUES)), max_size=3), st.sets(st.sampled_from(KEYS))
)
def test_it_refuses_exactly_what_the_library_refuses(changes, removed):
    manifest = copy.deepcopy(SOUND) | dict(changes)
    manifest = {key: value for key, value in manifest.items() if key not in removed or len(removed) > 3}
    assert (schema_complaints(manifest, manifest_schema(), MANIFEST) == []) == VALIDATOR.is_valid(manifest)


@pytest.mark.parametrize("key", KEYS)
def test_each_field_is_judged_as_by_the_library(key):
    for value in VALUES:
        manifest = SOUND | {key: value}
        assert (schema_complaints(manifest, manifest_schema(), MANIFEST) == []) == VALIDATOR.is_valid(manifest), (
            value
        )


def test_the_schema_is_one_and_uses_no_keyword_that_is_not_checked():
    jsonschema.Draft202012Validator.check_schema(manifest_schema())
    known = {
        "$schema",
        "title",
        "description",
        "type",
        "const",
        "enum",
        "minLength",
        "maxLength",
        "pattern",
        "minimum",
    }
    known |= {"required", "properties", "additionalProperties"}

    def schemas(schema):
        yield schema
        for inner in schema.get("properties", {}).values():
            yield from schemas(inner)

    for schema in schemas(manifest_schema()):
        assert set(schema) <= known
        assert schema["description"]
        if "properties" in schema:
            assert schema["additionalProperties"] is False
            assert set(schema["required"]) == set(schema["properties"])


def test_every_fault_has_a_complaint_that_says_what_was_expected():
    broken = SOUND | {"url": "ftp://x", "colour": 1, "data": {"name": "d", "battles": 0}}
    del broken["by"]
    complaints = schema_complaints(broken, manifest_schema(), MANIFEST)
    for part in ("entry.json.url: found 'ftp://x'", "'colour'", "entry.json.by: missing", ".data.battles: found 0"):
        assert any(part in complaint for complaint in complaints), part
    assert any("entry.json.data.hash: missing" in complaint for complaint in complaints)
    assert len(complaints) == 5
    assert schema_complaints(
        SOUND | {"fitted": {"temperature": float("nan"), "tie_logit": 0}}, manifest_schema(), "m"
    )
