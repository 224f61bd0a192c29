from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from torch import nn

from pairrank.data.battles import Battles
from pairrank.data.folder import find_data
from pairrank.encoders.catalogue import Encoder
from pairrank.errors import UserError
from pairrank.evaluation.scoring import log_loss
from pairrank.models.base import build
from pairrank.models.heads.neural import HEADS, build_head
from pairrank.models.heads.sides import SiameseNetwork
from pairrank.models.saving import load_model, save_model
from pairrank.models.siamese import Siamese
from pairrank.runs.cross_validation import cross_validate
from pairrank.runs.experiment_files import load_experiment
from pairrank.runs.resolution import resolve_run
from tests.support.architectures import WINDOW, write_checkpoint
from tests.support.battles import WORDS, arena_of_words, conversations, plain_battles, write_folder
from tests.support.fine_tuning import FAST
from tests.support.reward_models import CHAT, KINDS

TURNS = st.lists(st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join), min_size=1, max_size=3).map(tuple)
BATTLES = st.lists(st.tuples(TURNS, TURNS, TURNS), min_size=1, max_size=12).map(lambda rows: conversations(*rows))
OPTIONS = st.fixed_dictionaries(
    {
        "pooling": st.sampled_from(["mean", "cls", "attention"]),
        "layout": st.sampled_from(["pair", "apart"]),
        "share": st.sampled_from(["side", "battle"]),
        "budget": st.sampled_from(["fair", "head+tail", "latest"]),
        "lengths": st.booleans(),
        "max_tokens": st.sampled_from([12, 32]),
    }
)


def make(encoder: Path, **options) -> Siamese:
    plain = {"encoder": [str(encoder)], "max_tokens": WINDOW, "hidden": 8, "training": FAST}
    return Siamese(**plain | options)


def random_weights(encoder: Path, seed: int = 0, **options) -> Siamese:
    """Return an untrained siamese model with large weights in its head, so that its margins are not near 0."""
    model = make(encoder, seed=seed, **options)
    model._open(encoder)
    with torch.no_grad():
        for parameter in model.module_.head.parameters():
            parameter.mul_(5)
    return model


# --- Symmetry


@given(BATTLES, OPTIONS, st.integers(0, 99), st.sampled_from([1, 3, 64]))
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_predicting_commutes_with_swapping_in_fp32_for_any_batch_size(
    tiny_bert: Path, battles: Battles, options, seed: int, batch_size: int
):
    model = random_weights(tiny_bert, seed, **options)
    other = copy(model)
    other.training = replace(FAST, batch_size=batch_size)
    swapped = other.predict_proba(battles.swap())[:, [1, 0, 2]]
    assert swapped == pytest.approx(model.predict_proba(battles), abs=1e-6)


@given(BATTLES, OPTIONS, st.integers(0, 99))
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_predicting_commutes_with_swapping_in_bf16_for_the_same_battles(tiny_bert, battles: Battles, options, seed):
    model = random_weights(tiny_bert, seed, **options, training=replace(FAST, precision="bf16"))
    swapped = model.predict_proba(battles.swap())[:, [1, 0, 2]]
    assert swapped == pytest.approx(model.predict_proba(battles), abs=1e-6)


def test_the_concat_head_is_not_symmetric_and_says_so_unless_both_sides_are_averaged(tiny_bert: Path):
    battles = arena_of_words(9)
    straight, both = (random_weights(tiny_bert, head="concat", both_sides=both) for both in (False, True))
    assert (straight.symmetric, both.symmetric) == (False, True)
    gaps = [
        np.abs(m.predict_proba(battles.swap())[:, [1, 0, 2]] - m.predict_proba(battles)).max()
        for m in (straight, both)
    ]
    assert gaps[0] > 1e-3
    assert gaps[1] < 1e-6


def test_bf16_differs_from_fp32_but_little(tiny_bert: Path):
    battles = arena_of_words(9)
    exact, rough = (make(tiny_bert, training=replace(FAST, precision=precision)) for precision in ("fp32", "bf16"))
    for model in (exact, rough):
        model._open(tiny_bert)
    gap = np.abs(exact.predict_proba(battles) - rough.predict_proba(battles)).max()
    assert 1e-7 < gap < 2e-2


