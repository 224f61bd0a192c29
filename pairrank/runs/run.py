"""A run is an experiment on its data, with everything it builds on and the folder of its results."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pairrank.data.battles import Battles
from pairrank.data.folder import Data, DataFolder, TrainingSubset
from pairrank.data.folds import Folds, assign_folds, split_keys
from pairrank.data.predictions import predictions_hash, read_predictions
from pairrank.data.subsets import training_subset
from pairrank.errors import UserError
from pairrank.evaluation.run_record import DataRecord, find_run_record, read_run_record
from pairrank.files import read_json
from pairrank.models.base import Model, with_current_model_names
from pairrank.nested import json_ready
from pairrank.runs.experiment import Experiment
from pairrank.runs.fold_record import read_fold_record
from pairrank.runs.folder import finished_folds, has_test_predictions, read_matching, test_file
from pairrank.runs.overrides import split_label
from pairrank.runs.training_rows import attach_predictions, excluded_prompts, inner_data

MAKES_THE_RESULT = (
    *("model", "split", "inputs", "extra", "soft_targets", "teacher", "teacher_weight", "evidence"),
)
"""Parts of a resolved experiment that its results depend on."""


@dataclass(frozen=True)
class Run:
    """An experiment on its data, with everything it builds on and the folder that holds its results."""

    experiment: Experiment
    data: Data
    folder: Path
    inputs: tuple["Run", ...] = ()
    """The runs whose predictions are columns of its battles."""
    teachers: tuple["Run", ...] = ()
    """The runs that are trained inside each fold's training battles, to give them soft targets."""
    encoder_sha256: str = ""
    """Hash of the encoder's weights; "" for a model without one."""
    chosen: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    """All parameters of the model by fold, if a search inside the training battles of each fold has chosen them."""
    enclosing: str = ""
    """The run and fold inside which this one is a step; "" for an independent run."""

    @property
    def title(self) -> str:
        """Name of the run in log lines."""
        return f"{self.experiment.label} (inside {self.enclosing})" if self.enclosing else self.experiment.label

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The resolved experiment as plain values for JSON."""
        settings: dict[str, Any] = json_ready(self.experiment.resolved())
        return settings

    @property
    def builds_on(self) -> tuple["Run", ...]:
        """The inputs and the teachers."""
        return (*self.inputs, *self.teachers)

    @property
    def reads_test_texts(self) -> bool:
        """Whether this run, or anything it builds on, learns from battles of the test file."""
        own = any(source.is_test_file for source in self.experiment.extra)
        return own or any(each.reads_test_texts for each in self.builds_on)

    @property
    def tuned_on(self) -> tuple[int, ...]:
        """The folds that a search for the setting of this run, or of anything it builds on, has used."""
        return tuple(
            sorted({*self.experiment.tuned_on, *(fold for each in self.builds_on for fold in each.tuned_on)})
        )

    def build(self, fold: int) -> Model:
        """Return the unfitted model of a fold."""
        return self.experiment.build(self.chosen.get(fold))

    @cached_property
    def battles(self) -> Battles:
        """The battles with winners, as the data has them."""
        # The same object, if possible: its hash and its prompt keys are computed once for all runs of a command.
        limit = self.experiment.limit
        return self.data.train.take(slice(limit)) if limit else self.data.train

    @cached_property
    def fold_index(self) -> Folds:
        """(n,) the fold of each battle."""
        return assign_folds(self.battles, self.experiment.folds, self.experiment.salt)

    @cached_property
    def data_record(self) -> DataRecord:
        """Name, hash and number of the battles."""
        settings = str(self.data.settings) if isinstance(self.data, DataFolder) else ""
        return DataRecord(self.data.name, self.battles.content_hash(), len(self.battles), settings)

    def used_in(self, fold: int) -> npt.NDArray[np.bool_]:
        """Return (n,) whether a battle is used in the work of this fold: to train on, or to be scored.

        These are all battles, unless the training battles are cut to a size. The battles of a step inside another
        run are cut already.
        """
        scored: npt.NDArray[np.bool_] = self.fold_index == fold
        size = 0 if self.enclosing else self.experiment.train_size
        subset = training_subset(self._split_keys, scored, size, self.experiment.train_sample)
        used: npt.NDArray[np.bool_] = scored | subset
        return used

    @cached_property
    def _split_keys(self) -> list[str]:
        return split_keys(self.battles)

    @property
    def test(self) -> Battles | None:
        """The battles to predict; None if there are none, or if the training battles are cut to a size.

        The runs of a learning curve make no submission, and predicting test battles would take most of their time.
        """
        is_cut = self.experiment.train_size > 0
        return None if is_cut or self.data.test is None or not len(self.data.test) else self.data.test

    @cached_property
    def test_hash(self) -> str:
        """Hash that identifies the battles to predict; "" if there are none."""
        return self.test.content_hash() if self.test is not None else ""

    @cached_property
    def test_prompts(self) -> frozenset[str]:
        """Keys of the prompts that no extra battle may have, whichever fold is scored."""
        return excluded_prompts(self.data, self.data.test)

    @cached_property
    def train(self) -> Battles:
        """The battles with winners, with the inputs' out-of-fold predictions and the soft targets of a file.

        Raises UserError if an input is incomplete or of other battles, or if the soft targets would leak.
        """
        for each in self.inputs:
            if not is_reusable(each):
                raise UserError(
                    f"{each.folder}: expected a complete run of {each.experiment.column} on these battles and "
                    f"folds. Train it with: run {run_arguments(each.experiment)} --data {self.data.path} "
                    f"--runs {each.folder.parent}{_split_options(self.experiment)}"
                )
        files = {each.experiment.column: each.folder / "oof.csv" for each in self.inputs}
        battles = attach_predictions(self.battles, {name: read_predictions(file) for name, file in files.items()})
        if self.experiment.soft_targets:
            _refuse_leak(Path(self.experiment.soft_targets), self.data_record.hash)
            teacher = read_predictions(self.experiment.soft_targets)
            battles = replace(battles, soft=teacher.align(battles.id, self.experiment.soft_targets).proba)
        return battles

    @cached_property
    def has_symmetric_inputs(self) -> bool:
        """Whether the predictions of all inputs, which must be finished, commute with exchanging A and B."""
        return all(read_run_record(each.folder).symmetric for each in self.inputs)

    def test_in(self, fold: int) -> Battles | None:
        """Return the battles to predict with the predictions of the inputs' models of this fold."""
        if self.test is None:
            return None
        files = {each.experiment.column: test_file(each.folder, fold) for each in self.inputs}
        return attach_predictions(self.test, {name: read_predictions(file) for name, file in files.items()})

    def training_data(self, fold: int) -> TrainingSubset:
        """Return the training battles of this fold as data of their own."""
        used = self.used_in(fold)
        return inner_data(self.data, self.battles.take(used), self.fold_index[used], fold, self.test_prompts)


