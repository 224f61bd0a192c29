"""The contract of every registered model; a new model is tested as soon as it is registered."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairrank.contract.findings import check_law
from pairrank.contract.laws import LAWS
from pairrank.contract.subject import Subject, odd_battles, with_inputs
from pairrank.data.battles import Battles, concatenate, object_array
from pairrank.models import base
from pairrank.models.base import Model, build, model_class, model_names
from pairrank.models.saving import load_model, save_model
from tests.support.architectures import WINDOW
from tests.support.battles import arena_of_words
from tests.support.fine_tuning import FAST
from tests.support.runs import complaint, remove_keys

QUICK_TREES = {"learning_rate": 0.1, "min_leaf": 2, "row_share": 1.0}
SMALL: dict[str, dict[str, Any]] = {
    "baseline": {"training": dataclasses.asdict(FAST), "max_tokens": WINDOW},
    "frozen": {"max_tokens": WINDOW, "steps": 20, "hidden": 8},
    "gbdt": {"rounds": 20, "patience": 5, "seeds": 2, "trees": QUICK_TREES},
    "judge": {"training": dataclasses.asdict(FAST), "head": "zero-shot", "max_tokens": 200},
    "reward": {"max_tokens": WINDOW},
    "likelihood": {"max_tokens": 96},
    "siamese": {"training": dataclasses.asdict(replace(FAST, head_rate=2.0)), "max_tokens": WINDOW, "hidden": 8},
    "structure": {"rounds": 10, "tie_rounds": 10, "seeds": 2, "trees": {"min_leaf": 2, "row_share": 1.0}},
}
"""Parameters that make a model fast; a model without an entry is tested with its defaults."""

LANGUAGE_MODEL = "the folder of the tiny language model"
VARIANTS = {
    "baseline-both-sides": ("baseline", {"both_sides": True}),
    "frozen-answer": ("frozen", {"pooling": "answer"}),
    "frozen-difference": ("frozen", {"head": "difference"}),
    "siamese-concat": ("siamese", {"head": "concat"}),
    "siamese-concat-both-sides": ("siamese", {"head": "concat", "both_sides": True}),
    "siamese-cls": ("siamese", {"pooling": "cls"}),
    "siamese-attention": ("siamese", {"pooling": "attention"}),
    "siamese-answer": ("siamese", {"pooling": "answer"}),
    "siamese-apart": ("siamese", {"layout": "apart"}),
    "siamese-no-lengths": ("siamese", {"lengths": False}),
    "siamese-features": ("siamese", {"features": ["length", "words"]}),
    "judge-uncalibrated": ("judge", {"calibrated": False}),
    "judge-trained": ("judge", {"head": "trained"}),
    "judge-one-order": ("judge", {"head": "trained", "both_sides": False}),
    "judge-adapter": ("judge", {"head": "trained", "adapter": {"rank": 2}}),
    "siamese-pretrained": ("siamese", {"head": "pretrained"}),
    "gbdt-multinomial": ("gbdt", {"learner": "multinomial"}),
    "gbdt-inputs-alone": ("gbdt", {"groups": []}),
    "gbdt-likelihood": ("gbdt", {"likelihood": [LANGUAGE_MODEL]}),
    "kernel-likelihood": ("kernel", {"likelihood": [LANGUAGE_MODEL]}),
    "kernel-modulate": ("kernel", {"modulate": True}),
    "pool-fitted": ("pool", {"weights": "fitted"}),
    "pool-temperature": ("pool", {"weights": "temperature"}),
    "pool-greedy": ("pool", {"weights": "greedy"}),
    "pool-linear": ("pool", {"space": "linear"}),
    "pool-tie-offset": ("pool", {"tie_offset": True}),
    "sparse-raw": ("sparse", {"components": 0}),
    "structure-likelihood": ("structure", {"likelihood": [LANGUAGE_MODEL]}),
    "structure-outcome": ("structure", {"decompose": False}),
}
"""Variants of a model, under the same contract."""

CONTRACT = {name: (name, {}) for name in model_names()} | VARIANTS
STACKS = {"gbdt", "pool", "siamese"}
"""Models that read the predictions of other experiments; all others ignore them."""
BLIND = {"siamese-pretrained"}
"""Variants of such models that ignore them."""
REWARDS = {"reward", "siamese-pretrained"}
"""Lines whose encoder is a reward model."""
LEARN_NOTHING = {"judge-uncalibrated", "pool", "pool-linear"}
"""Variants that fit nothing."""


@pytest.fixture(scope="module")
def make(
    tiny_bert: Path, tiny_language_model: Path, tiny_reward: Path, byte_language_model: Path
) -> Callable[[str], Model]:
    """Return a function that builds the unfitted model of a contract line."""

    def build_small(line: str, **more: Any) -> Model:
        name, variant = CONTRACT[line]
        kinds = {"judge": tiny_language_model, "likelihood": byte_language_model}
        folder = tiny_reward if line in REWARDS else kinds.get(name, tiny_bert)
        encoder = {"encoder": [str(folder)]} if "encoder" in fields_of(name) else {}
        if variant.get("likelihood"):
            variant = variant | {"likelihood": [str(byte_language_model)]}
        return build(name, **encoder, **(SMALL.get(name, {}) | variant | more))

    return build_small


def fields_of(name: str) -> set[str]:
    return {f.name for f in dataclasses.fields(model_class(name))}


def named(battles: Battles) -> Battles:
    """Return the battles with models named after the first words of their predictions."""
    names = {
        f"model_{side}": object_array([t[0].partition(" ")[0] for t in getattr(battles, f"response_{side}")])
        for side in "ab"
    }
    return replace(battles, **names)


@pytest.fixture(scope="module")
def train() -> Battles:
    return with_inputs(arena_of_words(24), seed=1)


@pytest.fixture(scope="module")
def unseen() -> Battles:
    both = concatenate([arena_of_words(9, seed=5), odd_battles()])
    return with_inputs(replace(both, id=object_array([str(i) for i in range(len(both))])), seed=2)


def as_parameter(line: str) -> Any:
    """Return a line as a test parameter; the variants of fine-tuned models, 20 tests each, are slow."""
    name, variant = VARIANTS.get(line, ("", {}))
    is_slow = name in ("baseline", "siamese") or (name == "judge" and "head" in variant)
    return pytest.param(line, marks=pytest.mark.slow) if is_slow else line


@pytest.fixture(scope="module", params=list(map(as_parameter, CONTRACT)))
def line(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def subject(line: str, make, train: Battles, unseen: Battles) -> Subject:
    return Subject(lambda: make(line), train, unseen)


@pytest.fixture(scope="module")
def fitted(subject: Subject) -> Model:
    return subject.fitted


@pytest.fixture(scope="module")
def known() -> dict[str, np.ndarray]:
    """The predictions of the lines that have been fitted so far."""
    return {}


@pytest.fixture(scope="module")
def predictions(line: str, subject: Subject, known: dict[str, np.ndarray]) -> np.ndarray:
    known[line] = subject.predictions
    return subject.predictions


# --- The contract: laws of the package, which a model of the user's own keeps as well, and further ones


@pytest.mark.parametrize("law", LAWS)
def test_a_model_keeps_the_law(law: str, subject: Subject):
    finding = check_law(law, subject)
    assert finding.holds, f"{finding.law}: {finding.found}"
    if law == "reads_what_test_files_have":  # the contract excuses models that need names; none of these is excused
        assert finding.found == "equal in every digit"


@pytest.mark.parametrize("name", model_names())
def test_an_unfitted_model_and_a_fit_of_no_battles_are_refused(name: str, make, train: Battles, unseen: Battles):
    without_inputs = "the pool has no inputs"  # what an unfitted pool says first
    assert any(
        text in complaint(lambda: make(name).predict_proba(unseen)) for text in ("not fitted", without_inputs)
    )
    assert not hasattr(make(name), "never_learned_")
    if make(name).learns:
        assert "no battles to learn from" in complaint(lambda: make(name).fit(train.take(slice(0))))


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[:-2] + b"0\n"])
def test_no_saved_model_is_loaded_with_a_damaged_or_missing_file(fitted: Model, tmp_path: Path, damage):
    save_model(fitted, tmp_path)
    files = [file for file in sorted(tmp_path.rglob("*")) if file.is_file()]
    assert len(files) > 1
    for file in files:
        content = file.read_bytes()
        file.write_bytes(damage(content))
        assert file.name in complaint(lambda: load_model(tmp_path))
        file.unlink()
        assert file.name in complaint(lambda: load_model(tmp_path))
        file.write_bytes(content)
    load_model(tmp_path)


def test_a_model_of_an_earlier_version_is_loaded_with_a_warning(
    fitted: Model, predictions, unseen: Battles, tmp_path: Path, log_lines
):
    save_model(fitted, tmp_path / "fold0")
    remove_keys(tmp_path / "fold0" / "model.json", "files")
    assert np.array_equal(load_model(tmp_path / "fold0").predict_proba(unseen), predictions)
    assert any("cannot be checked" in line for line in log_lines)


def test_the_effect_of_training_battles_shrinks_with_their_weight(line: str, make, train: Battles):
    """Some battles are repeated with other winners: at weight 10 this changes predictions, at 1e-6 it does not.

    The comparison repeats them with their own winners, so that batches are the same. Where a win becomes a tie, the
    set of decided battles changes; then only P(tie), which some models fit separately, must stay the same. It may
    change slightly, since trees choose freely among columns that split these few battles equally.
    """
    again = train.take(np.arange(0, len(train), 4))
    again = replace(again, id=object_array([f"{name} again" for name in again.id]))

    def predictions(weight: float, winner: np.ndarray) -> np.ndarray:
        whole = concatenate([replace(part, weight=np.ones(len(part))) for part in (train, again)])
        whole.weight[len(train) :] = weight
        whole.winner[len(train) :] = winner
        return make(line).fit(named(whole)).predict_proba(named(train))

    changes = {}
    for weight in (1e-6, 10.0):
        same = predictions(weight, again.labels)
        turned = predictions(weight, np.array([1, 0, 2])[again.labels])
        tied = predictions(weight, np.full(len(again), 2))
        changes[weight] = max(np.abs(turned - same).max(), np.abs(tied - same)[:, 2].max())
    if line in LEARN_NOTHING:
        assert max(changes.values()) == 0
    else:
        assert changes[10.0] > 1e-3
        assert changes[1e-6] < 0.02 * changes[10.0]


def test_inputs_change_the_predictions_only_of_models_that_read_them(
    line: str, make, fitted: Model, train, unseen, predictions
):
    if CONTRACT[line][0] in STACKS and line not in BLIND:
        assert np.abs(fitted.predict_proba(with_inputs(unseen, seed=3)) - predictions).max() > 1e-3
    else:
        alone, asked = (replace(battles, inputs=None, input_names=()) for battles in (train, unseen))
        assert np.array_equal(make(line).fit(alone).predict_proba(asked), predictions)


def test_some_models_are_symmetric_and_some_are_not(make):
    assert {make(line).symmetric for line in CONTRACT} == {True, False}


def test_a_report_is_plain_json_and_counts_parameters(line: str, fitted: Model, predictions):
    report = json.loads(json.dumps(fitted.report(), allow_nan=False))
    assert report["parameters"] == 0 if line in LEARN_NOTHING else report["parameters"] > 0


def test_a_model_is_found_under_the_name_of_its_file(fitted: Model):
    name = type(fitted).model_name
    assert type(fitted).__module__ == f"pairrank.models.{name}"
    assert (type(fitted).__doc__ or "").strip().endswith(".")


def test_the_contract_covers_every_model():
    files = {path.stem for path in Path(base.__file__).parent.glob("[a-z]*.py")}
    assert set(model_names()) == files - set(base.SHARED)
    assert {name for name, _ in CONTRACT.values()} == set(model_names())
    assert set(SMALL) <= set(model_names())


@pytest.mark.parametrize("line", list(map(as_parameter, VARIANTS)), indirect=True)
def test_a_variant_changes_the_predictions(
    line: str, make, train: Battles, unseen: Battles, predictions: np.ndarray, known: dict[str, np.ndarray]
):
    name, _ = VARIANTS[line]
    if name not in known:
        known[name] = make(name).fit(train).predict_proba(unseen)
    assert np.abs(known[name] - predictions).max() > 1e-6


# --- The registry


def test_an_unknown_model_name_suggests_the_nearest():
    assert "no model is called 'basline'. Did you mean 'baseline'?" in complaint(lambda: build("basline"))
    assert all(name in complaint(lambda: build("basline")) for name in model_names())
    assert "no model is called 'base'" in complaint(lambda: build("base"))


def test_an_unknown_parameter_suggests_the_nearest_even_within_a_table():
    message = complaint(lambda: build("baseline", max_token=9, training={"epoch": 1}))
    assert "model 'baseline', training: no parameter is called 'epoch'. Did you mean 'epochs'?" in message
    message = complaint(lambda: build("baseline", max_token=9))
    assert "model 'baseline': no parameter is called 'max_token'. Did you mean 'max_tokens'?" in message


def test_a_table_changes_only_the_parameters_it_names():
    plain, changed = build("siamese"), build("siamese", training={"epochs": 7})
    assert changed == replace(plain, training=replace(plain.training, epochs=7))


def test_a_refusal_by_the_model_names_its_place():
    assert complaint(lambda: build("baseline", training={"epochs": 0})).startswith(
        "model 'baseline', training: epochs"
    )
    assert complaint(lambda: build("structure", seeds=0)).startswith("model 'structure': seeds = 0")


def test_load_model_refuses_a_folder_without_a_model(tmp_path: Path):
    assert "no saved model here (model.json is missing)" in complaint(lambda: load_model(tmp_path))


def test_a_class_that_does_not_inherit_model_is_refused_when_it_is_registered():
    with pytest.raises(
        TypeError, match=r"model 'lonely': the class Lonely must inherit pairrank\.models\.base\.Model"
    ):

        @base.register("lonely")
        class Lonely:
            pass

    assert "lonely" not in base._REGISTRY
