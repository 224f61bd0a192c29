"""Speedups may change the outputs of an encoder only by rounding."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    ModernBertConfig,
    ModernBertModel,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from pairrank.cores import usable_cores
from pairrank.encoders.attention import FIRST_TOKEN, MATMUL, matmul_attention
from pairrank.encoders.catalogue import find_encoder
from pairrank.encoders.cpu import prepare_cpu
from pairrank.encoders.speedups import apply_speedups, compute_first_token_only
from pairrank.encoders.transformer import TextEncoder
from pairrank.models.base import build
from tests.support.architectures import CAUSAL, some_fast, write_checkpoint
from tests.support.battles import arena_of_words

KINDS = ("bert", "distilbert")


class Whole(nn.Module):
    """An attention that looks both ways."""

    is_causal = False


def some_heads(length: int = 9, dtype: torch.dtype = torch.bfloat16) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(3, 4, length, 8, dtype=dtype, requires_grad=True) for _ in range(3)]


def padding(lengths: tuple[int, ...], most: int) -> torch.Tensor:
    mask = torch.arange(most)[None] < torch.tensor(lengths)[:, None]
    return mask[:, None, None, :].expand(len(lengths), 1, most, most)


def by_hand(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """softmax(QK'/sqrt(d) + mask)V in float64."""
    q, k, v = q.double(), k.double(), v.double()
    scores = torch.einsum("bhqd,bhkd->bhqk", q, k) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return torch.einsum("bhqk,bhkd->bqhd", scores.softmax(-1), v)


# --- Attention


@pytest.mark.parametrize("mask", [None, padding((9, 4, 1), 9)], ids=["whole", "padded"])
@pytest.mark.parametrize("kind", ["bool", "additive"])
def test_matmul_attention_and_its_gradients_equal_the_formula(mask: torch.Tensor | None, kind: str):
    given = mask
    if mask is not None and kind == "additive":
        given = torch.where(mask, 0.0, torch.finfo(torch.float32).min)
    heads = some_heads()
    mixed, weights = matmul_attention(Whole(), *heads, given, scaling=8**-0.5)
    assert weights is None
    expected = by_hand(*heads, mask)
    assert mixed.dtype == torch.bfloat16
    assert (mixed - expected).abs().max() < 0.03
    pull = torch.randn_like(expected)
    exact = torch.autograd.grad((expected * pull).sum(), heads)
    rough = torch.autograd.grad((mixed * pull).sum(), heads)
    for one, other in zip(rough, exact, strict=True):
        assert (one.double() - other.double()).norm() < 0.02 * other.double().norm()


def test_padding_is_never_attended_to():
    q, k, v = some_heads()
    mask = padding((4, 4, 4), 9)
    before, _ = matmul_attention(Whole(), q, k, v, mask, scaling=0.3)
    with torch.no_grad():
        k[:, :, 4:] = 50
        v[:, :, 4:] = 1e4
    after, _ = matmul_attention(Whole(), q, k, v, mask, scaling=0.3)
    assert torch.equal(before, after)


@pytest.mark.parametrize("length", [7, 1_025])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_matmul_attention_equals_the_formula_at_any_length_and_precision(length: int, dtype: torch.dtype):
    heads = some_heads(length, dtype)
    mixed, _ = matmul_attention(Whole(), *heads, None, scaling=8**-0.5)
    assert (mixed.double() - by_hand(*heads, None)).abs().max() < (1e-5 if dtype == torch.float32 else 0.03)


def test_causal_attention_stays_causal():
    heads, decoder = some_heads(), Whole()
    decoder.is_causal = True
    mixed, _ = matmul_attention(decoder, *heads, None, scaling=8**-0.5)
    before = torch.ones(9, 9, dtype=torch.bool).tril()
    assert (mixed.double() - by_hand(*heads, before)).abs().max() < 0.03


def test_attention_dropout_is_still_applied():
    heads = some_heads()
    kept, _ = matmul_attention(Whole(), *heads, None, scaling=1.0, dropout=0.5)
    whole, _ = matmul_attention(Whole(), *heads, None, scaling=1.0)
    assert (kept - whole).abs().max() > 0.1


# --- Encoders


def tokens(n: int = 5) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(0)
    lengths = torch.tensor([11, 3, 1, 8, 11][:n])
    mask = (torch.arange(11)[None] < lengths[:, None]).long()
    ids = torch.from_numpy(rng.integers(5, 60, (n, 11))) * mask
    return {"input_ids": ids, "attention_mask": mask}


@pytest.mark.parametrize("kind", KINDS)
def test_a_sped_up_encoder_has_the_same_outputs_in_fp32_and_in_bf16(kind: str, tmp_path: Path):
    folder = write_checkpoint(tmp_path, kind)
    plain, quick = (AutoModel.from_pretrained(folder).eval() for _ in range(2))
    apply_speedups(quick)
    assert quick.config._attn_implementation == MATMUL
    inside = tokens()["attention_mask"].bool()
    with torch.no_grad():
        exact, same = (model(**tokens()).last_hidden_state[inside] for model in (plain, quick))
        assert torch.equal(exact, same)
        with torch.autocast("cpu", torch.bfloat16):
            rough = quick(**tokens()).last_hidden_state[inside]
    assert rough.dtype == torch.bfloat16  # between the layers, too
    assert 0 < (rough - exact).abs().max() < 0.05


@pytest.mark.parametrize("name", some_fast(CAUSAL))
def test_a_sped_up_decoder_has_the_same_outputs_and_stays_causal(name: str, tmp_path: Path):
    # Two heads of keys for two of queries, so that matrix products can compute the attention.
    more = {} if name == "gpt2" else {"num_key_value_heads": 2}
    folder = write_checkpoint(tmp_path, name, **more)
    plain, quick = (AutoModel.from_pretrained(folder).eval() for _ in range(2))
    apply_speedups(quick)
    whole = {"input_ids": torch.arange(5, 16)[None], "attention_mask": torch.ones(1, 11, dtype=torch.long)}
    for batch in (tokens(), whole):
        inside = batch["attention_mask"].bool()
        with torch.no_grad():
            exact, same = (model(**batch).last_hidden_state[inside] for model in (plain, quick))
            with torch.autocast("cpu", torch.bfloat16):
                known, rough = (model(**batch).last_hidden_state[inside] for model in (plain, quick))
        assert torch.equal(exact, same)
        assert (rough - exact).abs().max() < 2 * (known - exact).abs().max() + 0.02
    changed = whole | {"input_ids": whole["input_ids"].clone()}
    changed["input_ids"][0, -1] = 5
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        before, after = (quick(**batch).last_hidden_state[0] for batch in (whole, changed))
    assert torch.equal(before[:-1], after[:-1])
    assert not torch.equal(before[-1], after[-1])


@pytest.mark.parametrize("kind", KINDS)
def test_compute_first_token_only_skips_the_other_tokens_and_changes_no_output(kind: str, tmp_path: Path):
    folder = write_checkpoint(tmp_path, kind)
    torch.manual_seed(0)
    plain = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3).eval()
    short = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3).eval()
    short.load_state_dict(plain.state_dict())
    short.train()
    assert compute_first_token_only(short, lambda **batch: short(**batch).logits)
    assert short.training  # as it was
    short.eval()
    rows = []
    feed_forward = next(part for name, part in reversed([*short.named_modules()]) if isinstance(part, nn.LayerNorm))
    feed_forward.register_forward_hook(lambda module, given, made: rows.append(made.shape[1]))
    logits = [model(**tokens()).logits for model in (plain, short)]
    assert rows == [1]
    assert torch.allclose(*logits, atol=1e-6)
    for made, model in zip(logits, (plain, short), strict=True):
        made.square().sum().backward()
        assert model.base_model.get_input_embeddings().weight.grad.abs().sum() > 0
    for (name, one), other in zip(plain.named_parameters(), short.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-6), name