def moved(run: Run, data: Data, home: Path, enclosing: str = "") -> Run:
    """Return the same run, and all it builds on, on other data and in another folder."""
    return replace(
        run,
        data=data,
        folder=home / run.experiment.label,
        inputs=tuple(moved(each, data, home, enclosing) for each in run.inputs),
        teachers=tuple(moved(each, data, home, enclosing) for each in run.teachers),
        enclosing=enclosing,
    )


def inner_run(run: Run, fold: int, template: Run) -> Run:
    """Return `template` on the training battles of one fold of `run` alone, in that run's folder.

    Its own folds are the other folds of `run`: its out-of-fold prediction of a battle comes from a model that was
    trained on neither that battle's fold nor this one.
    """
    home = run.folder / "inner" / f"fold{fold}"
    return moved(template, run.training_data(fold), home, f"{run.title}, fold {fold}")


def run_arguments(experiment: Experiment) -> str:
    """Return the arguments of `run` for an experiment with changes of its model."""
    _, changes = split_label(experiment.column)
    return " ".join([experiment.name, *(f"--set {change}" for change in changes)])


def _split_options(experiment: Experiment) -> str:
    """Return the command-line options that split another experiment in the same way."""
    options = {
        "salt": experiment.salt,
        "limit": experiment.limit,
        "train-size": experiment.train_size,
        "train-sample": experiment.train_sample,
    }
    return "".join(f" --{key} {value}" for key, value in options.items() if value)


