import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from pairrank.data.battles import Battles, concatenate, object_array
from pairrank.data.folds import prompt_keys
from pairrank.data.probabilities import softmax
from pairrank.encoders.catalogue import Encoder
from pairrank.encoders.windows import template_rows
from pairrank.errors import UserError
from pairrank.evaluation.scoring import log_loss
from pairrank.models.baseline import Baseline
from pairrank.models.saving import load_model, save_model
from pairrank.training import fine_tuning
from pairrank.training.fine_tuning import Rows, TrainingHistory
from tests.support.architectures import WINDOW, write_checkpoint
from tests.support.battles import arena_of_words, plain_battles
from tests.support.fine_tuning import FAST
from tests.support.tokenizers import VOCABULARY


@pytest.fixture(scope="module")
def fitted(tiny_bert: Path) -> Baseline:
    return make(tiny_bert).fit(arena_of_words(16))


def make(encoder: Path, **options) -> Baseline:
    return Baseline(**{"encoder": [str(encoder)], "max_tokens": WINDOW, "training": FAST} | options)


def started(encoder: Path, **options) -> Baseline:
    """Return a baseline before its training, as `fit` builds it."""
    model = make(encoder, **options)
    model._start_from(Encoder("tiny", encoder, ""))
    return model


def captured(monkeypatch: pytest.MonkeyPatch, model: Baseline, battles: Battles) -> tuple[Rows, Rows | None]:
    """Return the training and the validation rows of `fit`, without fine-tuning."""
    seen: list = []

    def fine_tune(module, train, validation, *_):
        seen.extend([train, validation])
        return TrainingHistory()

    with monkeypatch.context() as patch:
        patch.setattr(fine_tuning, "fine_tune", fine_tune)
        model.fit(battles)
    return seen[0], seen[1]


def words(row: np.ndarray) -> str:
    return " ".join(VOCABULARY[i] for i in row)


# --- Learning


@pytest.mark.usefixtures("without_checkpoints")
@pytest.mark.parametrize("kind", ["tiny_bert", pytest.param("tiny_distilbert", marks=pytest.mark.slow)])
def test_fine_tuning_memorises_eight_battles(kind, request: pytest.FixtureRequest):
    battles = replace(arena_of_words(8), winner=np.array([0, 1, 2, 2, 1, 0, 1, 0]))
    recipe = replace(FAST, epochs=60, weight_decay=0.0)
    model = make(request.getfixturevalue(kind), training=recipe).fit(battles)
    proba = model.predict_proba(battles)
    assert proba.argmax(axis=1).tolist() == battles.labels.tolist()
    assert log_loss(proba, battles.labels) < 0.25


@pytest.mark.parametrize("kind", ["tiny_bert", pytest.param("tiny_distilbert", marks=pytest.mark.slow)])
def test_every_parameter_has_a_finite_gradient_that_is_not_zero(kind, request: pytest.FixtureRequest):
    model = started(request.getfixturevalue(kind))
    tokens, _ = model._tokens(arena_of_words(8))
    model.module_.eval()
    logits = model.module_(**model._collate(tokens))
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0, 1, 2, 0, 0])).backward()
    used = {
        "word_embeddings": sorted(set(np.concatenate(tokens).tolist()) - {0}),
        "position_embeddings": list(range(max(map(len, tokens)))),
        "token_type_embeddings": [0],
    }
    names = [name for name, _ in model.module_.named_parameters()]
    assert any("classifier.weight" in name for name in names)
    assert any("pooler" in name or "pre_classifier" in name for name in names)
    for name, parameter in model.module_.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if "key.bias" in name or "k_lin.bias" in name:
            # A common shift of all keys does not change the softmax, so this gradient is 0 but for rounding.
            assert parameter.grad.abs().max() < 1e-6
            continue
        rows = next((rows for part, rows in used.items() if part in name), None)
        if rows is None:
            assert parameter.grad.abs().max() > 1e-9, name
        else:
            assert (parameter.grad[rows].abs().amax(dim=1) > 1e-9).all(), name


def test_activation_checkpointing_computes_twice_and_gives_the_same_weights(tiny_bert: Path, monkeypatch):
    battles = arena_of_words(8)
    recipe = replace(FAST, epochs=1, batch_size=8)
    count = {True: 0, False: 0}
    weights = {}
    for checkpointing in (False, True):
        start = Baseline._start_from

        def counting(self, encoder, checkpointing=checkpointing, start=start):
            start(self, encoder)
            inner = self.module_.classifier.bert.encoder.layer[0].intermediate
            inner.register_forward_hook(lambda *_: count.update({checkpointing: count[checkpointing] + 1}))

        with monkeypatch.context() as patch:
            patch.setattr(Baseline, "_start_from", counting)
            model = make(tiny_bert, training=replace(recipe, activation_checkpointing=checkpointing)).fit(battles)
        weights[checkpointing] = dict(model.module_.named_parameters())
    assert count == {False: 1, True: 2}
    # With dropout on: the second computation must draw the same masks.
    torch.testing.assert_close(weights[True], weights[False], atol=1e-6, rtol=1e-5)


