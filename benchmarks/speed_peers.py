"""sentence-transformers and the plain Trainer do what pairrank does, on the same battles, for `speed.py` to time.

All have their own defaults: fp32, dropout .1, padding to the longest text of a batch, random batches in training,
batches of 32 texts in order of length in encoding. Only the number of battles per step (8) and the windows are
those of pairrank.
"""

import queue
import tempfile
import threading
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from speed_worker import BATCH, PARTS, TEXT_WINDOW, WINDOW, Timed, Timing, Way, operations
from torch import nn

DTYPES = {"fp32": torch.float32, "bf16 weights": torch.bfloat16}


@dataclass(frozen=True)
class Peer:
    """Another library that trains on battles, or that turns their texts into vectors."""

    name: str
    kind: Literal["encode", "cross-encoder", "trainer"]
    backend: str = "torch"
    """"torch" or "openvino"."""
    precision: str = "fp32"
    """"fp32" or "bf16 weights"."""
    needs: tuple[str, ...] = ()
    """Packages that pairrank does not need."""

    def missing(self) -> list[str]:
        """Return the packages that are not installed."""
        return [name for name in self.needs if find_spec(name) is None]

    def open(self, data: Path, battles: int) -> Timed:
        """Return the model with its battles, in this process."""
        from pairrank.encoders.quiet import quiet_transformers

        kinds = {"encode": Encoding, "cross-encoder": CrossEncoding, "trainer": Classifying}
        with quiet_transformers(), warnings.catch_warnings(action="ignore"):
            return kinds[self.kind](self, data, battles)


def peers() -> list[Peer]:
    """Return the rows of other libraries."""
    encode = "sentence-transformers: encode"
    return [
        Peer(encode, "encode"),
        Peer(f"{encode}, bf16", "encode", precision="bf16 weights"),
        Peer(f"{encode}, OpenVINO", "encode", "openvino", needs=("openvino",)),
        Peer("sentence-transformers: CrossEncoder", "cross-encoder", needs=("datasets",)),
        Peer("transformers: Trainer", "trainer"),
    ]


def _minilm() -> str:
    from pairrank.encoders.catalogue import find_encoder

    return str(find_encoder(["minilm"]).folder)


def _battles(data: Path, battles: int) -> Any:
    from pairrank.data.folder import find_data

    return find_data(data).train.take(slice(battles))


class _Peer(Timed):
    def __init__(self, peer: Peer) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backend, self.precision = peer.backend, peer.precision

    def _watch(self, config: Any, module: nn.Module) -> None:
        """Count the texts that go through a module, and name how a model with this configuration computes."""
        self.config = config
        attention = "" if self.backend == "openvino" else config._attn_implementation
        self.way = Way(attention, self.backend, self.precision)

        def count(module: nn.Module, given: tuple[Any, ...], named: dict[str, torch.Tensor]) -> None:
            # A module of sentence-transformers takes one dictionary, a model of transformers named tensors.
            self.count((given[0] if "attention_mask" not in named else named)["attention_mask"])

        module.register_forward_pre_hook(count, with_kwargs=True)

    def _tokenise_untimed(self, model: Any) -> None:
        """Make a model of sentence-transformers measure the time for which it tokenises."""
        preprocess = model.preprocess

        def timed(*texts: Any, **options: Any) -> Any:
            begun = time.perf_counter()
            features = preprocess(*texts, **options)
            self.tokenising += time.perf_counter() - begun
            return features

        model.preprocess = timed

    def _operations(self, lengths: Sequence[int]) -> float:
        return operations(self.config, lengths)

    def _operations_to_train(self, lengths: Sequence[int]) -> float:
        return 3 * operations(self.config, lengths)


class Encoding(_Peer):
    """`SentenceTransformer.encode` of each answer after its prompt, cut on the right."""

    measures = ("encode",)

    def __init__(self, peer: Peer, data: Path, battles: int) -> None:
        from sentence_transformers import SentenceTransformer

        super().__init__(peer)
        options = {} if peer.precision == "fp32" else {"dtype": DTYPES[peer.precision]}
        self.model = SentenceTransformer(_minilm(), device="cpu", local_files_only=True, model_kwargs=options)
        self.model.max_seq_length = TEXT_WINDOW
        inner = self.model[0].model
        if peer.backend == "openvino":
            self.precision = _compute_by_openvino(inner)
        self._watch(inner.config, self.model[0])
        self._tokenise_untimed(self.model)
        self.texts = [
            "\n".join((*prompt, *answer))
            for prompt, *answers in _texts(_battles(data, battles))
            for answer in answers
        ]

    def encode(self, share: int) -> Timing:
        """Time the vectors of a part of the texts."""
        texts = self.texts[share::PARTS]
        return self.time(lambda: self.model.encode(texts, show_progress_bar=False), self._operations)


def _compute_by_openvino(model: Any) -> str:
    """Make a model of transformers compute by OpenVINO, and return the precision that OpenVINO chose.

    The OpenVINO backend of sentence-transformers is optimum-intel, which does not work with the transformers that
    pairrank needs (2.2 needs transformers below 5.6). It converts and compiles a model as is done here.
    """
    from openvino import Core
    from transformers.modeling_outputs import BaseModelOutput

    from pairrank.encoders.openvino_models import to_openvino

    class Vectors(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            vectors: torch.Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask)[0]
            return vectors

    ids = torch.ones(2, 8, dtype=torch.long)
    example = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    # Not by `openvino.convert_model`, which reports its use.
    converted = to_openvino(Vectors().eval(), example)
    compiled = Core().compile_model(converted, "CPU", {"INFERENCE_NUM_THREADS": torch.get_num_threads()})

    def forward(input_ids: torch.Tensor, attention_mask: torch.Tensor, **others: Any) -> BaseModelOutput:
        outputs = compiled([input_ids.numpy(), attention_mask.numpy()])
        return BaseModelOutput(last_hidden_state=torch.from_numpy(outputs[0]))

    model.forward = forward
    chosen = str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string())
    return {"bf16": "bf16", "f32": "fp32"}.get(chosen, chosen)