def test_with_matmul_attention_only_the_first_token_attends():
    module = Whole()
    heads = some_heads()
    whole, _ = matmul_attention(module, *heads, padding((9, 4, 2), 9), scaling=0.4)
    setattr(module, FIRST_TOKEN, True)
    first, _ = matmul_attention(module, *heads, padding((9, 4, 2), 9), scaling=0.4)
    assert torch.equal(first[:, 0], whole[:, 0])
    assert not first[:, 1:].any()


def test_compute_first_token_only_works_on_roberta_and_leaves_other_architectures_unchanged(tmp_path: Path):
    size = {"vocab_size": 99, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}
    size |= {"num_hidden_layers": 2, "pad_token_id": 0}
    roberta = RobertaForSequenceClassification(RobertaConfig(**size, num_labels=3, max_position_embeddings=30))
    assert compute_first_token_only(roberta, lambda **batch: roberta(**batch).logits)
    # Pre-norm: what is dropped before attention is missed. Mean over tokens: all of them are read.
    modern = ModernBertModel(
        ModernBertConfig(**size, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2)
    )
    assert not compute_first_token_only(modern, lambda **batch: modern(**batch).last_hidden_state[:, 0])
    bert = AutoModel.from_pretrained(write_checkpoint(tmp_path, "bert"))
    assert not compute_first_token_only(bert, lambda **batch: bert(**batch).last_hidden_state.mean(1))
    made = bert.eval()(**tokens()).last_hidden_state
    assert made.shape == (5, 11, 32)
    assert not any(hasattr(part, FIRST_TOKEN) for part in bert.modules())


