"""Fine-tuning that begins with a reward model begins with its scores, and stays symmetric."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification

from pairrank.data.battles import Battles
from pairrank.data.folder import find_data
from pairrank.encoders.catalogue import find_encoder
from pairrank.encoders.reward_scores import Scorer
from pairrank.errors import UserError
from pairrank.evaluation.scoring import log_loss
from pairrank.models.base import build
from pairrank.models.saving import load_model, save_model
from pairrank.models.siamese import Siamese
from pairrank.runs.experiment_files import load_experiment
from pairrank.runs.resolution import resolve_run
from pairrank.training.recipe import parameter_groups
from tests.support.architectures import WINDOW
from tests.support.battles import WORDS, arena_of_words, conversations, write_folder
from tests.support.fine_tuning import FAST
from tests.support.reward_models import write_reward_model

TURNS = st.lists(st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join), min_size=1, max_size=3).map(tuple)
BATTLES = st.lists(st.tuples(TURNS, TURNS, TURNS), min_size=1, max_size=9).map(lambda rows: conversations(*rows))
KINDS = [("bert", False), ("bert", True), ("llama", False), ("llama", True)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, bool], Path]:
    return {
        (kind, chat): write_reward_model(tmp_path_factory.mktemp(f"{kind}-{chat}"), kind, chat=chat)
        for kind, chat in KINDS
    }


def make(folder: Path, **options) -> Siamese:
    plain = {"encoder": [str(folder)], "max_tokens": WINDOW, "head": "pretrained", "training": FAST}
    return Siamese(**plain | options)


def untrained(folder: Path, **options) -> Siamese:
    model = make(folder, **options)
    model._open(folder)
    return model


def scores_of(folder: Path, battles: Battles) -> np.ndarray:
    """Return the scores (n, 2) of both answers, as the model `reward` computes them."""
    reader = Scorer(find_encoder([str(folder)]), WINDOW, precision="fp32")
    sides = (zip(battles.prompt, side, strict=True) for side in (battles.response_a, battles.response_b))
    return np.stack([reader.scores([*side]) for side in sides], axis=1)


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize(("kind", "chat"), KINDS)
def test_before_training_the_margin_is_that_of_the_reward_model(folders, kind: str, chat: bool, lengths: bool):
    """The logit of A among decided battles is the difference of the scores, and so its sign is the same."""
    battles = arena_of_words(40)
    proba = untrained(folders[kind, chat], lengths=lengths).predict_proba(battles)
    scores = scores_of(folders[kind, chat], battles)
    difference = scores[:, 0] - scores[:, 1]
    assert np.log(proba[:, 0] / proba[:, 1]) == pytest.approx(difference, abs=1e-5)
    assert np.array_equal(np.sign(proba[:, 0] - proba[:, 1]), np.sign(difference))
    assert np.abs(difference).min() > 1e-5


@given(
    battles=BATTLES, case=st.sampled_from(KINDS), lengths=st.booleans(), precision=st.sampled_from(["fp32", "bf16"])
)
@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow])
def test_predicting_commutes_with_swapping(folders, battles: Battles, case, lengths: bool, precision: str):
    model = untrained(folders[case], lengths=lengths, training=replace(FAST, precision=precision))
    with torch.no_grad():
        for parameter in model.module_.head.parameters():
            parameter.uniform_(-1, 1)
    swapped = model.predict_proba(battles.swap())[:, [1, 0, 2]]
    assert swapped == pytest.approx(model.predict_proba(battles), abs=1e-6)


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_training_and_prediction_compute_the_same_logits(folders, kind: str):
    battles = arena_of_words(12)
    model = untrained(folders[kind, True])
    with torch.no_grad():
        logits = model.module_.eval()(**model._collate(model._texts(battles)[0]))
    assert model.predict_proba(battles) == pytest.approx(torch.softmax(logits.double(), 1).numpy(), abs=1e-6)


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_every_parameter_has_a_finite_gradient_that_is_not_zero(folders, kind: str):
    model = untrained(folders[kind, False])
    logits = model.module_.eval()(**model._collate(model._texts(arena_of_words(8))[0]))
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0, 1, 2, 0, 0])).backward()
    for name, parameter in model.module_.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # A common shift of all keys does not change the softmax, and a common shift of all scores not the margin.
        shift = "key.bias" in name or name.endswith("classifier.bias")
        assert parameter.grad.abs().max() > 1e-9 or shift, name


@pytest.mark.usefixtures("without_checkpoints")
@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_fine_tuning_memorises_eight_battles(folders, kind: str):
    battles = replace(arena_of_words(8), winner=np.array([0, 1, 2, 2, 1, 0, 1, 0]))
    recipe = replace(FAST, epochs=25, weight_decay=0.0, learning_rate=1e-2, head_rate=5.0)
    proba = make(folders[kind, False], training=recipe).fit(battles).predict_proba(battles)
    decided = battles.labels != 2
    assert (proba[:, :2].argmax(axis=1) == battles.labels)[decided].all()
    assert log_loss(proba, battles.labels) < 0.5


def test_the_head_of_the_reward_model_learns_at_the_rate_of_its_encoder(folders):
    module = untrained(folders["bert", False]).module_
    groups = parameter_groups(module, replace(FAST, learning_rate=1.0, head_rate=30.0))
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    for name, parameter in module.named_parameters():
        assert rates[id(parameter)] == (30.0 if name.startswith("head.") else 1.0), name


@pytest.mark.parametrize(("kind", "chat"), [("bert", False), ("llama", True)])
def test_a_fine_tuned_reward_model_is_saved_whole(folders, tmp_path: Path, kind: str, chat: bool):
    battles = arena_of_words(9)
    model = make(folders[kind, chat]).fit(arena_of_words(16))
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert np.array_equal(loaded.predict_proba(battles), model.predict_proba(battles))
    for one, other in zip(model.module_.parameters(), loaded.module_.parameters(), strict=True):
        assert torch.equal(one, other)
    # It is a reward model again, with the scores that it has learned.
    opened = AutoModelForSequenceClassification.from_pretrained(tmp_path, local_files_only=True)
    assert opened.config.num_labels == 1
    assert not np.allclose(scores_of(tmp_path, battles), scores_of(folders[kind, chat], battles))
    continued = untrained(tmp_path)
    with torch.no_grad():
        continued.module_.head.load_state_dict(model.module_.head.state_dict())
    assert np.array_equal(continued.predict_proba(battles), model.predict_proba(battles))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "apart"}, 'layout = "apart": a reward model reads prompt and answer together'),
        ({"pooling": "mean"}, 'pooling = "mean": a reward model has a pooling of its own. Set pooling to "auto"'),
        (
            {"pooling": "answer"},
            'pooling = "answer": a reward model has a pooling of its own. Set pooling to "auto"',
        ),
        ({"share": "battle"}, 'share = "battle": each side has a window of its own'),
    ],
)
def test_what_a_reward_model_cannot_do_is_refused_in_words(options, message: str):
    with pytest.raises(UserError, match=message):
        build("siamese", head="pretrained", **options)


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_a_run_keeps_the_pooling_of_the_reward_model(folders, tmp_path: Path, kind: str):
    """A run replaces pooling = "auto" by what its encoder decides, which a reward model has decided itself."""
    write_folder(tmp_path / "data")
    file = tmp_path / "toy.toml"
    file.write_text(f"[model]\nname = 'siamese'\nencoder = '{folders[kind, True]}'\nhead = 'pretrained'\n")
    run = resolve_run(load_experiment(str(file)), find_data(tmp_path / "data"), tmp_path / "runs")
    model = run.experiment.build().bare
    assert isinstance(model, Siamese)
    assert (model.head, model.pooling) == ("pretrained", "auto")


def test_a_new_head_reads_plain_pairs_unless_it_is_told_otherwise(folders):
    battles = arena_of_words(6)
    rows = {}
    for template in ("auto", "plain", "chat"):
        model = Siamese(encoder=[str(folders["llama", True])], max_tokens=WINDOW, template=template)
        model._open(folders["llama", True])
        rows[template] = [row.a.tolist() for row in model._texts(battles)[0]]
    assert rows["auto"] == rows["plain"]
    scored = untrained(folders["llama", True])
    assert rows["chat"] == [row.a.tolist() for row in scored._texts(battles)[0]]


def test_an_encoder_without_a_head_is_refused(tiny_bert: Path):
    with pytest.raises(UserError, match="its weights have no head"):
        make(tiny_bert).fit(arena_of_words(8))
