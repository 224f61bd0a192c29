"""The fastest backend for an encoder on this machine is measured once, on texts of a run, and kept in the cache."""

import hashlib
import json
import logging
import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import torch
from torch import nn

from pairrank.distributed import from_first
from pairrank.encoders.backends import COPIED, open_backend, require_backend, usable_backends
from pairrank.encoders.catalogue import Encoder
from pairrank.encoders.cpu import prepare_cpu
from pairrank.encoders.devices import DTYPES, choose_precision, default_backend, device
from pairrank.encoders.inference import Batch, Collate, Compute, Row, parts_for_prediction
from pairrank.errors import UserError, excerpt
from pairrank.files import cache_folder, read_json, write_json

logger = logging.getLogger(__name__)

BACKEND_FILE = "backend.json"
"""The file with the backend of a saved model's predictions."""
WORTHWHILE = 60e12
"""Operations of a run from which a measurement pays: several minutes on two cores with bf16."""
COMPILES = 10 * WORTHWHILE
"""Operations from which compiling, which takes half a minute in each fold, is tried as well."""
SAMPLED = 64
"""Battles of a run whose texts are encoded to choose a backend."""
PARTS, ROUNDS = 3, 3
"""Number of batches that are measured, from short to long texts, and how often."""
TOLERANCE = 0.05
"""Largest difference to the outputs in fp32, as a share of their norm; that of bf16 is about 0.01."""


@dataclass(frozen=True)
class Measurement:
    """What was measured of an encoder on this machine."""

    tokens_per_second: dict[str, float]
    """The rate of each backend whose outputs agree with those in fp32; padding is not counted."""
    tried: list[str]
    """All backends that were tried."""
    encoder: str
    kind: str
    """What is computed, such as the vectors of one pooling or the logits of a classifier."""
    max_tokens: int
    machine: str
    """Processor, threads, precision and versions. On another machine, it is measured again."""

    def fastest(self, among: Iterable[str]) -> str:
        """Return the fastest of some backends; "" if none of them has a rate."""
        return max(set(among) & set(self.tokens_per_second), key=self.tokens_per_second.__getitem__, default="")


@dataclass(frozen=True)
class Sample:
    """Some texts of a run, as the module that computes their outputs takes them."""

    module: nn.Module
    rows: Sequence[Row]
    collate: Collate


def choose_backend(
    requested: str,
    encoder: Encoder,
    kind: str,
    precision: str,
    max_tokens: int,
    tokens: float,
    sample: Callable[[], Sample],
) -> str:
    """Return the backend that was requested; for "auto", the fastest one, measured if that pays.

    `kind` says what is computed, and `tokens` is about how many are to be encoded. A run of few texts uses
    `default_backend` unless the same was measured here before. So does a run without a cache, whose folds would not
    remember the choice, and one on a GPU. `sample` is called if there is something to measure. In a collective
    block, the first process chooses for all.

    Raises UserError if the requested backend cannot be used here.
    """
    if requested != "auto":
        require_backend(requested)
        return requested
    if device().type != "cpu" or os.environ.get("PAIRRANK_NO_CACHE"):
        return default_backend()
    return from_first(lambda: _fastest_backend(encoder, kind, precision, max_tokens, tokens, sample))


def candidates(encoder: Encoder, operations: float) -> list[str]:
    """Return the backends that "auto" chooses from for a run with this many operations.

    Products of 8-bit integers change predictions by more than rounding. Compiling pays in very long runs alone, and
    OpenVINO copies the weights.
    """
    left_out = {"openvino-int8"}
    if operations < COMPILES:
        left_out.add("compile")
    if _bytes_of(encoder.folder) > COPIED:
        left_out.add("openvino")
    return [name for name in usable_backends() if name not in left_out]


def _fastest_backend(
    encoder: Encoder, kind: str, precision: str, max_tokens: int, tokens: float, sample: Callable[[], Sample]
) -> str:
    """Return the fastest backend by an earlier measurement, or by one now if it pays, or the default."""
    prepare_cpu()
    precision = choose_precision(precision)
    machine = _describe_machine(precision)
    name = f"{_key(encoder.sha256, kind, max_tokens, machine)}.json"
    operations = 2 * _bytes_of(encoder.folder) / 4 * tokens
    names = candidates(encoder, operations)
    known = _read(name)
    if operations < WORTHWHILE or (known is not None and set(names) <= set(known.tried)):
        return (known.fastest(names) if known else "") or default_backend()
    logger.info("measuring which backend encodes fastest here, once for %s: %s", encoder.name, ", ".join(names))
    rates = measure_backends(sample(), names, precision)
    found = Measurement(rates, names, str(encoder.name), kind, max_tokens, machine)
    if not rates:
        logger.warning("no backend computes the outputs of %s as in fp32; %s is used", kind, default_backend())
        return default_backend()
    _write(name, found)
    logger.info("backend %s (%s)", found.fastest(names), describe_rates(found))
    return found.fastest(names)


def write_backend(backend: str, folder: Path) -> None:
    """Write the backend of a model's predictions, so that all of them are computed by the same one."""
    write_json(folder / BACKEND_FILE, backend)


