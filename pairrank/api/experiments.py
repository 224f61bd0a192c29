"""An experiment is given by its name, by its file, or as a model that a program has built."""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
import tomli_w

from pairrank.data.extra import Extra
from pairrank.errors import UserError, excerpt
from pairrank.files import write_text
from pairrank.models.base import Model, model_class, parameters_of
from pairrank.nested import dotted_items
from pairrank.runs.experiment import Experiment
from pairrank.runs.experiment_files import experiment_files, load_experiment, read_table
from pairrank.runs.run import Run, all_inputs

ExperimentLike: TypeAlias = str | Path | Model
"""The name of an experiment, the path of a .toml file, or a model, whose learned state is not used."""
Settings: TypeAlias = Mapping[str, Any] | Sequence[str]
"""Changes of parameters: values by dotted key, or texts such as "training.epochs=1"."""

ADDS_TO_THE_MODEL = ("inputs", "extra", "soft_targets", "teacher")
"""Keys of an experiment file that a model alone does not have."""


def find_experiment(
    experiment: ExperimentLike,
    settings: Settings = (),
    *,
    seed: int | None = None,
    salt: str = "",
    limit: int = 0,
    nested: bool = False,
    extra: Sequence[str | Extra] = (),
    evidence: bool = True,
) -> Experiment:
    """Return the experiment that an argument describes, with changes; `load_experiment` explains them.

    A model is the experiment that has its name, with the parameters that differ as changes, so that its run has the
    same label as that of the equal command. Raises UserError as `load_experiment` does, and for a model whose class
    pairrank could not load again.
    """
    changes = settings_as_texts(settings)
    options: dict[str, Any] = {"seed": seed, "salt": salt, "limit": limit, "nested": nested, "evidence": evidence}
    options["extra"] = [each if isinstance(each, Extra) else Extra(each) for each in extra]
    if not isinstance(experiment, Model):
        return load_experiment(str(experiment), changes, **options)
    if type(experiment.bare) is not model_class(experiment.model_name):
        raise UserError(
            f"model {experiment.model_name!r}: the class {type(experiment.bare).__name__} is not that of the file "
            "which pairrank loads for this name. Save it as a file of its own."
        )
    if file := _file_of(experiment):
        return load_experiment(file, [*_differences(experiment, file), *changes], **options)
    with TemporaryDirectory(prefix="pairrank-") as folder:
        name = re.sub(r"[^\w.@-]+", "-", experiment.model_name).strip("-.")
        new = Path(folder) / f"{name}.toml"
        write_text(new, tomli_w.dumps({"model": {"name": experiment.model_name}}))
        return load_experiment(str(new), [*_differences(experiment, str(new)), *changes], **options)


def _file_of(model: Model) -> str | None:
    """Return the experiment that has the name of a model and consists of it alone; None if there is none."""
    file = experiment_files().get(model.model_name)
    if file is None:
        return None
    table = read_table(file)
    is_alone = table["model"]["name"] == model.model_name and not any(map(table.get, ADDS_TO_THE_MODEL))
    return str(file) if is_alone else None


def _differences(model: Model, file: str) -> list[str]:
    """Return the parameters of a model that differ from those in an experiment file, as `key=value`."""
    known = dict(dotted_items(load_experiment(file).parameters))
    given = dict(dotted_items(parameters_of(model)))
    return settings_as_texts({key: value for key, value in given.items() if known.get(key) != value})


def settings_as_texts(settings: Settings) -> list[str]:
    """Return changes of parameters as the texts of `--set`."""
    if isinstance(settings, str):
        raise UserError(f"settings: found {excerpt(settings)}, expected a dictionary or a list of KEY=VALUE.")
    if not isinstance(settings, Mapping):
        return list(settings)
    return [f"{key}={_as_text(value)}" for key, value in dotted_items(settings)]


def _as_text(value: Any) -> str:
    """Return a value as `--set` reads it: as TOML, or plain if TOML would not read it."""
    if isinstance(value, str | Path):
        return _quoted_if_needed(str(value))
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    try:
        return json.dumps(value, ensure_ascii=False)
    except TypeError:
        raise UserError(
            f"settings: found {excerpt(value)}, expected a number, text, true, false or a list."
        ) from None


def _quoted_if_needed(text: str) -> str:
    try:
        tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return json.dumps(text, ensure_ascii=False)


def refuse_missing_folds(experiment: Experiment, folds: Sequence[int]) -> None:
    """Raise UserError for a fold that an experiment does not have."""
    if missing := [fold for fold in folds if not 0 <= fold < experiment.folds]:
        raise UserError(f"--fold {missing[0]}: {experiment.name} has the folds 0 to {experiment.folds - 1}.")


def refuse_unreadable_extra(runs: Sequence[Run]) -> None:
    """Raise UserError for all files of extra battles that cannot be read, before any work is done."""
    complaints = []
    everything = {each.folder: each for run in runs for each in (*all_inputs(run), run)}
    for run in everything.values():
        experiment = run.experiment
        names = [source.name for source in experiment.extra]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            complaints.append(f"{experiment.name}: more than one extra source is called {', '.join(repeated)}")
        for source in experiment.extra:
            try:
                _ = source.battles_of(run.data.unlabelled)
            except UserError as error:
                complaints.append(f"{experiment.name}: {error}")
    if complaints:
        raise UserError("\n".join(dict.fromkeys(complaints)))