# --- Learning


@pytest.mark.usefixtures("without_checkpoints")
@pytest.mark.parametrize("kind", ["tiny_bert", pytest.param("tiny_distilbert", marks=pytest.mark.slow)])
@pytest.mark.parametrize("head", HEADS)
def test_fine_tuning_memorises_eight_battles(kind: str, head: str, request: pytest.FixtureRequest):
    battles = replace(arena_of_words(8), winner=np.array([0, 1, 2, 2, 1, 0, 1, 0]))
    recipe = replace(FAST, epochs=60, weight_decay=0.0, head_rate=3.0)
    model = make(
        request.getfixturevalue(kind), training=recipe, head=head, head_dropout=0.0, hidden=32, lengths=False
    ).fit(battles)
    proba = model.predict_proba(battles)
    assert proba.argmax(axis=1).tolist() == battles.labels.tolist()
    assert log_loss(proba, battles.labels) < 0.25


@pytest.mark.parametrize("layout", ["pair", "apart"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "attention"])
@pytest.mark.parametrize("head", HEADS)
def test_every_parameter_has_a_finite_gradient_that_is_not_zero(tiny_bert: Path, head, pooling, layout):
    model = random_weights(tiny_bert, head=head, pooling=pooling, layout=layout)
    rows, _ = model._texts(arena_of_words(8))
    logits = model.module_.eval()(**model._collate(rows))
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0, 1, 2, 0, 0])).backward()
    for name, parameter in model.module_.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # A common shift of all keys does not change the softmax, so that gradient is 0 but for rounding.
        assert (parameter.grad.abs().max() > 1e-9) or "key.bias" in name, name


@pytest.mark.parametrize("layout", ["pair", "apart"])
def test_training_and_prediction_compute_the_same_logits(tiny_bert: Path, layout):
    """A padded batch of 2B texts and each text encoded once, in batches of similar length, give the same logits."""
    battles = arena_of_words(20)
    model = random_weights(tiny_bert, layout=layout)
    with torch.no_grad():
        logits = model.module_.eval()(**model._collate(model._texts(battles)[0]))
    assert model.predict_proba(battles) == pytest.approx(torch.softmax(logits.double(), 1).numpy(), abs=1e-6)


def test_frozen_layers_do_not_change(tiny_bert: Path):
    model = make(tiny_bert, training=replace(FAST, frozen_layers=1, warmup=0.0)).fit(arena_of_words(16))
    fresh = make(tiny_bert)
    fresh._open(tiny_bert)
    before = dict(fresh.module_.encoder.named_parameters())
    for name, parameter in model.module_.encoder.named_parameters():
        frozen = "embeddings" in name or "layer.0." in name
        assert torch.equal(parameter, before[name]) == frozen or "key.bias" in name, name


def test_each_distinct_text_is_encoded_once(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch):
    model = random_weights(tiny_bert, layout="apart")
    encoded: list[int] = []
    inner = type(model.module_.encoder).forward
    monkeypatch.setattr(
        type(model.module_.encoder),
        "forward",
        lambda self, **b: encoded.append(len(b["input_ids"])) or inner(self, **b),
    )
    model.predict_proba(plain_battles(("why", "good", "bad"), ("why", "bad", "good"), ("why", "good", "good")))
    assert sum(encoded) == 3


@pytest.mark.usefixtures("without_checkpoints")
def test_soft_targets_are_learned(tiny_bert: Path):
    battles = arena_of_words(24)
    ties = replace(battles, soft=np.tile([0.05, 0.05, 0.9], (24, 1)))
    recipe = replace(FAST, epochs=12)
    soft, hard = (make(tiny_bert, training=recipe, soft_targets=s).fit(ties).predict_proba(battles) for s in (1, 0))
    assert soft[:, 2].mean() > 0.7 > hard[:, 2].mean()