def test_the_seed_draws_the_head_and_leaves_the_global_random_state(tiny_bert: Path):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    first, again, other = (started(tiny_bert, seed=seed).module_.classifier.classifier.weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("kind", "name"), [("tiny_bert", "attention_probs_dropout_prob"), ("tiny_distilbert", "attention_dropout")]
)
@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_attention_dropout_reaches_the_attention(
    kind, name, dropout, request: pytest.FixtureRequest, tmp_path: Path
):
    folder = request.getfixturevalue(kind)
    model = started(folder, attention_dropout=dropout)
    assert getattr(model.module_.classifier.config, name) == dropout
    # The shares found in the modules themselves: the attention's, and 0.1 everywhere else.
    attentions = [m for n, m in model.module_.named_modules() if n.endswith(("attention.self", "attention"))]
    found = {p for m in attentions for p in (getattr(m, "attention_dropout", None), getattr(m, "dropout", None))}
    shares = {getattr(p, "p", p) for p in found if p is not None}
    assert dropout in shares
    assert json.loads((folder / "config.json").read_text())[name] == 0.1


# --- Training and validation rows


def repeated(n: int = 120) -> Battles:
    """Return battles in which every prompt occurs twice, with different spelling."""
    once = arena_of_words(n)
    again = replace(
        arena_of_words(n, seed=1),
        id=object_array([f"again {i}" for i in range(n)]),
        prompt=object_array([(f"  {prompt[0].upper()}",) for prompt in once.prompt]),
    )
    return concatenate([once, again])


@pytest.mark.parametrize("augment", [False, True])
def test_no_prompt_or_swapped_copy_is_in_both_training_and_validation(tiny_bert: Path, monkeypatch, augment):
    battles = repeated()
    recipe = replace(FAST, hold_out=0.2)
    training, validation = captured(
        monkeypatch, make(tiny_bert, training=recipe, swap_augmentation=augment), battles
    )
    assert validation is not None
    prompts = [{words(row).split(" response a :")[0] for row in rows.tokens} for rows in (training, validation)]
    assert not prompts[0] & prompts[1]
    assert len(prompts[0] | prompts[1]) == len(set(prompt_keys(battles))) == 120
    assert 0.1 < len(validation) / len(battles) < 0.3
    assert len(training) == (len(battles) - len(validation)) * (2 if augment else 1)
    # Each validation battle occurs once, in its own order.
    assert len({row.tobytes() for row in validation.tokens}) == len(validation)


def test_swap_augmentation_trains_on_both_orders_with_swapped_winners(tiny_bert: Path, monkeypatch):
    battles = plain_battles(("why", "good", "bad"), ("how", "one", "two"), winner=[0, 2])
    training, validation = captured(monkeypatch, make(tiny_bert, swap_augmentation=True), battles)
    assert validation is None
    marks = "[CLS] prompt : {} response a : {} response b : {} [SEP]"
    targets = {words(row): target.tolist() for row, target in zip(training.tokens, training.targets, strict=True)}
    assert targets == {
        marks.format("why", "good", "bad"): [1, 0, 0],
        marks.format("why", "bad", "good"): [0, 1, 0],
        marks.format("how", "one", "two"): [0, 0, 1],
        marks.format("how", "two", "one"): [0, 0, 1],
    }


def test_soft_targets_and_smoothing_apply_to_training_and_winners_to_validation(tiny_bert: Path, monkeypatch):
    battles = arena_of_words(60)
    teacher = np.tile([0.2, 0.3, 0.5], (60, 1))
    recipe = replace(FAST, hold_out=0.2, label_smoothing=0.3)
    model = make(tiny_bert, training=recipe, soft_targets=True)
    training, validation = captured(monkeypatch, model, replace(battles, soft=teacher))
    assert validation is not None
    assert training.targets == pytest.approx(np.tile([0.24, 0.31, 0.45], (len(training), 1)))
    assert set(map(tuple, validation.targets.tolist())) <= {(1, 0, 0), (0, 1, 0), (0, 0, 1)}