class Steps:
    """Does one step of a Trainer per request; the Trainer runs in a thread of its own and waits between its steps.

    A step lasts from the Trainer's event "step begins" to "step ends": forward, backward, clipping and update.
    """

    def __init__(self, trainer: Any) -> None:
        from transformers import TrainerCallback

        requests: queue.Queue[None] = queue.Queue()
        done: queue.Queue[BaseException | None] = queue.Queue()

        class Wait(TrainerCallback):  # type: ignore[misc]
            def on_step_begin(self, *_: Any, **__: Any) -> None:
                requests.get()

            def on_step_end(self, *_: Any, **__: Any) -> None:
                done.put(None)

        def train() -> None:
            try:
                trainer.train()
            except BaseException as error:
                done.put(error)  # raised in the thread that waits for the step

        self.requests, self.done = requests, done
        trainer.add_callback(Wait())
        threading.Thread(target=train, daemon=True).start()

    def step(self) -> None:
        """Do one step."""
        self.requests.put(None)
        if error := self.done.get():
            raise error


def _arguments(steps: int) -> dict[str, Any]:
    """Return what differs from the defaults of the Trainer's arguments; `steps` take all battles once."""
    return {
        "output_dir": tempfile.gettempdir(),
        "per_device_train_batch_size": BATCH,
        "max_steps": steps + 2,  # one to warm up, and one that never begins, so that training does not end
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
    }


class CrossEncoding(_Peer):
    """`CrossEncoder` with three labels of sentence-transformers reads the prompt, and both answers as one text."""

    measures = ("train", "predict")

    def __init__(self, peer: Peer, data: Path, battles: int) -> None:
        from datasets import Dataset
        from sentence_transformers import CrossEncoder
        from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
        from sentence_transformers.cross_encoder.losses import CrossEntropyLoss

        super().__init__(peer)
        taken = _battles(data, battles)
        self.model = CrossEncoder(_minilm(), num_labels=3, device="cpu", local_files_only=True)
        self.model.max_seq_length = WINDOW
        self._watch(self.model.config, self.model[0].model.base_model)
        self._tokenise_untimed(self.model)
        self.pairs = [(prompt, f"{a}\n{b}") for prompt, a, b in _cells(taken)]
        prompts, answers = zip(*self.pairs, strict=True)
        trainer = CrossEncoderTrainer(
            model=self.model,
            args=CrossEncoderTrainingArguments(**_arguments(-(-battles // BATCH))),
            train_dataset=Dataset.from_dict(
                {"sentence1": prompts, "sentence2": answers, "label": taken.labels.tolist()}
            ),
            loss=CrossEntropyLoss(self.model),
        )
        self.steps = Steps(trainer)

    def train(self, _: int) -> Timing:
        """Time one step."""
        return self.time(self.steps.step, self._operations_to_train)

    def predict(self, share: int) -> Timing:
        """Time the prediction of a part of the battles."""
        pairs = self.pairs[share::PARTS]
        return self.time(lambda: self.model.predict(pairs, show_progress_bar=False), self._operations)


class Classifying(_Peer):
    """The Trainer of transformers with a sequence classifier reads the published text of a battle."""

    measures = ("train", "predict")

    def __init__(self, peer: Peer, data: Path, battles: int) -> None:
        from transformers import (
            AutoModelForSequenceClassification,
            AutoTokenizer,
            DataCollatorWithPadding,
            Trainer,
            TrainingArguments,
        )

        super().__init__(peer)
        taken = _battles(data, battles)
        tokenizer = AutoTokenizer.from_pretrained(_minilm())
        model = AutoModelForSequenceClassification.from_pretrained(_minilm(), num_labels=3)
        self._watch(model.config, model.base_model)
        texts = [f"Prompt:{prompt}\nResponse A:{a}\nResponse B:{b}" for prompt, a, b in _cells(taken)]
        tokens = tokenizer(texts, truncation=True, max_length=WINDOW)["input_ids"]
        self.rows = [
            {"input_ids": row, "labels": label} for row, label in zip(tokens, taken.labels.tolist(), strict=True)
        ]

        def trainer() -> Any:
            arguments = TrainingArguments(**_arguments(-(-battles // BATCH)))
            collate = DataCollatorWithPadding(tokenizer)
            return Trainer(model=model, args=arguments, train_dataset=self.rows, data_collator=collate)

        self.steps, self.predictor = Steps(trainer()), trainer()

    def train(self, _: int) -> Timing:
        """Time one step."""
        return self.time(self.steps.step, self._operations_to_train)

    def predict(self, share: int) -> Timing:
        """Time the prediction of a part of the battles."""
        rows = self.rows[share::PARTS]
        return self.time(lambda: self.predictor.predict(rows), self._operations)


def _texts(battles: Any) -> list[tuple[Any, ...]]:
    """Return the turns of prompt, A and B of each battle."""
    return list(zip(battles.prompt, battles.response_a, battles.response_b, strict=True))


def _cells(battles: Any) -> list[tuple[str, ...]]:
    """Return prompt, A and B of each battle as the competition's file has them, like the published recipe."""
    from pairrank.data.turns import join_turns

    return [tuple(map(join_turns, texts)) for texts in _texts(battles)]