def test_activation_checkpointing_computes_twice_and_gives_the_same_weights(tiny_bert: Path, monkeypatch):
    battles, weights, counts = arena_of_words(8), [], []
    for checkpointing in (False, True):
        inner, count = Siamese._open, []

        def counting(self, folder, inner=inner, count=count):
            inner(self, folder)
            layer = self.module_.encoder.transformer.model.encoder.layer[0].intermediate
            layer.register_forward_hook(lambda *_: count.append(1))

        with monkeypatch.context() as patch:
            patch.setattr(Siamese, "_open", counting)
            recipe = replace(FAST, epochs=1, activation_checkpointing=checkpointing)
            model = make(tiny_bert, training=recipe, hidden_dropout=0.2).fit(battles)
        weights.append(dict(model.module_.named_parameters()))
        counts.append(len(count))
    assert counts[1] == 2 * counts[0] > 0
    torch.testing.assert_close(weights[1], weights[0], atol=1e-6, rtol=1e-5)


# --- Saving


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_the_head_and_the_pooling_are_saved_with_the_encoder(tiny_bert: Path, tmp_path: Path, pooling):
    battles = arena_of_words(9)
    model = make(tiny_bert, pooling=pooling).fit(arena_of_words(16))
    save_model(model, tmp_path)
    assert np.array_equal(load_model(tmp_path).predict_proba(battles), model.predict_proba(battles))
    # A head of another width is refused, not filled with random weights.
    with pytest.raises((UserError, RuntimeError)):
        make(tiny_bert, hidden=9).load(tmp_path)


def test_the_saved_encoder_opens_with_sentence_transformers_alone(tiny_bert: Path, tmp_path: Path):
    model = make(tiny_bert).fit(arena_of_words(16))
    save_model(model, tmp_path)
    opened = SentenceTransformer(str(tmp_path), device="cpu", local_files_only=True)
    rows, _ = model._texts(plain_battles(("why", "good", "bad")))
    batch = model.module_.encoder.collate([rows[0].a])
    with torch.no_grad():
        ours = model.module_.encoder.eval()(**batch)
        theirs = opened.eval()(dict(batch))["sentence_embedding"]
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_load_refuses_a_folder_without_the_head(tiny_bert: Path, tmp_path: Path):
    save_model(make(tiny_bert).fit(arena_of_words(8)), tmp_path)
    with pytest.raises(UserError, match="not a head of this model"):
        make(tiny_bert, pooling="attention").load(tmp_path)


# --- Refusals


def test_a_folder_without_a_text_encoder_is_refused(tmp_path: Path, tiny_bert: Path):
    for file in tiny_bert.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match="cannot be opened as a text encoder"):
        make(tmp_path).fit(arena_of_words(8))


def test_a_window_beyond_the_encoders_positions_is_refused(tiny_bert: Path):
    with pytest.raises(UserError, match=r"max_tokens = 65: .* has positions for 64 tokens"):
        make(tiny_bert, max_tokens=65).fit(arena_of_words(8))


@pytest.mark.parametrize(("attention", "hidden"), [(0.0, 0.0), (0.25, 0.4)])
@pytest.mark.parametrize("kind", ["tiny_bert", "tiny_distilbert"])
def test_dropout_reaches_the_encoder(kind: str, attention: float, hidden: float, request: pytest.FixtureRequest):
    model = make(request.getfixturevalue(kind), attention_dropout=attention, hidden_dropout=hidden)
    model._open(request.getfixturevalue(kind))
    shares = {m.p for m in model.module_.encoder.modules() if isinstance(m, nn.Dropout)}
    assert shares == {attention, hidden}


# --- Resuming