def test_model_names_are_not_an_input(tiny_bert: Path, monkeypatch, fitted: Baseline):
    battles = arena_of_words(12)
    names = {f"model_{side}": object_array([f"moon {side}"] * 12) for side in "ab"}
    plain, _ = captured(monkeypatch, make(tiny_bert), battles)
    named, _ = captured(monkeypatch, make(tiny_bert), replace(battles, **names))
    assert [row.tolist() for row in plain.tokens] == [row.tolist() for row in named.tokens]
    assert np.array_equal(fitted.predict_proba(battles), fitted.predict_proba(replace(battles, **names)))


@pytest.mark.parametrize("budget", ["fair", "head+tail", "latest", "right"])
@pytest.mark.parametrize("cells", ["turns", "json"])
def test_budget_and_cells_apply_in_training(tiny_bert: Path, monkeypatch, budget, cells):
    """The rows equal those of `template_rows` for the same policy, and no two policies give the same rows."""
    battles = arena_of_words(16)
    many = tuple("the a of to and in" * 9 for _ in range(3))
    long = replace(battles, response_a=object_array([(f"{i}", *many) for i in range(len(battles))]))
    long = replace(long, prompt=object_array([(f"{p[0]}", "x", "y", "z") for p in long.prompt]))
    long = replace(long, response_b=object_array([("no", "so", *many[:2]) for _ in range(len(battles))]))
    model = make(tiny_bert, budget=budget, cells=cells, training=replace(FAST, hold_out=0.0))
    rows, _ = captured(monkeypatch, model, long)
    made = {}
    for policy in ("fair", "head+tail", "latest", "right"):
        for form in ("turns", "json"):
            tokens, _ = template_rows(long, model.tokenizer_, WINDOW, policy, form)
            made[policy, form] = [row.tolist() for row in tokens]
    assert [row.tolist() for row in rows.tokens] == made[budget, cells]
    # A JSON cell is a single turn, so no older turn can be dropped.
    same = 2 if cells == "json" and budget in ("fair", "latest") else 1
    assert sum(value == made[budget, cells] for value in made.values()) == same


def test_training_refuses_battles_without_winners(tiny_bert: Path):
    with pytest.raises(UserError, match="have no winners"):
        make(tiny_bert).fit(replace(arena_of_words(4), winner=None))


# --- Prediction


def test_probabilities_are_one_softmax_of_the_classifiers_logits(fitted: Baseline):
    """Two softmaxes in a row would leave no probability above e / (e + 2) = 0.576."""
    battles = arena_of_words(6, seed=3)
    proba = fitted.predict_proba(battles)
    with torch.no_grad():
        for row, expected in zip(fitted._tokens(battles)[0], proba, strict=True):
            logits = fitted.module_.classifier(input_ids=torch.tensor(row[None], dtype=torch.long)).logits
            assert torch.softmax(logits.double(), dim=1)[0].numpy() == pytest.approx(expected, abs=1e-6)
    sharp = make(Path(fitted.encoder[0])).fit(battles)
    with torch.no_grad():
        sharp.module_.classifier.classifier.weight.mul_(100)
    assert sharp.predict_proba(battles).max() > 0.9


def test_the_batch_size_changes_nothing_in_fp32(fitted: Baseline):
    battles = arena_of_words(9, seed=3)
    reference = fitted.predict_proba(battles)
    alone = [fitted.predict_proba(battles.take(slice(i, i + 1)))[0] for i in range(9)]
    assert np.array(alone) == pytest.approx(reference, abs=1e-6)


def test_padding_to_the_window_changes_nothing_but_the_width(tiny_bert: Path, tmp_path: Path, fitted: Baseline):
    battles = arena_of_words(5, seed=3)
    save_model(fitted, tmp_path)
    wide = make(tiny_bert, padding="window").load(tmp_path)
    assert wide.predict_proba(battles) == pytest.approx(fitted.predict_proba(battles), abs=1e-6)
    tokens, _ = wide._tokens(battles)
    assert wide._collate(tokens)["input_ids"].shape == (5, WINDOW)
    assert fitted._collate(tokens)["input_ids"].shape == (5, max(map(len, tokens)))


def test_both_sides_are_symmetric_and_one_side_is_not(tiny_bert: Path, tmp_path: Path, fitted: Baseline):
    battles = arena_of_words(9, seed=3)
    save_model(fitted, tmp_path)
    both = make(tiny_bert, both_sides=True).load(tmp_path)
    assert both.symmetric
    assert not fitted.symmetric
    straight, swapped = (fitted.predict_proba(part)[:, order] for part, order in turned(battles))
    assert np.abs(straight - swapped).max() > 1e-3
    straight_both, swapped_both = (both.predict_proba(part)[:, order] for part, order in turned(battles))
    assert swapped_both == pytest.approx(straight_both, abs=1e-6)
    expected = np.sqrt(straight * swapped)
    assert straight_both == pytest.approx(expected / expected.sum(axis=1, keepdims=True), abs=1e-6)