def read_backend(folder: Path) -> str:
    """Return the backend of a saved model's predictions; "" if none was chosen.

    Where it cannot be used, the default is returned, and a warning logged: predictions differ by rounding.
    """
    file = folder / BACKEND_FILE
    backend = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else ""
    if backend == "" or backend in usable_backends():
        return str(backend)
    logger.warning(
        "%s: its predictions were computed by the backend %s, which cannot be used here. They are computed by %s, "
        "and may differ by rounding.", folder, excerpt(backend), default_backend()
    )  # fmt: skip
    return default_backend()


def known_measurements() -> list[Measurement]:
    """Return what was measured on this machine."""
    prepare_cpu()
    folder = _folder()
    found = [_read(file.name) for file in sorted(folder.glob("*.json"))] if folder else []
    here = {_describe_machine(precision) for precision in DTYPES}
    return [each for each in found if each is not None and each.machine in here]


def describe_rates(measured: Measurement) -> str:
    """Return the rates of all backends, the fastest first."""
    ordered = sorted(measured.tokens_per_second.items(), key=lambda each: -each[1])
    return ", ".join(f"{name} {rate:,.0f}" for name, rate in ordered) + " tokens per second"


def measure_backends(sample: Sample, names: Sequence[str], precision: str) -> dict[str, float]:
    """Return the tokens per second of each backend whose outputs agree with those in fp32."""
    parts = _spread([[sample.rows[i] for i in part] for part in _parts(sample.rows)])
    batches = [sample.collate(part) for part in parts]
    tokens = sum(len(row) for part in parts for row in part)
    with torch.inference_mode():
        exact = open_backend("sdpa", sample.module, "fp32")
        expected = [exact(batch).float() for batch in batches]
        opened = {}
        for name in names:
            compute = _open_if_it_agrees(name, sample.module, precision, batches, expected)
            if compute is not None:
                opened[name] = compute
        seconds = {name: [float("inf")] * len(batches) for name in opened}
        # In turn, because the speed of a shared machine drifts.
        for _ in range(ROUNDS):
            for i, batch in enumerate(batches):
                for name, compute in opened.items():
                    seconds[name][i] = min(seconds[name][i], _seconds(compute, batch))
    return {name: tokens / sum(each) for name, each in seconds.items()}


def _parts(rows: Sequence[Row]) -> list[list[int]]:
    return parts_for_prediction([len(row) for row in rows])


def _spread(parts: list[list[Row]]) -> list[list[Row]]:
    """Return up to `PARTS` parts, from the shortest texts to the longest ones."""
    places = {round((i + 0.5) * len(parts) / PARTS - 0.5) for i in range(PARTS)}
    return [parts[i] for i in sorted(places) if 0 <= i < len(parts)]


def _open_if_it_agrees(
    name: str, module: nn.Module, precision: str, batches: Sequence[Batch], expected: Sequence[torch.Tensor]
) -> Compute | None:
    """Return the opened backend; None with a log line if it fails or computes something else."""
    try:
        compute = open_backend(name, module, precision)
        for batch, exact in zip(batches, expected, strict=True):
            difference = (compute(batch).float() - exact).norm() / exact.norm()
            if not difference <= TOLERANCE:  # also if it is not a number
                logger.info("backend %s is not used: its outputs differ by %.0f %%", name, 100 * float(difference))
                return None
    except Exception as error:  # of compilers and converters, which do not know every architecture
        logger.info("backend %s is not used: %s", name, next(iter(str(error).splitlines()), type(error).__name__))
        return None
    return compute


def _seconds(compute: Compute, batch: Batch) -> float:
    begun = time.perf_counter()
    compute(batch)
    return time.perf_counter() - begun


def _folder() -> Path | None:
    """Return the folder of the measurements; None without a cache folder."""
    with suppress(UserError):
        return cache_folder() / "backends"
    return None


def _read(name: str) -> Measurement | None:
    """Return a measurement; None if there is none, or if its file is damaged."""
    folder = _folder()
    content = read_json(folder / name) if folder else None
    try:
        return None if content is None else Measurement(**content)
    except TypeError:
        return None


def _write(name: str, measured: Measurement) -> None:
    """Keep a measurement. A cache that cannot be written only costs time: the next run measures again."""
    if (folder := _folder()) is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / name, asdict(measured))
    except OSError as error:
        logger.warning("%s: the measurement of backends cannot be kept (%s)", folder, error.strerror)


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()[:24]


def _describe_machine(precision: str) -> str:
    """Return what the speed of a backend depends on besides the encoder."""
    versions = [f"torch {torch.__version__}"]
    with suppress(metadata.PackageNotFoundError):
        versions.append(f"OpenVINO {metadata.version('openvino')}")
    return ", ".join([processor(), f"{torch.get_num_threads()} threads", precision, *versions])


def processor() -> str:
    """Return the name of the processor, and its instructions for half precision."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    values = dict(line.replace("\t", "").split(":", 1) for line in lines if ":" in line)
    flags = set(values.get("flags", "").split()) & {"avx2", "avx512_bf16", "amx_bf16"}
    return " ".join([values.get("model name", platform.machine()).strip(), *sorted(flags)])


def _bytes_of(folder: Path) -> float:
    """Return the size of an encoder's weights, from that of its files."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
