"""A run is an experiment on its data; it may build on other runs, beside it, on the same data and folds."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pairrank.data.battles import Battles
from pairrank.data.folder import Data, TrainingSubset
from pairrank.data.folds import assign_folds, prompt_keys
from pairrank.data.predictions import Predictions, read_predictions
from pairrank.errors import UserError
from pairrank.files import read_json
from pairrank.models.base import Model, build
from pairrank.runs.experiment import Experiment, load_experiment
from pairrank.runs.folder import finished_folds, read_fold, read_kept, test_file

MAKES_THE_RESULT = ("model", "split", "inputs", "extra", "soft_targets", "teacher")
"""Parts of a resolved experiment that its numbers depend on."""


@dataclass(frozen=True)
class Run:
    """An experiment on its data: what makes its result, and the folder that holds it."""

    experiment: Experiment
    data: Data
    folder: Path
    inputs: tuple["Run", ...] = ()
    """The runs whose predictions are columns of its battles."""
    chosen: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    """All parameters of the model of a fold, where a search inside that fold's training battles has chosen them."""

    def build(self, fold: int) -> Model:
        """The unfitted model of a fold."""
        experiment = self.experiment
        return build(experiment.model, **self.chosen.get(fold, experiment.parameters))

    @cached_property
    def battles(self) -> Battles:
        """The battles with winners, as they stand in the data."""
        return self.data.train.take(slice(self.experiment.limit or None))

    @cached_property
    def battles_hash(self) -> str:
        """What these battles are told from others by."""
        return self.battles.content_hash()

    @cached_property
    def test_hash(self) -> str:
        """What the battles to predict are told from others by; "" where there are none."""
        return self.test.content_hash() if self.test is not None else ""

    @cached_property
    def train(self) -> Battles:
        """The battles with winners, with what inputs say of them out of fold, and with a file's soft targets.

        Raises UserError where an input is not whole or of other battles, or the soft targets would leak.
        """
        for each in self.inputs:
            if not is_ready(each):
                raise UserError(
                    f"{each.folder}: not a whole run of {each.experiment.name} on these battles and folds, and so "
                    f"no input. Make it with: run {each.experiment.name} --data {self.data.path} "
                    f"--runs {each.folder.parent}{_options(self.experiment)}"
                )
        battles = with_inputs(self.battles, self.inputs, [each.folder / "oof.csv" for each in self.inputs])
        if self.experiment.soft_targets:
            self._refuse_leak(Path(self.experiment.soft_targets))
            teacher = read_predictions(self.experiment.soft_targets)
            battles = replace(battles, soft=teacher.align(battles.id, self.experiment.soft_targets).proba)
        return battles

    @cached_property
    def member(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """(n,) the fold of each battle."""
        return assign_folds(self.battles, self.experiment.folds, self.experiment.salt)

    @property
    def test(self) -> Battles | None:
        """The battles to predict; None where there are none."""
        return self.data.test if self.data.test is not None and len(self.data.test) else None

    @cached_property
    def test_keys(self) -> frozenset[str]:
        """The prompts that no extra battle may bring, whichever fold is scored."""
        return self.data.excluded_prompts | frozenset(prompt_keys(self.test) if self.test is not None else ())

    def test_in(self, fold: int) -> Battles | None:
        """The battles to predict, with what the inputs' models of this fold say of them."""
        if self.test is None:
            return None
        return with_inputs(self.test, self.inputs, [test_file(each.folder, fold) for each in self.inputs])

    def inside(self, fold: int, name: str) -> "Run":
        """Another experiment on the training battles of this fold alone, kept in this run's folder.

        Their own folds are the other folds of this run: what it says of a battle out of fold comes from a model
        that has seen neither that battle's fold nor this one.
        """
        data = self.training_data(fold)
        return _start_input(name, self.experiment, data, self.folder / "inner" / f"fold{fold}", ())

    def training_data(self, fold: int) -> TrainingSubset:
        """The training battles of this fold, as data of their own."""
        scored = self.member == fold
        excluded = self.test_keys | frozenset(prompt_keys(self.battles.take(scored)))
        name = f"{self.data.name}, without fold {fold}"
        return TrainingSubset(self.data.path, name, self.battles.take(~scored), excluded)

    def _refuse_leak(self, teacher: Path) -> None:
        """A teacher's out-of-fold file knows the scored fold's winners too, from the models of the other folds."""
        beside = [teacher.with_name("metrics.json")]
        if len(teacher.parents) > 2:  # as `compare --publish` puts them
            beside.append(teacher.parents[2] / "results" / teacher.parent.name / f"{teacher.stem}.json")
        found = [metrics for metrics in map(read_json, beside) if metrics]
        if any(metrics.get("data", {}).get("hash") == self.battles_hash for metrics in found):
            raise UserError(
                f"soft_targets = {str(teacher)!r}: a run's out-of-fold predictions of these battles. The models "
                "behind them have seen the winners of the fold that is scored. Use a teacher of other battles, or "
                "name its experiment as `teacher`, which is remade inside each fold's training battles."
            )


def start_run(experiment: Experiment, data: Data, runs: Path, above: tuple[str, ...] = ()) -> Run:
    """Settle the encoders, and so the names and folders, of a run and of all that it builds on.

    `above` are the experiments that build on this one. Raises UserError for an encoder that cannot be had, and for
    inputs that do not exist, go in a circle, or do not fit the experiment.
    """
    inputs = tuple(_start_input(name, experiment, data, runs, above) for name in experiment.inputs)
    if experiment.teacher:
        # Its own runs are made inside the folds; whether it fits is told before any work.
        _start_input(experiment.teacher, experiment, data, runs, above)
    wanted = experiment.parameters.get("encoder")
    if wanted:
        from pairrank.encoders.catalogue import find_encoder

        found = find_encoder(wanted)
        parameters = {**experiment.parameters, "encoder": [found.name]}
        used = "" if found.name == wanted[0] else found.name
        experiment = replace(experiment, parameters=parameters, encoder=used)
    return Run(experiment, data, runs / experiment.label, inputs)


def _start_input(name: str, experiment: Experiment, data: Data, runs: Path, above: tuple[str, ...]) -> Run:
    """The run of one input, on the experiment's own data and folds."""
    way = (*above, experiment.name)
    if name in way:
        raise UserError(f"{way[0]}: the inputs go in a circle: {' → '.join([*way, name])}.")
    try:
        builds_on = load_experiment(name, salt=experiment.salt, limit=experiment.limit)
    except UserError as error:
        raise UserError(f"{experiment.name} builds on {name!r}: {error}") from None
    ours, theirs = ((each.folds, each.salt, each.limit) for each in (experiment, builds_on))
    if ours != theirs:
        raise UserError(
            f"{experiment.name} builds on {name}, whose folds differ: (folds, salt, limit) are {theirs} there and "
            f"{ours} here. A model that has seen a battle's fold would tell its winner. Give both the same [split]."
        )
    if experiment.submittable and not builds_on.submittable:
        raise UserError(
            f"{experiment.name} builds on {name}, a diagnostic: it uses what test battles do not have, so neither "
            "can make a submission. Say so in the file: submittable = false"
        )
    return start_run(builds_on, data, runs, way)


def _options(experiment: Experiment) -> str:
    """What a command line needs to cut another experiment alike."""
    asked = {"salt": experiment.salt, "limit": experiment.limit}
    return "".join(f" --{key} {value}" for key, value in asked.items() if value)


def with_inputs(battles: Battles, inputs: Sequence[Run], files: Sequence[Path]) -> Battles:
    """The battles with what each input says of them, from one file each; raises UserError for a missing id."""
    told = {run.experiment.name: read_predictions(file) for run, file in zip(inputs, files, strict=True)}
    return told_by(battles, told) if told else battles


def told_by(battles: Battles, told: dict[str, Predictions]) -> Battles:
    """The battles with the predictions of experiments as columns, by id; raises UserError for a missing id."""
    columns = [each.align(battles.id, f"the predictions of {name}").proba for name, each in told.items()]
    return replace(battles, inputs=np.stack(columns, axis=1), input_names=tuple(told))


def all_inputs(run: Run) -> Iterator[Run]:
    """Every run that this one builds on, each once, none before its own inputs."""
    passed: set[Path] = set()
    for each in run.inputs:
        for inner in (*all_inputs(each), each):
            if inner.folder not in passed:
                passed.add(inner.folder)
                yield inner


def tuned_on(experiment: Experiment) -> tuple[int, ...]:
    """The folds that a search for the setting of this experiment, or of anything it builds on, has seen."""
    names = filter(None, (*experiment.inputs, experiment.teacher))
    below = [load_experiment(name, salt=experiment.salt, limit=experiment.limit) for name in names]
    return tuple(sorted({*experiment.tuned_on, *(fold for each in below for fold in tuned_on(each))}))


def is_ready(run: Run) -> bool:
    """Whether a run is whole, of these battles and this configuration, and has predicted the test battles.

    Its code is not asked for: what an earlier version has made is used until its own `run` makes it anew.
    """
    metrics = read_json(run.folder / "metrics.json") or {}
    if not {"data", "folds", "experiment", "identity"} <= metrics.keys():
        return False
    # A run that was begun anew and not finished holds folds of two configurations.
    whole = finished_folds(run.folder, run.experiment.folds, metrics["identity"])
    if metrics["data"]["hash"] != run.battles_hash or not set(run.member.tolist()) <= whole.keys():
        return False
    # As JSON has it, which knows no tuples.
    kept, resolved = metrics["experiment"], json.loads(json.dumps(run.experiment.resolved()))
    if any(_differs(kept.get(key), resolved[key]) for key in MAKES_THE_RESULT):
        return False
    if metrics.get("inputs", {}) != input_hashes(run.inputs) or not all(map(is_ready, run.inputs)):
        return False
    if read_kept(run.folder / "oof.csv", run.battles.id) is None:
        return False
    test = run.test
    return test is None or all(
        (read_fold(run.folder / f"fold{fold}") or {}).get("test_hash") == run.test_hash
        and read_kept(test_file(run.folder, fold), test.id) is not None
        for fold in range(run.experiment.folds)
    )


def input_hashes(inputs: Sequence[Run]) -> dict[str, str | None]:
    """The folder's name of each input, and the hash of its out-of-fold predictions."""
    return {each.folder.name: (read_json(each.folder / "metrics.json") or {}).get("predictions") for each in inputs}


def _differs(kept: Any, wanted: Any) -> bool:
    """Whether a recorded part of an experiment is another; what an older record does not name is as it is now."""
    if isinstance(wanted, dict):
        return {**wanted, **(kept or {})} != wanted
    return kept is not None and kept != wanted