@pytest.mark.parametrize("where", ["in the second epoch", "while it predicts", "while it saves"])
def test_a_run_that_is_killed_and_resumed_gives_the_same_predictions(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
):
    write_folder(tmp_path / "data")
    experiment = tmp_path / "toy.toml"
    experiment.write_text(
        f"[model]\nname = 'siamese'\nencoder = '{tiny_bert}'\nmax_tokens = {WINDOW}\nhidden = 8\n"
        "hidden_dropout = 0.2\n"
        "[model.training]\nlearning_rate = 3e-3\nepochs = 2\nbatch_size = 8\nprecision = 'fp32'\n"
    )

    def run(folder: str) -> Path:
        cross_validate(
            resolve_run(load_experiment(str(experiment)), find_data(tmp_path / "data"), tmp_path / folder), [0]
        )
        return next((tmp_path / folder).iterdir())

    undisturbed = run("whole")
    forwards = 0

    def dying(self, *arguments, inner=SiameseNetwork.forward, **batch):
        nonlocal forwards
        forwards += self.training
        # 32 battles in the training folds minus those held out, eight per batch: at most four batches per epoch.
        if forwards > 5:
            raise KeyboardInterrupt
        return inner(self, *arguments, **batch)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if where == "in the second epoch":
            patch.setattr(SiameseNetwork, "forward", dying)
        else:
            patch.setattr(Siamese, "predict_proba" if where == "while it predicts" else "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run("killed")
    [folder] = (tmp_path / "killed").iterdir()
    assert list((folder / "fold0" / "checkpoints").glob("checkpoint-*/complete.json"))
    run("killed")
    for file in ("oof.csv", "test/fold0.csv", "fold0/head.safetensors", "fold0/model.safetensors"):
        assert (folder / file).read_bytes() == (undisturbed / file).read_bytes(), file


# --- Real weights


@pytest.mark.slow
def test_real_weights_are_encoded_as_sentence_transformers_does_and_stay_symmetric(minilm: Encoder):
    battles = arena_of_words(6)
    model = Siamese(encoder=["minilm"], max_tokens=WINDOW, training=replace(FAST, precision="fp32"))
    model._open(minilm.folder)
    opened = SentenceTransformer(str(minilm.folder), device="cpu", local_files_only=True)
    [row], _ = model._texts(plain_battles(("why", "good", "bad")))
    with torch.no_grad():
        ours = model.module_.encoder.eval()(**model.module_.encoder.collate([row.a]))
        theirs = opened[0].eval()(model.module_.encoder.collate([row.a]))["token_embeddings"].mean(dim=1)
    assert torch.allclose(ours, theirs, atol=1e-5)
    swapped = model.predict_proba(battles.swap())[:, [1, 0, 2]]
    assert swapped == pytest.approx(model.predict_proba(battles), abs=1e-6)
    assert sum(p.numel() for p in model.module_.parameters()) == pytest.approx(22.7e6, rel=0.02)


@pytest.mark.slow
def test_a_tiny_training_of_real_weights_gives_sane_predictions(minilm: Encoder):
    battles = arena_of_words(6)
    recipe = replace(FAST, epochs=1, batch_size=3, learning_rate=2e-5)
    model = Siamese(encoder=["minilm"], max_tokens=WINDOW, training=recipe).fit(battles)
    assert model.report()["encoder"]["sha256"] == minilm.sha256
    proba = model.predict_proba(battles)
    assert np.abs(proba - 1 / 3).max() < 0.25


def test_every_head_can_be_chosen_and_only_a_symmetric_one_makes_the_model_symmetric():
    choices, own = get_args(get_type_hints(Siamese)["head"])
    assert set(get_args(choices)) == {*HEADS, "pretrained"}
    assert own is str  # the name of a head of the user's own
    assert build("siamese", head="pretrained").symmetric
    for head, kind in HEADS.items():
        a, b, shared = torch.randn(5, 4), torch.randn(5, 4), torch.randn(5, 2)
        module = build_head(head, 4, 2, 7, 0.0, seed=0).eval()
        same = torch.allclose(module(b, a, shared), module(a, b, shared)[:, [1, 0, 2]], atol=1e-6)
        assert same == kind.symmetric == build("siamese", head=head).symmetric


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("siamese", {"hidden": 0}, "hidden = 0: expected 1 or more"),
        (
            "siamese",
            {"max_tokens": 0, "head_dropout": 1.5},
            r"max_tokens = 0: .* head_dropout = 1\.5: expected a share",
        ),
        ("siamese", {"attention_dropout": 1.0}, r"attention_dropout = 1\.0: expected a share from 0 to below 1"),
        ("siamese", {"template": "chat", "layout": "apart"}, 'Set layout to "pair"'),
        ("siamese", {"template": "chat", "share": "battle"}, 'Set share to "side"'),
        ("baseline", {"hidden_dropout": -0.1}, r"hidden_dropout = -0\.1: expected a share"),
        ("judge", {"max_tokens": 0}, "max_tokens = 0: expected 1 or more"),
    ],
)
def test_hyperparameters_of_fine_tuned_models_out_of_bounds_are_refused(name: str, values, message: str):
    with pytest.raises(UserError, match=message):
        build(name, **values)


