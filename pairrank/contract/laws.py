"""Each law of the contract is a function that returns what it found, or raises `BrokenLawError`."""

import dataclasses
import json
import pickle
import random
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pairrank.contract.subject import Subject
from pairrank.data.battles import Battles
from pairrank.data.predictions import Predictions
from pairrank.data.probabilities import SWAP
from pairrank.errors import UserError, described
from pairrank.models.base import Model, parameters_of
from pairrank.models.saving import load_model, save_model

TOLERANCE = 1e-6
"""Largest difference of probabilities that must be equal but are computed in another order, in float32."""

PICKLES = {".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib", ".npy", ".npz"}
"""Endings of files that hold pickles, or can hold them."""


class BrokenLawError(AssertionError):
    """A model breaks a law of the contract; the message says what was found."""


Law = Callable[[Subject], str]
"""Returns what was found where the law holds; raises BrokenLawError where it does not."""


def gives_probabilities(subject: Subject) -> str:
    """Predictions are positive float64 probabilities of A, B and tie, whose sum is 1."""
    found, n = subject.predictions, len(subject.unseen)
    if not isinstance(found, np.ndarray) or found.shape != (n, 3) or found.dtype != np.float64:
        shown = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
        raise BrokenLawError(f"found {shown}, expected float64 ({n}, 3)")
    _require(bool(np.isfinite(found).all()), "some are NaN or infinite")
    _require(bool((found > 0).all()), f"the smallest is {found.min():.3g}, expected more than 0")
    off = _gap(found.sum(axis=1), 1)
    _require(off < 1e-12, f"a sum differs from 1 by {off:.2g}, expected less than 1e-12")
    complaints = Predictions(subject.unseen.id, found).complaints()
    _require(not complaints, "; ".join(complaints[:2]))
    return f"from {found.min():.3g} to {found.max():.3g}; sums differ from 1 by {off:.1g}"


def predicts_no_battles(subject: Subject) -> str:
    """No battles give no predictions."""
    none = subject.fitted.predict_proba(subject.unseen.take(slice(0)))
    _require(none.shape == (0, 3) and none.dtype == np.float64, f"found {none.dtype} {none.shape}")
    return "float64 (0, 3)"


def refuses_to_start_early(subject: Subject) -> str:
    """An unfitted model, and a fit of no battles, are refused with a message."""
    calls: dict[str, Callable[[], object]] = {
        "an unfitted model": lambda: subject.make().predict_proba(subject.unseen)
    }
    if subject.make().learns:
        calls["a fit of no battles"] = lambda: subject.make().fit(subject.train.take(slice(0)))
    found = []
    for what, call in calls.items():
        try:
            call()
        except UserError as error:
            found.append(str(error))
        except Exception as error:
            raise BrokenLawError(f"{what} raises {described(error)}, expected UserError") from error
        else:
            raise BrokenLawError(f"{what} raises nothing, expected UserError")
    return " ".join(found)


def repeats_itself(subject: Subject) -> str:
    """The same seed gives the same predictions, whatever the global random state."""
    _require(_exactly(subject, subject.fitted), "the same model predicts something else the second time")
    # From the system's entropy: a fixed seed could be the one that the first training found.
    random.seed()
    np.random.seed()
    if torch := sys.modules.get("torch"):
        torch.seed()
    again = subject.make().fit(subject.train)
    difference = _gap(again.predict_proba(subject.unseen), subject.predictions)
    _require(_exactly(subject, again), f"a second training changes a probability by {difference:.2g}")
    return "equal in every digit"


def judges_each_battle_alone(subject: Subject) -> str:
    """A prediction does not depend on other battles or their order."""
    unseen, expected = subject.unseen, subject.predictions
    order = np.random.default_rng(0).permutation(len(unseen))
    shuffled = _gap(subject.fitted.predict_proba(unseen.take(order)), expected[order])
    rows = [subject.fitted.predict_proba(unseen.take(slice(i, i + 1)))[0] for i in range(len(unseen))]
    alone = _gap(np.array(rows), expected)
    found = f"another order changes a probability by {shuffled:.1g}, a battle alone by {alone:.1g}"
    _require(max(shuffled, alone) <= TOLERANCE, f"{found}; expected at most {TOLERANCE:g}")
    return found


def leaves_battles_alone(subject: Subject) -> str:
    """Training and prediction do not change the battles."""
    _ = subject.predictions  # their model learned from these battles, and copies of them were made before
    changed = [
        column.name
        for before, after in zip(subject.originals, (subject.train, subject.unseen), strict=True)
        for column in dataclasses.fields(Battles)
        if not _same(getattr(before, column.name), getattr(after, column.name))
    ]
    _require(not changed, f"changed: {', '.join(dict.fromkeys(changed))}")
    return "unchanged"


def is_saved_and_loaded(subject: Subject) -> str:
    """A saved model is loaded with its hyperparameters and predicts the same."""
    with tempfile.TemporaryDirectory() as folder:
        save_model(subject.fitted, Path(folder, "model"))
        loaded = load_model(Path(folder, "model"))
    before, after = parameters_of(subject.fitted), parameters_of(loaded)
    _require(before == after == parameters_of(subject.make()), f"hyperparameters {after}, expected {before}")
    difference = _gap(loaded.predict_proba(subject.unseen), subject.predictions)
    _require(_exactly(subject, loaded), f"the loaded model changes a probability by {difference:.2g}")
    return "equal in every digit"


def saves_no_pickles(subject: Subject) -> str:
    """No file of a saved model is a pickle, which could run code when it is read."""
    with tempfile.TemporaryDirectory() as folder:
        save_model(subject.fitted, Path(folder))
        files = [file for file in sorted(Path(folder).rglob("*")) if file.is_file()]
        pickles = [file.name for file in files if file.suffix in PICKLES or _holds_pickle(file)]
        size = sum(file.stat().st_size for file in files)
    _require(not pickles, f"{', '.join(pickles)}: expected JSON, safetensors, or text of LightGBM")
    return f"{', '.join(file.name for file in files)}: {size:,} bytes"