def turned(battles: Battles):
    return (battles, [0, 1, 2]), (battles.swap(), [1, 0, 2])


# --- Saving


def test_a_saved_baseline_opens_with_transformers_alone(fitted: Baseline, tmp_path: Path):
    save_model(fitted, tmp_path)
    opened = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert opened.config.id2label == {0: "Model A", 1: "Model B", 2: "Tie"}
    assert opened.config.label2id == {"Model A": 0, "Model B": 1, "Tie": 2}
    for name, weights in fitted.module_.classifier.named_parameters():
        assert torch.equal(opened.get_parameter(name), weights), name
    assert {path.suffix for path in tmp_path.iterdir()} <= {".json", ".safetensors", ".txt"}


def test_a_loaded_baseline_predicts_the_same(fitted: Baseline, tmp_path: Path):
    battles = arena_of_words(9, seed=3)
    save_model(fitted, tmp_path)
    loaded = load_model(tmp_path)
    assert np.array_equal(loaded.predict_proba(battles), fitted.predict_proba(battles))
    assert loaded.report()["parameters"] == fitted.report()["parameters"]


def test_the_report_names_the_encoder_and_the_tokens_kept(tiny_bert: Path, fitted: Baseline):
    fitted.predict_proba(plain_battles(("why red", "yes", "no good"), ("why", "red " * 90, "")))
    report = fitted.report()
    assert report["parameters"] == sum(p.numel() for p in fitted.module_.parameters())
    assert report["encoder"]["name"] == str(tiny_bert)
    assert len(report["encoder"]["sha256"]) == 64
    # A window of 64 holds 54 tokens of text: one of the prompt, 53 of A.
    assert report["tokens"] == {
        "kept": {"prompt": 3, "response_a": 54, "response_b": 2},
        "of": {"prompt": 3, "response_a": 91, "response_b": 2},
    }
    assert report["lost_a_side"] == 0
    assert len(report["history"]) == FAST.epochs


# --- Limits and noise


def test_a_window_beyond_the_positions_is_refused(tiny_bert: Path):
    with pytest.raises(UserError, match=rf"max_tokens = {WINDOW + 1}: .* has positions for {WINDOW} tokens"):
        make(tiny_bert, max_tokens=WINDOW + 1).fit(arena_of_words(4))


def test_a_window_without_room_is_refused(tiny_bert: Path):
    with pytest.raises(UserError, match="no room for prompt, A and B"):
        make(tiny_bert, max_tokens=8).fit(arena_of_words(4))


