"""A stored entry is read only if its parts and the battles belong together; all faults are named at once."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from pairrank.data.battles import object_array
from pairrank.errors import UserError
from pairrank.evaluation import manifest as module
from pairrank.evaluation.manifest import read_entered, read_manifest, write_entered
from tests.support.battles import tiny_battles
from tests.support.entered import entered, some_manifest
from tests.support.entries import BATTLES, some_predictions
from tests.support.runs import complaint


def changed(folder, **values):
    """Change fields of the manifest in a folder."""
    file = folder / "entry.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_what_was_written_is_read_and_has_the_hash_of_its_bytes(tmp_path):
    entry = entered(tmp_path, trained_on=None)
    manifest, predictions = read_entered(tmp_path / "book", BATTLES)
    assert manifest == entry.manifest
    assert (
        manifest.predictions.sha256 == hashlib.sha256((tmp_path / "book/predictions.csv").read_bytes()).hexdigest()
    )
    assert predictions.id.tolist() == BATTLES.id.tolist()
    assert predictions.proba == pytest.approx(entry.predictions.proba, abs=1e-8)
    assert [path.name for path in tmp_path.iterdir()] == ["book"]


@pytest.mark.parametrize("part", ["write_json", "sync"])
def test_an_interrupted_entry_is_not_there_at_all(tmp_path, monkeypatch, part):
    entered(tmp_path / "kept")

    def fail(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(module, part, fail)
    with pytest.raises(OSError, match="No space"):
        entered(tmp_path / "new")
    names = {path.name for path in (tmp_path / "new").iterdir()}
    assert names <= {"book"}
    if names:  # the folder was complete when it got its name
        read_entered(tmp_path / "new/book", BATTLES)


def test_predictions_that_were_changed_are_refused(tmp_path):
    entered(tmp_path)
    some_predictions(8).write(tmp_path / "book/predictions.csv")
    assert "predictions.csv has the SHA-256" in complaint(lambda: read_entered(tmp_path / "book", BATTLES))


def test_all_mismatches_of_an_entry_are_named_at_once(tmp_path):
    entered(tmp_path)
    some_predictions(8, slice(50)).write(tmp_path / "book/predictions.csv")
    (tmp_path / "book").rename(tmp_path / "other")
    strangers = replace(tiny_battles(60), id=object_array([f"s{i}" for i in range(60)]))
    message = complaint(lambda: read_entered(tmp_path / "other", strangers))
    for part in ("is that of 'book'", "SHA-256", "50 battles, expected 60", "other battles (d, hash", "not among"):
        assert part in message
    assert "no prediction" in message


def test_rows_that_do_not_sum_to_one_are_refused(tmp_path):
    entered(tmp_path)
    file = tmp_path / "book/predictions.csv"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], f"{BATTLES.id[0]},0.5,0.9,0.2", *lines[2:]]))
    assert "sum to 1.6" in complaint(lambda: read_entered(tmp_path / "book", BATTLES))


def test_manifest_fields_that_are_missing_unknown_or_wrong_are_refused_at_once(tmp_path):
    entered(tmp_path)
    changed(tmp_path / "book", colour="red", url="ftp://x", by=3)
    message = complaint(lambda: read_manifest(tmp_path / "book/entry.json"))
    for part in ("3 complaints", "'colour'", "entry.json.url", "entry.json.by"):
        assert part in message
    changed(tmp_path / "book", version=2)
    assert "newer pairrank" in complaint(lambda: read_manifest(tmp_path / "book/entry.json"))
    for text in ("{", "[]", "null"):
        (tmp_path / "book/entry.json").write_text(text)
        assert "expected a JSON object" in complaint(lambda: read_manifest(tmp_path / "book/entry.json"))
    (tmp_path / "book/entry.json").unlink()
    assert "missing or damaged" in complaint(lambda: read_entered(tmp_path / "book", BATTLES))


def test_the_same_ids_with_other_winners_are_other_battles(tmp_path):
    entered(tmp_path)
    others = replace(BATTLES, winner=np.roll(BATTLES.labels, 1))
    assert "other battles" in complaint(lambda: read_entered(tmp_path / "book", others))


def test_a_partial_entry_says_so_in_its_manifest(tmp_path):
    entered(tmp_path, battles=40)
    manifest, predictions = read_entered(tmp_path / "book", BATTLES)
    assert (manifest.is_whole, len(predictions)) == (False, 40)
    changed(tmp_path / "book", predictions={"battles": 60, "sha256": manifest.predictions.sha256})
    with pytest.raises(UserError, match="no prediction, expected one for each battle"):
        read_entered(tmp_path / "book", BATTLES)


def test_a_second_entry_of_a_name_replaces_the_first_as_a_whole(tmp_path):
    entered(tmp_path, seed=1)
    write_entered(tmp_path, some_manifest(about="Another."), some_predictions(2))
    manifest, predictions = read_entered(tmp_path / "book", BATTLES)
    assert manifest.about == "Another."
    assert predictions.proba == pytest.approx(some_predictions(2).proba, abs=1e-8)