def takes_weights_of_one(subject: Subject) -> str:
    """A weight of 1 equals no weight."""
    weighed = replace(subject.train, weight=np.ones(len(subject.train)))
    model = subject.make().fit(weighed)
    difference = _gap(model.predict_proba(subject.unseen), subject.predictions)
    _require(_exactly(subject, model), f"a probability changes by {difference:.2g}")
    return "equal in every digit"


def keeps_three_columns(subject: Subject) -> str:
    """An outcome that is missing from training keeps its column."""
    smallest = 1.0
    for outcomes, what in (([0, 1], "ties"), ([2], "wins"), ([1], "wins of A, and ties")):
        poor = replace(subject.train, winner=np.resize(outcomes, len(subject.train)))
        proba = subject.make().fit(poor).predict_proba(subject.unseen)
        _require(proba.shape == (len(subject.unseen), 3), f"without {what} in training: shape {proba.shape}")
        is_valid = bool(np.isfinite(proba).all() and (proba > 0).all())
        _require(is_valid, f"without {what} in training: a probability of {proba.min():.3g}, expected more than 0")
        smallest = min(smallest, float(proba.min()))
    return f"the smallest probability is {smallest:.2g}"


def commutes_with_swap(subject: Subject) -> str:
    """A model that declares itself symmetric exchanges A and B if the answers are exchanged."""
    swapped = subject.fitted.predict_proba(subject.unseen.swap())[:, SWAP]
    difference = _gap(swapped, subject.predictions)
    if not subject.fitted.symmetric:
        return f"not declared; a swap changes a probability by {difference:.2g}"
    found = f"a swap changes a probability by {difference:.1g}"
    _require(difference <= TOLERANCE, f"{found}, expected at most {TOLERANCE:g}")
    return found


def reads_what_test_files_have(subject: Subject) -> str:
    """Columns that test files lack do not change predictions."""
    unseen = subject.unseen
    n = len(unseen)
    named = replace(
        unseen,
        model_a=unseen.id,
        model_b=unseen.id[::-1],
        winner=np.zeros(n, dtype=np.int64),
        soft=np.tile([0.8, 0.1, 0.1], (n, 1)),
    )
    difference = _gap(subject.fitted.predict_proba(named), subject.predictions)
    if difference and subject.fitted.needs_names:
        return f"it declares that it needs names, which change a probability by {difference:.2g}"
    _require(difference == 0, f"names or winners change a probability by {difference:.2g}")
    return "equal in every digit"


def reports_itself(subject: Subject) -> str:
    """The report is plain JSON and counts the parameters."""
    _ = subject.predictions  # some models count what they have read
    try:
        report = json.loads(json.dumps(subject.fitted.report(), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise BrokenLawError(f"no JSON: {error}") from error
    count = report.get("parameters") if isinstance(report, dict) else None
    _require(isinstance(count, int) and count >= 0, f"parameters = {count!r}, expected a whole number")
    return f"{count:,} parameters"


def names_its_state(subject: Subject) -> str:
    """Hyperparameters are fields of the dataclass, and what is learned ends in an underscore."""
    model: Any = subject.fitted
    names = {field.name for field in dataclasses.fields(model)}
    learned = {name for name in vars(model) if name.endswith("_")}
    wrong = sorted({*vars(model)} - learned - names)
    _require(not wrong, f"{', '.join(wrong)}: a learned attribute without an underscore at its end")
    wrong = sorted(names - {*vars(model)})
    _require(not wrong, f"{', '.join(wrong)}: a field without a value")
    wrong = sorted(name for name in names if name.endswith("_"))
    _require(not wrong, f"{', '.join(wrong)}: a field with an underscore at its end")
    return f"fields: {', '.join(sorted(names)) or 'none'}; learned: {', '.join(sorted(learned)) or 'nothing'}"


LAWS: dict[str, Law] = {
    law.__name__: law
    for law in (
        gives_probabilities,
        predicts_no_battles,
        refuses_to_start_early,
        repeats_itself,
        judges_each_battle_alone,
        leaves_battles_alone,
        is_saved_and_loaded,
        saves_no_pickles,
        takes_weights_of_one,
        keeps_three_columns,
        commutes_with_swap,
        reads_what_test_files_have,
        reports_itself,
        names_its_state,
    )
}
"""All laws by name."""


def _require(holds: bool, found: str) -> None:
    if not holds:
        raise BrokenLawError(found)


def _exactly(subject: Subject, model: Model) -> bool:
    return np.array_equal(model.predict_proba(subject.unseen), subject.predictions)


def _gap(one: Any, other: Any) -> float:
    """Return the largest difference of two arrays of one shape; infinity if they cannot be compared."""
    if np.shape(one) != np.shape(other) and np.shape(other) != ():
        return np.inf
    gap = np.abs(np.asarray(one) - other)
    return np.inf if np.isnan(gap).any() else float(gap.max(initial=0))


def _same(before: Any, after: Any) -> bool:
    return np.array_equal(before, after) if isinstance(before, np.ndarray) else before == after


def _holds_pickle(file: Path) -> bool:
    """Return whether a file begins like a pickle of the present protocols, or is an archive that contains one."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            return any(Path(name).suffix in PICKLES for name in archive.namelist())
    with file.open("rb") as opened:
        start = opened.read(2)
    return len(start) == 2 and start[:1] == pickle.PROTO and 2 <= start[1] <= pickle.HIGHEST_PROTOCOL
