"""A reward model is opened with its own head, and a score is what transformers computes for the same text."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from pairrank.encoders.cached_batches import Text
from pairrank.encoders.catalogue import Encoder, find_encoder
from pairrank.encoders.pair_texts import paired_sides
from pairrank.encoders.reward_model import RewardModel
from pairrank.encoders.reward_scores import Scorer
from pairrank.errors import UserError
from pairrank.vector_cache import VectorCache
from tests.support.architectures import set_config, write_checkpoint
from tests.support.battles import conversations
from tests.support.reward_models import CHAT, write_reward_model

TEXTS: list[Text] = [
    (("why how",), ("good",)),
    (("why how",), ("bad apple red blue",)),
    (("good", "why"), ("bad", "no")),
    (("",), ("",)),
    (("red blue one two three four five six " * 20,), ("cat dog " * 40,)),
    (("why how",), ("good",)),
]
KINDS = [(kind, chat) for kind in ("bert", "llama") for chat in (False, True)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, bool], Path]:
    return {
        (kind, chat): write_reward_model(tmp_path_factory.mktemp(f"{kind}-{chat}"), kind, chat=chat)
        for kind, chat in KINDS
    }


@pytest.fixture
def cache(tmp_path: Path) -> VectorCache:
    return VectorCache(tmp_path / "vectors.sqlite")


def scorer(folder: Path, cache: VectorCache | None = None, **options) -> Scorer:
    return Scorer(
        Encoder("tiny", folder, "0" * 64), **{"max_tokens": 100, "precision": "fp32"} | options, cache=cache
    )


def many(n: int = 150) -> list[Text]:
    return [((f"why {i}",), ("red " * (i % 17),)) for i in range(n)]


def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scorer, "_module", property(lambda _: pytest.fail("a reward model was loaded")))


# --- Scores


@pytest.mark.parametrize(("kind", "chat"), KINDS)
def test_a_score_is_that_of_transformers_for_the_same_text(folders, kind: str, chat: bool):
    folder = folders[kind, chat]
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True).eval()
    scores = scorer(folder).scores(TEXTS)
    for i, (prompts, answers) in enumerate(TEXTS[:3]):
        prompt, answer = ("\n".join(turns) for turns in (prompts, answers))
        if chat:
            said = [text for turn in zip(prompts, answers, strict=True) for text in turn]
            messages = [{"role": ("user", "assistant")[j % 2], "content": text} for j, text in enumerate(said)]
            ids = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
        elif kind == "bert":
            ids = tokenizer(prompt, answer)["input_ids"]
        else:  # no separator and no end of its own: an empty line, and the end-of-text token
            ids = tokenizer(f"{prompt}\n\n{answer}")["input_ids"] + [tokenizer.eos_token_id]
        with torch.no_grad():
            expected = model(input_ids=torch.tensor([ids])).logits.item()
        assert scores[i] == pytest.approx(expected, abs=1e-5)
    assert scores[0] == scores[5]
    assert len({*scores.tolist()}) == 5


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_the_score_of_a_text_does_not_depend_on_padding(folders, kind: str):
    model = RewardModel(folders[kind, False]).eval()
    rows = [np.arange(4, 4 + length, dtype=np.int32) for length in (5, 9, 30)]
    with torch.no_grad():
        together = model(**model.collate(rows))
        alone = torch.cat([model(**model.collate([row])) for row in rows])
    assert together.shape == (3, 1)
    assert torch.allclose(together, alone, atol=1e-5)


def test_a_pad_token_inside_a_text_is_read_as_text(folders):
    """Transformers looks for the last token that is not the pad token, so it would score the text before it."""
    model = RewardModel(folders["llama", False]).eval()
    pad = model.tokenizer.pad_token_id
    with torch.no_grad():
        short, ending = (model(**model.collate([np.array(ids, dtype=np.int32)])) for ids in ([9, 8], [9, 8, pad]))
    assert not torch.allclose(short, ending, atol=1e-4)


@pytest.mark.parametrize(("kind", "chat"), KINDS)
def test_every_text_fits_the_window(folders, kind: str, chat: bool):
    model = RewardModel(folders[kind, chat])
    battles = conversations(*((prompt, answer, answer[::-1]) for prompt, answer in TEXTS))
    rows, coverage = paired_sides(battles, model, 40, "fair")
    assert max(map(len, rows)) == 40
    assert coverage.lost_a_side == 0
    assert 0 < coverage.kept["prompt"] < coverage.total["prompt"]
    assert rows[0].lengths[0] == pytest.approx(np.log1p(1 if kind == "bert" else 4))  # a byte each


# --- The cache


def test_cached_scores_need_no_model(folders, cache: VectorCache, monkeypatch):
    first = scorer(folders["llama", True], cache).scores(TEXTS)
    no_model(monkeypatch)
    assert np.array_equal(scorer(folders["llama", True], cache).scores(TEXTS[::-1])[::-1], first)


def test_every_setting_and_file_that_changes_a_score_makes_another_entry(tmp_path: Path, cache: VectorCache):
    folder = write_reward_model(tmp_path / "model", "llama", chat=True)
    plain = scorer(folder, cache).scores(TEXTS)
    count = cache.size()[0]
    changes = [
        {"max_tokens": 60},
        {"budget": "head+tail"},
        {"template": "plain"},
        {"precision": "bf16"},
        {"bits": 16},
    ]
    for i, change in enumerate(changes, 2):
        assert not np.array_equal(scorer(folder, cache, **change).scores(TEXTS), plain), change
        assert cache.size()[0] == i * count, change
    (folder / "chat_template.jinja").write_text(CHAT.replace("\n", " "))
    assert not np.array_equal(scorer(folder, cache).scores(TEXTS), plain)


# --- Refusals


@pytest.mark.parametrize(("kind", "outputs"), [("bert", 3), ("llama", 2)])
def test_a_head_of_another_size_is_refused_with_the_number_of_its_outputs(tmp_path: Path, kind: str, outputs: int):
    folder = write_reward_model(tmp_path / "model", kind, outputs)
    with pytest.raises(UserError, match=f"model: its head has {outputs} outputs, expected one"):
        RewardModel(folder)


def test_weights_without_a_head_are_refused_with_the_names_that_are_missing(tmp_path: Path):
    folder = write_checkpoint(tmp_path / "encoder", "bert")
    with pytest.raises(
        UserError, match=r"its weights have no head \(missing: classifier\.bias, classifier\.weight\)"
    ):
        RewardModel(folder)


def test_a_configuration_that_contradicts_the_head_is_refused(tmp_path: Path):
    folder = write_reward_model(tmp_path / "model", outputs=3)
    set_config(folder, num_labels=1, id2label={"0": "score"}, label2id={"score": 0})
    with pytest.raises(UserError, match=r"classifier\.\w+ has the shape \(3,.*\), which config\.json contradicts"):
        RewardModel(folder)


def test_a_chat_template_is_required_where_it_is_asked_for(folders):
    with pytest.raises(UserError, match="has no chat template"):
        scorer(folders["bert", False], template="chat").scores(TEXTS)


@pytest.mark.parametrize("chat", [False, True])
def test_a_window_without_room_or_beyond_the_positions_is_refused(folders, chat: bool):
    with pytest.raises(UserError, match=r"max_tokens = 4: the window has no room for .* Set it to \d+ or more"):
        scorer(folders["bert", chat], max_tokens=4).scores(TEXTS)
    with pytest.raises(UserError, match="max_tokens = 257: tiny has positions for 256 tokens"):
        scorer(folders["bert", chat], max_tokens=257).scores(TEXTS)


def test_scores_that_are_not_finite_are_refused(folders, cache: VectorCache):
    reader = scorer(folders["bert", False], cache)
    cache.put({key: np.array([np.nan], dtype=np.float32) for key in reader.keys(TEXTS[:1]).values()})
    with pytest.raises(UserError, match="tiny: 2 of 6 scores are infinite or NaN"):
        reader.scores(TEXTS)


def test_no_texts_have_no_scores(folders):
    assert scorer(folders["bert", False]).scores([]).shape == (0,)


def test_a_reward_model_is_found_like_an_encoder(folders):
    found = find_encoder([str(folders["llama", False])])
    assert RewardModel(found.folder).width == 1