def test_a_model_that_reads_chats_is_symmetric_and_saved(tmp_path: Path):
    folder, battles = write_checkpoint(tmp_path / "chatty", KINDS["llama"], chat=CHAT), arena_of_words(9, seed=3)
    model = make(folder, template="chat", training=FAST).fit(arena_of_words(16))
    found = model.predict_proba(battles)
    assert model.predict_proba(battles.swap())[:, [1, 0, 2]] == pytest.approx(found, abs=1e-6)
    alone = [model.predict_proba(battles.take(slice(i, i + 1)))[0] for i in range(len(battles))]
    assert np.array(alone) == pytest.approx(found, abs=1e-5)
    save_model(model, tmp_path / "saved")
    assert np.array_equal(load_model(tmp_path / "saved").predict_proba(battles), found)


# --- Pooling over the answer


@pytest.mark.parametrize("template", ["plain", "chat"])
@pytest.mark.parametrize("kind", ["bert", "llama"])
@given(BATTLES, st.sampled_from(["fair", "head+tail", "latest"]), st.integers(0, 99))
@settings(deadline=None, max_examples=6, suppress_health_check=[HealthCheck.too_slow])
def test_pooling_over_the_answer_commutes_with_swapping(readers, kind: str, template: str, battles, budget, seed):
    options = {"template": template, "budget": budget, "training": replace(FAST, precision="fp32")}
    model = random_weights(readers[kind], seed, pooling="answer", max_tokens=48, **options)
    found = model.predict_proba(battles)
    assert model.predict_proba(battles.swap())[:, [1, 0, 2]] == pytest.approx(found, abs=1e-6)
    alone = [model.predict_proba(battles.take(slice(i, i + 1)))[0] for i in range(len(battles))]
    assert np.array(alone) == pytest.approx(found, abs=1e-5)


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of an encoder and a causal decoder that both have a chat template."""
    folder = tmp_path_factory.mktemp("readers")
    return {kind: write_checkpoint(folder / kind, made, chat=CHAT) for kind, made in KINDS.items()}


@pytest.mark.parametrize("template", ["plain", "chat"])
def test_pooling_over_the_answer_trains_as_it_predicts_and_is_saved(readers, tmp_path: Path, template: str):
    battles = arena_of_words(9, seed=3)
    model = make(readers["llama"], pooling="answer", template=template).fit(arena_of_words(16))
    found = model.predict_proba(battles)
    batch = model._collate(model._texts(battles)[0])
    assert batch["answer_mask"].any(dim=2).all()
    with torch.no_grad():
        logits = model.module_.eval()(**batch)
    assert found == pytest.approx(torch.softmax(logits.double(), 1).numpy(), abs=1e-5)
    save_model(model, tmp_path)
    assert np.array_equal(load_model(tmp_path).predict_proba(battles), found)


def test_pooling_over_the_answer_gives_every_parameter_a_gradient(tiny_bert: Path):
    model = random_weights(tiny_bert, pooling="answer")
    logits = model.module_.eval()(**model._collate(model._texts(arena_of_words(8))[0]))
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0, 1, 2, 0, 0])).backward()
    for name, parameter in model.module_.named_parameters():
        assert parameter.grad is not None, name
        assert (parameter.grad.abs().max() > 1e-9) or "key.bias" in name, name


def test_pooling_over_the_answer_is_refused_where_answers_are_read_alone():
    with pytest.raises(UserError, match=r'pooling = "answer": the layout "apart" .* Set layout to "pair"'):
        Siamese(pooling="answer", layout="apart")


def test_a_chat_without_a_template_is_refused(tiny_bert: Path):
    with pytest.raises(UserError, match="has no chat template"):
        make(tiny_bert, template="chat").fit(arena_of_words(8))