def test_only_models_that_read_one_token_skip_the_others(tmp_path: Path):
    folder = write_checkpoint(tmp_path, "bert")
    baseline = build("baseline", encoder=[str(folder)], max_tokens=64)
    baseline._start_from(find_encoder([str(folder)]))
    spared = {
        "baseline": baseline.module_,
        "cls": TextEncoder(folder, "cls"),
        "mean": TextEncoder(folder, "mean"),
        "attention": TextEncoder(folder, "attention"),
    }
    marked = {name: any(hasattr(p, FIRST_TOKEN) for p in module.modules()) for name, module in spared.items()}
    assert marked == {"baseline": True, "cls": True, "mean": False, "attention": False}


def test_speedups_are_not_saved_with_a_model(tmp_path: Path):
    folder = write_checkpoint(tmp_path / "encoder", "bert")
    model = build("baseline", encoder=[str(folder)], max_tokens=64)
    model.fit(arena_of_words(40)).save(tmp_path / "saved")
    text = (tmp_path / "saved" / "config.json").read_text()
    assert "pairrank" not in text
    elsewhere = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved").eval()
    assert elsewhere.config._attn_implementation == "sdpa"
    rows, _ = model._tokens(arena_of_words(3, seed=1))
    with torch.no_grad():
        logits = elsewhere(**model._collate(rows)).logits.softmax(1)
    assert logits.numpy() == pytest.approx(model.predict_proba(arena_of_words(3, seed=1)), abs=2e-2)


@pytest.mark.parametrize(("published", "encoder", "head"), [(True, 0.1, 0.1), (False, 0.0, 0.1)])
def test_the_encoder_has_the_requested_dropout_and_the_head_keeps_its_own(
    published: bool, encoder: float, head: float, tmp_path: Path
):
    folder = write_checkpoint(tmp_path, "bert")
    assert AutoConfig.from_pretrained(folder).classifier_dropout is None
    more = {"attention_dropout": 0.1, "hidden_dropout": 0.1} if published else {}
    model = build("baseline", encoder=[str(folder)], max_tokens=64, **more).fit(arena_of_words(40))
    shares = {name: part.p for name, part in model.module_.named_modules() if isinstance(part, nn.Dropout)}
    assert {share for name, share in shares.items() if ".encoder." in name} == {encoder}
    assert shares["classifier.dropout"] == head


# --- The processor


def test_prepare_cpu_runs_once_and_uses_no_more_threads_than_cores(monkeypatch: pytest.MonkeyPatch):
    threads = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    prepare_cpu.cache_clear()
    prepare_cpu()
    prepare_cpu()
    assert len(threads) == 1
    assert 1 <= threads[0] <= usable_cores()
    # Denormal numbers are not flushed to zero: other models in this process need them.
    assert (torch.tensor([1e-39]) * 1.0).all()


def test_freed_memory_is_reused_without_new_page_faults():
    resource = pytest.importorskip("resource")
    prepare_cpu()

    def faults_of_a_large_block() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(16 * 2**20)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    faults_of_a_large_block()
    # 64 MB are 16,384 pages; without `prepare_cpu` each of them would be a new page fault.
    assert min(faults_of_a_large_block() for _ in range(3)) < 1_000