@pytest.mark.parametrize("damage", ["weights", "kind", "json", "code"])
def test_an_encoder_that_cannot_be_opened_is_refused_and_its_code_never_runs(tiny_bert: Path, tmp_path, damage):
    folder = tmp_path / "copy"
    shutil.copytree(tiny_bert, folder)
    config = json.loads((folder / "config.json").read_text())
    if damage == "weights":
        (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    elif damage == "kind":
        (folder / "config.json").write_text(json.dumps(config | {"model_type": "brain"}))
    elif damage == "json":
        (folder / "config.json").write_text("{")
    else:
        (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\n")
        own = {"auto_map": {"AutoConfig": "own.Own"}, "model_type": "own"}
        (folder / "config.json").write_text(json.dumps(config | own))
    with pytest.raises(UserError, match=r"copy: (cannot be opened as a text encoder|config\.json is damaged)"):
        make(folder).fit(arena_of_words(4))
    assert not (tmp_path / "ran").exists()


def test_nothing_is_printed_without_a_terminal(tiny_bert: Path, tmp_path: Path, capfd, monkeypatch):
    from transformers.utils import logging

    logging.enable_progress_bar()
    battles, verbosity, collate = arena_of_words(16), set(), Baseline._collate

    def remember(self, rows):
        if self.module_.training:
            verbosity.add(logging.get_verbosity())
        return collate(self, rows)

    monkeypatch.setattr(Baseline, "_collate", remember)
    model = make(tiny_bert, training=replace(FAST, hold_out=0.3, patience=1)).fit(battles, tmp_path)
    save_model(model, tmp_path)
    load_model(tmp_path).predict_proba(battles)
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")
    # pytest does not capture what the library logs, so check its level.
    assert verbosity == {logging.ERROR}
    assert logging.is_progress_bar_enabled()


# --- Real weights


@pytest.mark.slow
def test_real_weights_are_opened_as_they_are(minilm: Encoder):
    from safetensors.torch import load_file

    model = started(minilm.folder, max_tokens=512)
    published = load_file(minilm.folder / "model.safetensors")
    inner = dict(model.module_.classifier.bert.named_parameters())
    assert len(published.keys() & inner.keys()) >= 100
    for name in published.keys() & inner.keys():
        assert torch.equal(inner[name], published[name]), name
    assert sum(p.numel() for p in model.module_.parameters()) == pytest.approx(22.7e6, rel=0.01)
    with pytest.raises(UserError, match="has positions for 512 tokens"):
        started(minilm.folder, max_tokens=513)


@pytest.mark.slow
def test_a_tiny_training_of_real_weights_gives_sane_predictions(minilm: Encoder):
    battles = arena_of_words(6)
    recipe = replace(FAST, epochs=1, batch_size=3, learning_rate=2e-5)
    model = Baseline(encoder=["minilm"], max_tokens=WINDOW, training=recipe).fit(battles)
    assert model.report()["encoder"]["sha256"] == minilm.sha256
    proba = model.predict_proba(battles)
    assert np.abs(proba.sum(axis=1) - 1).max() < 1e-12
    # A new head has training hardly anything: every probability is near a third.
    assert np.abs(proba - 1 / 3).max() < 0.2
    [epoch] = model.report()["history"]
    assert epoch["Step"] == 2
    assert epoch["Training Loss"] == pytest.approx(np.log(3), abs=0.2)


# --- Causal decoders and other heads


def test_a_decoder_is_read_at_its_last_token_even_if_that_is_its_pad_token(tmp_path: Path):
    folder = write_checkpoint(tmp_path, "qwen2")
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"eos_token": "<|endoftext|>"}))
    model = make(folder).fit(arena_of_words(12))
    battles = arena_of_words(5, seed=4)
    classifier, tokenizer = model.module_.classifier.eval(), model.tokenizer_
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == classifier.config.pad_token_id
    rows, _ = model._tokens(battles)
    assert {int(row[-1]) for row in rows} == {tokenizer.pad_token_id}
    expected, by_itself = [], []
    with torch.no_grad():
        for row in rows:
            ids = torch.from_numpy(row)[None].long()
            expected.append(classifier.score(classifier.model(input_ids=ids).last_hidden_state[0, -1]).numpy())
            by_itself.append(classifier(input_ids=ids).logits[0].numpy())
    found = model.predict_proba(battles)
    assert found == pytest.approx(softmax(np.array(expected)), abs=1e-6)
    assert np.abs(found - softmax(np.array(by_itself))).max() > 1e-3  # the classifier reads another token


@pytest.mark.parametrize(("name", "outputs"), [("bert", 1), ("llama", 1), ("distilbert", 5)])
def test_a_head_with_other_outputs_is_replaced_and_logged(tmp_path: Path, log_lines: list[str], name, outputs):
    head = "AutoModelForSequenceClassification"
    folder = write_checkpoint(tmp_path / "given", name, head=head, num_labels=outputs)
    model = make(folder).fit(arena_of_words(12))
    [line] = [line for line in log_lines if "a new head of three outcomes replaces its own" in line]
    assert f"({outputs}, 32)" in line
    save_model(model, tmp_path / "saved")
    battles = arena_of_words(5, seed=4)
    assert np.array_equal(load_model(tmp_path / "saved").predict_proba(battles), model.predict_proba(battles))
    # The new head depends on the seed alone, as that of an encoder without a head does.
    again = make(folder).fit(arena_of_words(12))
    assert np.array_equal(again.predict_proba(battles), model.predict_proba(battles))


def test_a_saved_classifier_with_another_head_is_refused(tmp_path: Path):
    folder = write_checkpoint(tmp_path, "bert", head="AutoModelForSequenceClassification", num_labels=3)
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {"classifier.bias": torch.zeros(5)}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"classifier.bias has the shape \(5,\), expected \(3,\)"):
        Baseline().load(folder)


def test_an_encoder_with_a_decoder_is_read_with_both(tmp_path: Path):
    whole = {"head": "T5ForConditionalGeneration", "decoder_start_token_id": 0}
    folder = write_checkpoint(tmp_path, "t5", **whole)
    model = make(folder).fit(arena_of_words(12))
    assert np.isfinite(model.predict_proba(arena_of_words(5, seed=4))).all()
