"""An adapter and a head are all that a training with an adapter changes, saves and loads."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, safe_open
from transformers import AutoModel, AutoModelForSequenceClassification

from pairrank.data.folds import hold_out
from pairrank.encoders.adapter_settings import AdapterSettings
from pairrank.encoders.catalogue import find_encoder
from pairrank.errors import UserError
from pairrank.evaluation.scoring import log_loss
from pairrank.files import sha256_of
from pairrank.models.base import Model, build
from pairrank.models.saving import build_saved, load_model, save_model
from pairrank.training.monitor import Monitor
from pairrank.training.recipe import Recipe
from tests.support.architectures import WINDOW, write_checkpoint
from tests.support.battles import arena_of_words
from tests.support.runs import complaint

RECIPE = Recipe(learning_rate=1e-2, epochs=2, batch_size=8, hold_out=0.0, precision="fp32")
ADAPTER = AdapterSettings(rank=2, alpha=4.0)
LINES = [
    ("siamese", "qwen2"),
    ("baseline", "llama"),
    *(
        pytest.param((model, base), marks=pytest.mark.slow)
        for model, base in (
            ("siamese", "gemma2"),
            ("siamese", "llama"),
            ("siamese", "bert"),
            ("siamese", "deberta-v2"),
            ("baseline", "qwen2"),
            ("baseline", "gemma2"),
            ("baseline", "bert"),
            ("baseline", "modernbert"),
        )
    ),
]
"""Models and architectures; the fast tests use one each."""
BATTLES = arena_of_words(12)
UNSEEN = arena_of_words(8, seed=3)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory):
    """A function that returns the folder of a random checkpoint of an architecture."""
    home = tmp_path_factory.mktemp("bases")

    def base(name: str) -> Path:
        return home / name if (home / name).is_dir() else write_checkpoint(home / name, name)

    return base


def make(name: str, base: Path, adapter: AdapterSettings = ADAPTER, recipe: Recipe = RECIPE, **more: Any) -> Model:
    if name == "siamese":
        more = {"hidden": 8, "head_dropout": 0.0} | more
    tables = {"training": asdict(recipe), "adapter": asdict(adapter)}
    return build(name, encoder=[str(base)], max_tokens=WINDOW, **tables, **more)


@pytest.fixture(scope="module", params=LINES, ids=lambda line: "-".join(line))
def fitted(request: pytest.FixtureRequest, bases) -> Model:
    name, base = request.param
    return make(name, bases(base)).fit(BATTLES)


@pytest.fixture
def saved(fitted: Model, tmp_path: Path) -> Path:
    save_model(fitted, tmp_path / "fold0")
    return tmp_path / "fold0"


# --- What is trained


def test_a_new_adapter_changes_no_output(fitted: Model):
    recipe = replace(RECIPE, learning_rate=0.0, epochs=1)
    name, base = fitted.model_name, Path(fitted.encoder[0])
    with_adapter, without = (
        make(name, base, adapter, recipe).fit(BATTLES).predict_proba(UNSEEN)
        for adapter in (ADAPTER, AdapterSettings())
    )
    assert with_adapter == pytest.approx(without, abs=1e-6)


def test_the_weights_of_the_base_are_untouched_in_memory_and_on_disk(fitted: Model):
    folder = Path(fitted.encoder[0])
    assert fitted.encoder_.sha256 == sha256_of(folder / "model.safetensors")
    published, compared = load_file(folder / "model.safetensors"), 0
    for name, value in fitted.module_.named_parameters():
        plain = name.replace(".base_layer", "")
        [file_name] = [known for known in published if plain.endswith(f".{known}")] or [""]
        if file_name and "lora_" not in name:
            assert torch.equal(value.cpu(), published[file_name]), name
            assert not value.requires_grad
            compared += 1
    assert compared >= len(published) - 2  # a pooler is not used by siamese


def test_adapter_and_head_have_changed(fitted: Model):
    untrained = make(
        fitted.model_name, Path(fitted.encoder[0]), recipe=replace(RECIPE, learning_rate=0.0, epochs=1)
    )
    before = dict(untrained.fit(BATTLES).module_.named_parameters())
    changed = {n: not torch.equal(p, before[n]) for n, p in fitted.module_.named_parameters() if p.requires_grad}
    assert any("lora_" in name for name in changed)
    assert any("lora_" not in name for name in changed)
    assert all(changed.values())


@pytest.mark.usefixtures("without_checkpoints")
@pytest.mark.slow
@pytest.mark.parametrize(("name", "base"), [("siamese", "qwen2"), ("baseline", "llama")])
def test_eight_battles_are_learned_by_heart(bases, name: str, base: str):
    battles = replace(arena_of_words(8), winner=np.array([0, 1, 2, 2, 1, 0, 1, 0]))
    recipe = replace(RECIPE, epochs=40, weight_decay=0.0, head_rate=2.0)
    more = {"hidden": 32, "lengths": False} if name == "siamese" else {}
    model = make(name, bases(base), AdapterSettings(rank=8), recipe, **more).fit(battles)
    proba = model.predict_proba(battles)
    assert proba.argmax(axis=1).tolist() == battles.labels.tolist()
    assert log_loss(proba, battles.labels) < 0.25


def test_a_pooler_that_was_not_pretrained_is_trained_and_saved_with_the_head(tmp_path: Path):
    base = write_checkpoint(tmp_path / "masked", "bert", "AutoModelForMaskedLM")
    model = make("baseline", base).fit(BATTLES)
    expected = model.predict_proba(UNSEEN)
    save_model(model, tmp_path / "fold0")
    names = load_file(tmp_path / "fold0" / "adapter.safetensors")
    assert [name for name in names if name.endswith("pooler.dense.weight")]
    torch.manual_seed(5)
    assert np.array_equal(load_model(tmp_path / "fold0").predict_proba(UNSEEN), expected)


@pytest.mark.parametrize("base", ["bert", *(pytest.param(n, marks=pytest.mark.slow) for n in ("llama", "gemma2"))])
def test_activation_checkpointing_gives_the_same_weights(bases, base: str):
    """Gradients reach the adapter of the lowest layer although the embeddings are frozen."""
    recipe = replace(RECIPE, epochs=1)
    plain, again = (
        make("siamese", bases(base), recipe=replace(recipe, activation_checkpointing=on)).fit(BATTLES)
        for on in (False, True)
    )
    torch.testing.assert_close(
        dict(again.module_.named_parameters()), dict(plain.module_.named_parameters()), atol=1e-6, rtol=1e-4
    )
    lowest = [p for n, p in again.module_.named_parameters() if ".0." in n and "lora_B" in n]
    assert lowest
    assert all(p.abs().max() > 0 for p in lowest)


def test_dropout_and_bf16_train_an_adapter(bases):
    adapter = replace(ADAPTER, dropout=0.5, base_bits=16)
    model = make("siamese", bases("qwen2"), adapter, replace(RECIPE, precision="bf16")).fit(BATTLES)
    kept = make("siamese", bases("qwen2"), replace(adapter, dropout=0.0), replace(RECIPE, precision="bf16")).fit(
        BATTLES
    )
    types = {(p.dtype, p.requires_grad) for p in model.module_.parameters()}
    assert types == {(torch.bfloat16, False), (torch.float32, True)}
    assert np.abs(model.predict_proba(UNSEEN) - kept.predict_proba(UNSEEN)).max() > 1e-4


# --- Predictions


def test_the_batch_size_changes_nothing(fitted: Model):
    together = fitted.predict_proba(UNSEEN)
    alone = [fitted.predict_proba(UNSEEN.take(slice(i, i + 1)))[0] for i in range(len(UNSEEN))]
    assert np.array(alone) == pytest.approx(together, abs=1e-5)


@pytest.mark.parametrize("rank", [0, 2])
def test_with_an_adapter_the_limit_of_tokens_holds_in_prediction(bases, rank: int):
    recipe = replace(RECIPE, epochs=1, tokens_at_once=100)
    model = make("baseline", bases("bert"), AdapterSettings(rank=rank), recipe).fit(BATTLES)
    sizes: list[int] = []
    model.module_.register_forward_pre_hook(
        lambda _, given, named: sizes.append(named["input_ids"].numel()), with_kwargs=True
    )
    model.predict_proba(UNSEEN)
    assert (max(sizes) <= 100) == bool(rank)


def test_settings_of_an_adapter_of_rank_0_change_no_bit(bases):
    plain, other = (
        make("baseline", bases("bert"), adapter).fit(BATTLES).predict_proba(UNSEEN)
        for adapter in (AdapterSettings(), AdapterSettings(alpha=3.0, dropout=0.5, dora=True, targets=["query"]))
    )
    assert plain.tobytes() == other.tobytes()


@pytest.mark.parametrize("name", ["baseline", "siamese"])
def test_16_bits_under_an_adapter_differ_little_from_32(bases, tmp_path: Path, name: str):
    proba = {}
    for bits in (16, 32):
        model = make(name, bases("llama"), replace(ADAPTER, base_bits=bits)).fit(BATTLES)
        save_model(model, tmp_path / str(bits))
        proba[bits] = model.predict_proba(UNSEEN)
        assert np.array_equal(load_model(tmp_path / str(bits)).predict_proba(UNSEEN), proba[bits])
    assert 0 < np.abs(proba[16] - proba[32]).max() < 0.05


def test_a_base_in_shards_gives_the_same_predictions(bases, tmp_path: Path):
    whole = bases("llama")
    AutoModel.from_pretrained(whole).save_pretrained(tmp_path / "shards", max_shard_size="60KB")
    for file in whole.glob("tokenizer*"):
        (tmp_path / "shards" / file.name).write_bytes(file.read_bytes())
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    one, other = (
        make("baseline", base).fit(BATTLES).predict_proba(UNSEEN) for base in (whole, tmp_path / "shards")
    )
    assert np.array_equal(one, other)


# --- Saving


def test_a_loaded_model_has_the_trained_adapter_and_the_trained_head(fitted: Model, saved: Path):
    torch.manual_seed(9)
    loaded = load_model(saved)
    assert np.array_equal(loaded.predict_proba(UNSEEN), fitted.predict_proba(UNSEEN))
    ours = dict(loaded.module_.named_parameters())
    for name, value in fitted.module_.named_parameters():
        assert torch.equal(ours[name].cpu(), value.cpu()), name


@pytest.mark.parametrize("file", ["head.safetensors", "adapter.safetensors"])
def test_a_model_with_a_part_of_its_weights_is_refused(saved: Path, file: str):
    from safetensors.torch import save_file

    kept = load_file(saved / file)
    save_file(dict(list(kept.items())[1:]), saved / file)
    record = json.loads((saved / "model.json").read_text())
    record["files"][file] = sha256_of(saved / file)
    (saved / "model.json").write_text(json.dumps(record))
    assert "is missing in the saved adapter and head" in complaint(lambda: load_model(saved))


def test_a_fold_holds_no_weight_of_the_base(fitted: Model, saved: Path, tmp_path: Path):
    names = set()
    for file in saved.glob("*.safetensors"):
        with safe_open(file, "np") as weights:
            names |= set(weights.keys())
    learned = {name for name, value in fitted.module_.named_parameters() if value.requires_grad}
    assert names == learned
    assert {path.suffix for path in saved.iterdir()} == {".json", ".safetensors"}
    size = sum(path.stat().st_size for path in saved.iterdir() if path.name != "head.safetensors")
    base = sum(path.stat().st_size for path in Path(fitted.encoder[0]).glob("*.safetensors"))
    assert size < 0.4 * base  # of the tiny base; at 2,048 wide and rank 16 it is a hundredth


def test_an_adapter_is_not_loaded_on_another_base(bases, tmp_path: Path):
    base = write_checkpoint(tmp_path / "base", "bert")
    save_model(make("siamese", base).fit(BATTLES), tmp_path / "fold0")
    write_checkpoint(tmp_path / "base", "bert", initializer_range=0.2)
    message = complaint(lambda: load_model(tmp_path / "fold0"))
    assert "trained on an encoder with SHA-256" in message
    assert find_encoder([str(base)]).sha256 in message


@pytest.fixture(scope="module")
def plain(bases) -> np.ndarray:
    """Predictions of a siamese model with the adapter of most tests."""
    return make("siamese", bases("bert")).fit(BATTLES).predict_proba(UNSEEN)


@pytest.mark.parametrize(
    "changes",
    [
        {"dora": True},
        {"rank_stabilised": True},
        {"targets": ["query", "value"]},
        {"whole": ["LayerNorm"]},
        {"whole": ["embeddings.LayerNorm"], "base_bits": 16},
    ],
    ids=str,
)
def test_each_setting_changes_the_model_and_survives_saving(
    bases, tmp_path: Path, plain: np.ndarray, changes: dict[str, Any]
):
    model = make("siamese", bases("bert"), replace(ADAPTER, **changes)).fit(BATTLES)
    assert np.abs(model.predict_proba(UNSEEN) - plain).max() > 1e-6
    save_model(model, tmp_path)
    assert np.array_equal(load_model(tmp_path).predict_proba(UNSEEN), model.predict_proba(UNSEEN))
    names = set(load_file(tmp_path / "adapter.safetensors"))
    if "targets" in changes:
        assert {name.split(".lora_")[0].split(".")[-1] for name in names} == {"query", "value"}
    if "whole" in changes:
        assert any(name.endswith("embeddings.LayerNorm.weight") for name in names)


def test_the_report_counts_what_is_trained(fitted: Model):
    report = fitted.report()
    assert report["trained_parameters"] == sum(p.numel() for p in fitted.module_.parameters() if p.requires_grad)
    assert report["parameters"] == sum(p.numel() for p in fitted.module_.parameters())


# --- Interruption


class Killed(BaseException):
    """Stands for whatever ends a process: nothing below may catch it."""


@pytest.mark.parametrize("shift", [0, 1])
def test_a_resumed_training_ends_like_an_undisturbed_one_and_keeps_the_best_epoch(
    bases, tmp_path: Path, shift: int
):
    """With shift 1, other winners are learned than those held out, so that the first epoch is best."""
    recipe = replace(RECIPE, epochs=3, hold_out=0.3, frozen_layers=1, optimizer="adamw")
    adapter = replace(ADAPTER, dropout=0.3)
    battles = arena_of_words(20)
    battles = replace(battles, winner=(battles.labels + shift * ~hold_out(battles, 0.3, salt="watch")) % 3)
    undisturbed = make("siamese", bases("qwen2"), adapter, recipe).fit(battles, tmp_path / "whole")
    losses = [row["Log Loss"] for row in undisturbed.history_.rows]
    assert (losses[0] == min(losses)) == bool(shift)

    def die(epoch: int, loss: float) -> None:
        if epoch == 2:
            raise Killed

    with pytest.raises(Killed):
        make("siamese", bases("qwen2"), adapter, recipe).fit(battles, tmp_path / "fold0", Monitor(battles, die))
    [checkpoint] = (tmp_path / "fold0" / "checkpoints").glob("checkpoint-*")
    kept = set(load_file(checkpoint / "model.safetensors"))
    torch.manual_seed(4)
    epochs: list[int] = []
    monitor = Monitor(battles, lambda epoch, loss: epochs.append(epoch))
    resumed = make("siamese", bases("qwen2"), adapter, recipe).fit(battles, tmp_path / "fold0", monitor)
    assert epochs == [2, 3]
    assert [row["Log Loss"] for row in resumed.history_.rows] == losses
    for name, value in undisturbed.module_.named_parameters():
        assert torch.equal(value, resumed.module_.get_parameter(name)), name
    # Layer 0 is frozen with its adapter.
    learned = {f"module.{n}" for n, p in resumed.module_.named_parameters() if "lora_" in n and ".0." not in n}
    assert {name for name in kept if "lora_" in name} == learned
    assert not [name for name in kept if "base_layer" in name or "embed_tokens" in name]


# --- Merging


def test_a_merged_model_is_plain_and_predicts_the_same(fitted: Model, saved: Path, tmp_path: Path):
    save_model(build_saved(saved).load_merged(saved), tmp_path / "merged")
    merged = load_model(tmp_path / "merged")
    assert not merged.has_adapter
    assert merged.predict_proba(UNSEEN) == pytest.approx(fitted.predict_proba(UNSEEN), abs=1e-5)
    assert not [name for name, _ in merged.module_.named_parameters() if "lora" in name or "base_layer" in name]
    opener = AutoModelForSequenceClassification if fitted.model_name == "baseline" else AutoModel
    opened = opener.from_pretrained(tmp_path / "merged")
    inner = (
        merged.module_.classifier if fitted.model_name == "baseline" else merged.module_.encoder.transformer.model
    )
    for name, value in opened.named_parameters():
        if "pooler" not in name:
            assert torch.equal(value, inner.get_parameter(name).cpu()), name


@pytest.mark.parametrize("name", ["baseline", "siamese"])
def test_a_merged_model_of_16_bits_changes_by_rounding(bases, tmp_path: Path, name: str):
    model = make(name, bases("llama"), replace(ADAPTER, base_bits=16)).fit(BATTLES)
    save_model(model, tmp_path / "fold0")
    save_model(build_saved(tmp_path / "fold0").load_merged(tmp_path / "fold0"), tmp_path / "merged")
    merged = load_model(tmp_path / "merged")
    assert {value.dtype for value in load_file(tmp_path / "merged" / "model.safetensors").values()} <= {
        torch.bfloat16,
        torch.float32,
    }
    assert merged.predict_proba(UNSEEN) == pytest.approx(model.predict_proba(UNSEEN), abs=0.03)


def test_a_model_without_an_adapter_is_not_merged(bases, tmp_path: Path):
    save_model(build("prior").fit(BATTLES), tmp_path / "prior")
    assert "'prior' has no adapter" in complaint(lambda: build_saved(tmp_path / "prior").load_merged(tmp_path))


# --- Refusals before anything is loaded


@pytest.mark.parametrize("name", ["baseline", "siamese"])
@pytest.mark.parametrize(
    ("adapter", "recipe", "expected"),
    [
        ({"rank": 8, "base_bits": 4}, {}, "adapter.base_bits = 4: needs an NVIDIA GPU"),
        ({"rank": 8, "base_bits": 8}, {}, "adapter.base_bits = 8: needs an NVIDIA GPU"),
        ({"base_bits": 16}, {}, "a full fine-tuning trains weights of 32 bits"),
        ({}, {"optimizer": "paged-adamw-8bit"}, 'training.optimizer = "paged-adamw-8bit": needs an NVIDIA GPU'),
    ],
)
def test_what_this_machine_lacks_is_refused_before_the_encoder_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, name: str, adapter: dict, recipe: dict, expected: str
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    model = build(name, encoder=["nowhere"], adapter=adapter, training=recipe)
    assert expected in complaint(lambda: model.fit(BATTLES))


def test_an_adapter_without_peft_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pairrank.encoders.adapter_settings.importlib.util.find_spec", lambda name: None)
    model = build("siamese", encoder=["nowhere"], adapter={"rank": 8})
    assert "pip install 'pairrank[llm]'" in complaint(lambda: model.fit(BATTLES))


def test_an_unknown_target_is_refused_with_the_names_of_the_layers(bases):
    model = make("siamese", bases("bert"), AdapterSettings(rank=2, targets=["q_proj"]))
    with pytest.raises(UserError, match=r"no module called 'q_proj'.*dense, key, query, value"):
        model.fit(BATTLES)
