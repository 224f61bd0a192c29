"""siamese adds to what counted features and other experiments predict, and begins as exactly that."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pairrank.data.battles import Battles
from pairrank.encoders.adapter_settings import AdapterSettings
from pairrank.encoders.catalogue import Encoder
from pairrank.errors import UserError
from pairrank.evaluation.scoring import log_loss
from pairrank.models.base import build
from pairrank.models.heads.offsets import OffsetModel, cross_predict, fit_counted
from pairrank.models.saving import load_model, save_model
from pairrank.models.siamese import Siamese
from tests.models.heads.test_offsets import GROUPS, with_inputs
from tests.support.architectures import WINDOW
from tests.support.battles import arena_of_words
from tests.support.fine_tuning import FAST

FROZEN = replace(FAST, learning_rate=0.0, epochs=1)
"""A training that changes nothing."""


def make(encoder: Path, **options) -> Siamese:
    plain = {"encoder": [str(encoder)], "max_tokens": WINDOW, "hidden": 8, "training": FAST}
    return Siamese(**plain | {"features": list(GROUPS)} | options)


def random_weights(encoder: Path, train: Battles, seed: int = 0, **options) -> Siamese:
    """Return a model whose offsets are fitted, with a head and scales that are not those it begins with."""
    model = make(encoder, seed=seed, training=FROZEN, **options).fit(train)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.module_.named_parameters():
            if name.startswith(("head.", "offsets.")):
                parameter.copy_(torch.randn_like(parameter) / 2)
    return model


def geometric_mean(*parts: np.ndarray) -> np.ndarray:
    product = np.prod(parts, axis=0) ** (1 / len(parts))
    return product / product.sum(axis=1, keepdims=True)


# --- The beginning


@pytest.mark.parametrize("options", [{}, {"head": "concat", "both_sides": True}, {"layout": "apart"}])
def test_a_network_that_has_learned_nothing_predicts_what_it_adds_to(tiny_bert: Path, options):
    train, unseen = with_inputs(arena_of_words(24)), with_inputs(arena_of_words(9, seed=1), seed=1)
    bare = replace(train, inputs=None, input_names=())
    counted = build("structure", learner="logistic", groups=GROUPS).fit(train).predict_proba(unseen)
    pooled = build("pool").fit(train).predict_proba(unseen)
    all_three = geometric_mean(unseen.inputs[:, 0], unseen.inputs[:, 1], counted)
    for battles, features, expected in ((bare, GROUPS, counted), (train, [], pooled), (train, GROUPS, all_three)):
        model = make(tiny_bert, features=list(features), training=FROZEN, **options).fit(battles)
        given_ = unseen if battles is train else replace(unseen, inputs=None, input_names=())
        assert model.predict_proba(given_) == pytest.approx(expected, abs=1e-6)


def test_the_first_loss_of_the_training_is_that_of_the_inner_folds(tiny_bert: Path):
    train = arena_of_words(24)
    model = make(tiny_bert, training=FROZEN).fit(train)
    [row] = model.history_.rows
    expected = log_loss(cross_predict(train, GROUPS), train.labels)
    assert row["Training Loss"] == pytest.approx(expected, abs=1e-5)


def test_without_features_and_inputs_nothing_is_added(tiny_bert: Path, tmp_path: Path):
    train = arena_of_words(16)
    model = make(tiny_bert, features=[]).fit(train)
    save_model(model, tmp_path)
    assert model.module_.offsets is None
    assert "offsets" not in model._collate(model._rows(train))
    assert not (tmp_path / "offsets.json").exists()
    assert model.module_.head.margin[-1].weight.abs().min() > 0


# --- Symmetry


@given(st.integers(0, 99), st.booleans(), st.sampled_from(["pair", "apart"]))
@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.too_slow])
def test_predicting_commutes_with_swapping(tiny_bert: Path, seed: int, inputs: bool, layout):
    train, unseen = arena_of_words(16), arena_of_words(9, seed=seed + 1)
    if inputs:
        train, unseen = with_inputs(train), with_inputs(unseen, seed)
    model = random_weights(tiny_bert, train, seed, layout=layout)
    swapped = model.predict_proba(unseen.swap())[:, [1, 0, 2]]
    assert swapped == pytest.approx(model.predict_proba(unseen), abs=1e-6)


def test_the_average_of_both_orders_commutes_with_swapping(tiny_bert: Path):
    train, unseen = with_inputs(arena_of_words(16)), with_inputs(arena_of_words(9, seed=1))
    straight, both = (random_weights(tiny_bert, train, head="concat", both_sides=both) for both in (False, True))
    gaps = [
        np.abs(each.predict_proba(unseen.swap())[:, [1, 0, 2]] - each.predict_proba(unseen)).max()
        for each in (straight, both)
    ]
    assert gaps[0] > 1e-3
    assert gaps[1] < 1e-6


# --- Learning


@pytest.mark.parametrize("head", ["difference", "concat"])
def test_every_parameter_has_a_finite_gradient_that_is_not_zero(tiny_bert: Path, head: str):
    train = with_inputs(arena_of_words(8))
    model = random_weights(tiny_bert, train, head=head)
    rows = model._rows(model.offset_model_.attach(train))
    logits = model.module_.eval()(**model._collate(rows))
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0, 1, 2, 0, 0])).backward()
    for name, parameter in model.module_.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad.abs().max() > 1e-9) or "key.bias" in name, name


def test_all_parameters_learn_from_a_head_that_begins_at_zero(tiny_bert: Path):
    train = with_inputs(arena_of_words(24))
    fresh, learned = (make(tiny_bert, training=recipe).fit(train) for recipe in (FROZEN, FAST))
    before = dict(fresh.module_.named_parameters())
    for name, parameter in learned.module_.named_parameters():
        # Positions beyond the longest text of these battles are never read.
        assert not torch.equal(parameter, before[name]) or "position" in name, name


def test_training_and_prediction_compute_the_same_logits(tiny_bert: Path):
    train, unseen = with_inputs(arena_of_words(16)), with_inputs(arena_of_words(20, seed=1))
    model = random_weights(tiny_bert, train)
    with torch.no_grad():
        logits = model.module_.eval()(**model._collate(model._rows(model.offset_model_.attach(unseen))))
    assert model.predict_proba(unseen) == pytest.approx(torch.softmax(logits.double(), 1).numpy(), abs=1e-6)


def test_rows_that_differ_in_their_offsets_alone_are_not_one_row(tiny_bert: Path):
    train = arena_of_words(16)
    model = random_weights(tiny_bert, with_inputs(train))
    one, other = (model._rows(with_inputs(train, seed)) for seed in (1, 2))
    assert len(one) == 16
    assert not {row.tobytes() for row in one} & {row.tobytes() for row in other}


@pytest.mark.usefixtures("without_checkpoints")
def test_fine_tuning_memorises_eight_battles(tiny_bert: Path):
    battles = replace(arena_of_words(8), winner=np.array([0, 1, 2, 2, 1, 0, 1, 0]))
    recipe = replace(FAST, epochs=60, weight_decay=0.0, head_rate=3.0)
    model = make(tiny_bert, training=recipe, head_dropout=0.0, hidden=32, lengths=False).fit(battles)
    proba = model.predict_proba(battles)
    assert proba.argmax(axis=1).tolist() == battles.labels.tolist()
    assert log_loss(proba, battles.labels) < 0.25


def test_winners_of_the_scored_battles_in_the_counted_model_would_be_found_out(tiny_bert, monkeypatch):
    """Planted: the logistic models, fitted to random winners, have seen those of the battles to predict as well."""
    rng = np.random.default_rng(0)
    everything = arena_of_words(300)
    everything = replace(everything, winner=rng.integers(0, 3, 300))
    train, scored = everything.take(slice(200)), everything.take(slice(200, None))
    monkeypatch.setattr("pairrank.models.heads.offsets.PENALTY", 1.0)

    def loss() -> float:
        model = make(tiny_bert, training=FROZEN).fit(train)
        return log_loss(model.predict_proba(scored), scored.labels)

    honest = loss()
    monkeypatch.setattr(
        "pairrank.models.heads.offsets.fit_counted", lambda _, groups, fit=fit_counted: fit(everything, groups)
    )
    assert honest > np.log(3) - 0.01
    assert loss() < honest - 0.02


# --- Saving and refusals


def test_a_saved_model_predicts_the_same(tiny_bert: Path, tmp_path: Path):
    train, unseen = with_inputs(arena_of_words(16)), with_inputs(arena_of_words(9, seed=1))
    model = make(tiny_bert).fit(train)
    save_model(model, tmp_path)
    assert np.array_equal(load_model(tmp_path).predict_proba(unseen), model.predict_proba(unseen))
    (tmp_path / "offsets.json").unlink()
    with pytest.raises(UserError, match=r"offsets\.json"):
        load_model(tmp_path)


def test_inputs_with_an_adapter_are_saved_and_counted_features_are_refused(tiny_bert: Path, tmp_path: Path):
    adapter = AdapterSettings(rank=2, alpha=4.0)
    train, unseen = with_inputs(arena_of_words(16)), with_inputs(arena_of_words(9, seed=1))
    model = make(tiny_bert, features=[], adapter=adapter).fit(train)
    save_model(model, tmp_path)
    assert np.array_equal(load_model(tmp_path).predict_proba(unseen), model.predict_proba(unseen))
    assert load_model(tmp_path).module_.offsets.log_scales.abs().max() > 0
    with pytest.raises(UserError, match=r"features: .* Set adapter\.rank to 0"):
        make(tiny_bert, adapter=adapter)


def test_a_refitted_model_keeps_no_source_of_the_first_fit(tiny_bert: Path):
    model = make(tiny_bert, features=[], training=FROZEN)
    model.fit(with_inputs(arena_of_words(16)))
    assert len(model.offset_model_) == 2
    assert model.fit(arena_of_words(16)).offset_model_ == OffsetModel()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": ["lenght"]}, r"no group of features is called 'lenght'. Did you mean 'length'\?"),
        ({"features": ["prompt"]}, r"features = \['prompt'\]: these groups do not distinguish A from B"),
        ({"features": ["length"], "head": "pretrained"}, 'the head "pretrained" does not read them'),
    ],
)
def test_features_that_cannot_be_used_are_refused(options, message: str):
    with pytest.raises(UserError, match=message):
        build("siamese", **options)


def test_a_pretrained_head_ignores_inputs():
    assert build("siamese").inputs == "read"
    assert build("siamese", head="pretrained").inputs == "ignored"


# --- Real weights


@pytest.mark.slow
def test_real_weights_begin_as_the_counted_model(minilm: Encoder):
    train, unseen = arena_of_words(12), arena_of_words(6, seed=1)
    model = Siamese(encoder=["minilm"], max_tokens=WINDOW, features=list(GROUPS), training=FROZEN).fit(train)
    expected = build("structure", learner="logistic", groups=GROUPS).fit(train).predict_proba(unseen)
    assert model.predict_proba(unseen) == pytest.approx(expected, abs=1e-6)