def _refuse_leak(teacher: Path, battles_hash: str) -> None:
    """Raise UserError for out-of-fold predictions of a run, whose models were trained on scored winners."""
    places = [teacher.with_name("metrics.json")]
    if len(teacher.parents) > 2:  # the path of results that `compare --publish` writes
        places.append(teacher.parents[2] / "results" / teacher.parent.name / f"{teacher.stem}.json")
    found = [record.get("data") for record in map(read_json, places) if record]
    if any(isinstance(data, dict) and data.get("hash") == battles_hash for data in found):
        raise UserError(
            f"soft_targets = {str(teacher)!r}: the file holds out-of-fold predictions of a run on these battles. "
            "Their models were trained on the winners of the scored fold. Use a teacher of other battles, or name "
            "its experiment as `teacher`, which is trained inside each fold's training battles."
        )


def all_inputs(run: Run) -> Iterator[Run]:
    """Yield every run that this one builds on as inputs, each once, and none before its own inputs."""
    passed: set[Path] = set()
    for each in run.inputs:
        for inner in (*all_inputs(each), each):
            if inner.folder not in passed:
                passed.add(inner.folder)
                yield inner


def is_reusable(run: Run) -> bool:
    """Return whether a run is complete, has these battles and settings, and has predicted the test battles.

    The code may have changed since. The results are used until the run's own `run` command replaces them.
    """
    record = find_run_record(run.folder)
    if record is None:
        return False
    # A run that was begun again and not finished holds folds of two configurations.
    done = finished_folds(run.folder, run.experiment.folds, record.identity)
    if record.data.hash != run.data_record.hash or not set(run.fold_index.tolist()) <= done.keys():
        return False
    # Records without the key are of versions that did not correct predictions.
    recorded = {"evidence": False} | with_current_model_names(record.experiment)
    known = [key for key in MAKES_THE_RESULT if recorded.get(key) is not None]
    if any(_differs(recorded[key], run.settings[key]) for key in known):
        return False
    if record.training_part != (run.experiment.train_size, run.experiment.train_sample):
        return False
    if record.inputs != input_hashes(run.inputs) or not all(map(is_reusable, run.inputs)):
        return False
    predictions = read_matching(run.folder / "oof.csv", run.battles.id)
    if predictions is None or predictions_hash(predictions) != record.predictions:
        return False
    return run.test is None or all(_has_predicted_test(run, fold) for fold in range(run.experiment.folds))


def _has_predicted_test(run: Run, fold: int) -> bool:
    record, test = read_fold_record(run.folder / f"fold{fold}"), run.test
    return (
        record is not None
        and test is not None
        and has_test_predictions(run.folder, fold, record, test, run.test_hash)
    )


def input_hashes(inputs: Sequence[Run]) -> dict[str, str | None]:
    """Return the hash of each input's out-of-fold predictions by the name of its folder."""
    records = {each.folder.name: find_run_record(each.folder) for each in inputs}
    return {name: record.predictions if record else None for name, record in records.items()}


def _differs(recorded: Any, wanted: Any) -> bool:
    """Return whether a recorded setting or table of settings differs; what an older table lacks counts as equal."""
    if isinstance(wanted, dict) and isinstance(recorded, dict):
        return any(key not in wanted or _differs(value, wanted[key]) for key, value in recorded.items())
    return bool(recorded != wanted)
