"""Experiment files: where they are found, what they may hold, and the experiment that one describes."""

import logging
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pairrank import plugins
from pairrank.data.extra import Extra
from pairrank.data.folder import shipped
from pairrank.data.folds import name_folds
from pairrank.errors import UserError, combined_error, excerpt, unknown_name
from pairrank.evaluation.run_record import RESERVED
from pairrank.features.groups import own_group
from pairrank.files import reading
from pairrank.models.base import current_name, model_class, own_model, parameters_of, with_current_names
from pairrank.nested import from_mapping
from pairrank.runs.experiment import RUN_FILE, Experiment, Split
from pairrank.runs.overrides import override, parse_change, refuse_infinite

logger = logging.getLogger(__name__)

KEYS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "about": (str, "a string"),
    "submittable": (bool, "true or false"),
    "inputs": (list, "a list of experiments"),
    "extra": (list, 'a list of paths, or of tables such as {path = "…", weight = 0.2, teaches = "margin"}'),
    "soft_targets": (str, "the path of a prediction file"),
    "teacher": ((str, list), "the name of an experiment, or a list of names"),
    "teacher_weight": ((int, float), "a number above 0 and at most 1"),
    "evidence": (bool, "true or false"),
    "seconds": ((int, float), "a number"),
    "model": (dict, 'a table [model] with name = "…"'),
    "split": (dict, "a table [split]"),
    "search": (dict, "a table [search]"),
    "tuned_on": (list, "a list of folds"),
}
"""The keys of an experiment file: the type of each value, and its description for messages."""


def experiment_folders() -> list[Path]:
    """Return the folders that are searched for experiment files, the user's own ./experiments first."""
    return [Path("experiments"), shipped("experiments", "experiments")]


def experiment_files() -> dict[str, Path]:
    """Return the file of every experiment by name; a user's file replaces a shipped one of the same name."""
    found: dict[str, Path] = {}
    for folder in experiment_folders():
        for file in sorted(folder.glob("[!.]*.toml")):
            found.setdefault(file.stem, file)
    return found


def read_table(path: Path) -> dict[str, Any]:
    """Return the content of an experiment file with all keys and types checked except those of the model.

    Raises UserError, with all complaints at once, if the file is missing or unreadable, is not TOML, or has wrong
    keys.
    """
    if not path.is_file():
        what = "a folder or a pipe, expected an experiment file" if path.exists() else "no such experiment file"
        raise UserError(f"{path}: {what}.")
    with reading(path, "docs/how-to/experiments.md shows an experiment file."):
        # Windows editors may begin a file with a byte-order mark.
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    complaints = [unknown_name("key", key, KEYS) for key in table if key not in KEYS]
    for key, (kind, expected) in KEYS.items():
        if key in table and not isinstance(table[key], kind):
            complaints.append(f"{key} = {excerpt(table[key])}: expected {expected}.")
    model = table.get("model", {})
    if isinstance(model, dict) and not isinstance(model.get("name"), str):
        complaints.append('no model. Expected a table [model] with name = "…".')
    if complaints:
        raise combined_error(str(path), complaints, "docs/how-to/experiments.md shows an experiment file.")
    return table


def load_experiment(
    name: str,
    overrides: Sequence[str] = (),
    *,
    seed: int | None = None,
    salt: str = "",
    limit: int = 0,
    nested: bool = False,
    train_size: int = 0,
    train_sample: int = 0,
    extra: Sequence[Extra] = (),
    evidence: bool = True,
    starts_code: bool = True,
) -> Experiment:
    """Return the experiment of this name, or of this .toml file, with changes from the command line.

    `overrides` are `key=value` changes of the model's parameters, `seed`, `salt`, `limit`, `nested`, `train_size`
    and `train_sample` replace the file's values where given, and `extra` replaces the file's list. With
    `evidence=False`, no evidence corrects the predictions. Whatever differs from the file is part of the run's
    name. Code of the user's own that the file names is loaded, unless the file is that of a run or `starts_code` is
    false. Raises UserError for an unknown name, unknown keys, values of a wrong type, and contradictions.
    """
    path = _find(name)
    table = read_table(path)
    starts_code = starts_code and path.name != RUN_FILE
    # A mapping, so that the last of two values for one key counts, as it does in the label.
    changes = dict(map(parse_change, overrides))
    place = f"{path}{''.join(f' --set {key}={text}' for key, text in changes.items())}"
    try:
        if starts_code:
            table["model"] = load_own_code(table["model"], path.parent)
        changes = _with_current_keys(table["model"]["name"], changes)
        parameters, search = _parameters(path, table["model"], changes), _search(path, table)
        split = from_mapping(Split, table.get("split", {}), "[split]")
        sources = tuple(map(_source, table.get("extra", [])))
    except UserError as error:
        raise UserError(f"{place}: {error}") from None
    if seed is not None and parameters.get("seed", seed) != seed:
        parameters["seed"], changes["seed"] = seed, str(seed)
    given = _given(salt=salt, limit=limit, nested=nested, train_size=train_size, train_sample=train_sample)
    changes |= {key: str(value).lower() for key, value in given.items() if value != getattr(split, key)}
    if extra and tuple(extra) != sources:
        sources = tuple(extra)
        changes["extra"] = ",".join(",".join(map(str, source.settings().values())) for source in extra)
    is_corrected = table.get("evidence", True)
    changes |= {"evidence": "false"} if is_corrected and not evidence else {}
    experiment = Experiment(
        **_plain_values(path, table),
        model=table["model"]["name"],
        parameters=parameters,
        extra=sources,
        evidence=is_corrected and evidence,
        search=search,
        overrides=tuple(f"{key}={text}" for key, text in changes.items()),
        starts_code=starts_code,
        **(asdict(split) | given),
    )
    _refuse_contradictions(experiment, place)
    _refuse_other_split(experiment, split, place)
    return experiment


def _search(path: Path, table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table [search] with present names; former ones are logged, unless [model] has some too."""
    model = table["model"]["name"]
    is_logged = any(current_name(model, key) != key for key in table["model"])
    return with_current_names(model, table.get("search", {}), "" if is_logged else f"{path}, [search]")


def _given(**options: Any) -> dict[str, Any]:
    """Return the options of the split that were given."""
    return {key: value for key, value in options.items() if value}


def load_own_code(table: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Load the code of the user's own that the table of a model names, and return the table as a run records it.

    `folder` is the one that paths are relative to. Only for what the user has named: the code is run.
    """
    loaders = {"name": own_model, "groups": own_group, "head": _own_head}
    return {key: _loaded(value, folder, loaders[key]) if key in loaders else value for key, value in table.items()}


def _loaded(value: Any, folder: Path, load: Callable[[str, Path], str]) -> Any:
    if isinstance(value, list):
        return [_loaded(each, folder, load) for each in value]
    return load(value, folder) if isinstance(value, str) and plugins.is_reference(value) else value


def _own_head(reference: str, folder: Path) -> str:
    from pairrank.models.heads.neural import own_head  # it needs torch

    return own_head(reference, folder)


def _plain_values(path: Path, table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an experiment that its file alone decides."""
    return {
        "name": path.resolve().parent.name if path.name == RUN_FILE else path.stem,
        "about": table.get("about", ""),
        "submittable": table.get("submittable", True),
        "soft_targets": table.get("soft_targets", ""),
        "inputs": tuple(table.get("inputs", [])),
        "teachers": _names(table.get("teacher", [])),
        "teacher_weight": float(table.get("teacher_weight", 1)),
        "seconds": float(table.get("seconds", 0)),
        "tuned_on": tuple(table.get("tuned_on", [])),
    }


def _names(value: str | list[Any]) -> tuple[Any, ...]:
    """Return a name, or a list of them, as a tuple without "", which files of runs have for no name."""
    return tuple(name for name in ([value] if isinstance(value, str) else value) if name != "")


def _find(name: str) -> Path:
    """Return the file of an experiment by its name or path."""
    files = experiment_files()
    path = Path(name) if name.endswith(".toml") else files.get(name)
    if path is None:
        raise UserError(unknown_name("experiment", name, files))
    return path


def _parameters(path: Path, table: Mapping[str, Any], changes: Mapping[str, str]) -> dict[str, Any]:
    """Return all hyperparameters of the model in a table [model], with changes of the command line."""
    values = dict(table)
    model = values.pop("name")
    values = with_current_names(model, values, f"{path}, [model]")
    for key, text in changes.items():
        override(values, key, text)
    values |= load_own_code({key: values[key] for key in changes if key in plugins.KINDS}, Path())
    refuse_infinite(values)
    return parameters_of(from_mapping(model_class(model), values, f"model {model!r}"))


def _with_current_keys(model: str, changes: Mapping[str, str]) -> dict[str, str]:
    """Return changes of the command line with present names in place of former ones, each of which is logged."""
    current = {}
    for key, text in changes.items():
        name = current_name(model, key)
        if name != key:
            logger.warning("--set %s: %s is now %s. The former name is still read.", f"{key}={text}", key, name)
        current[name] = text
    return current


def _source(value: Any) -> Extra:
    """Return one entry of `extra`: a path, or a table with a path and a weight."""
    if not isinstance(value, str | dict) or (isinstance(value, dict) and "path" not in value):
        raise UserError(f"extra: {excerpt(value)}: expected {KEYS['extra'][1]}.")
    source: Extra = from_mapping(Extra, {"path": value} if isinstance(value, str) else value, "extra")
    return source


def _refuse_contradictions(experiment: Experiment, place: str) -> None:
    """Raise UserError if keys of an experiment contradict each other or its model."""
    model, wrong = experiment.build(), []
    if experiment.name in RESERVED:
        wrong.append("former results and entries are kept in folders of these names. Rename the experiment.")
    given = {"soft_targets": experiment.soft_targets, "teacher": experiment.teachers}
    teachers = [key for key, value in given.items() if value]
    if teachers and experiment.parameters.get("soft_targets") is not True:
        wrong.append(
            f"{teachers[0]} is given, but the model does not learn from it: [model] needs soft_targets = true, "
            "which not every model has."
        )
    if len(teachers) == 2:
        wrong.append("soft_targets and teacher: expected only one of them.")
    wrong += _teaching_complaints(experiment)
    for key, names in (("inputs", experiment.inputs), ("teacher", experiment.teachers)):
        if wrong_names := [name for name in names if not isinstance(name, str)]:
            wrong.append(f"{key}: {excerpt(wrong_names[0])}: expected the name of an experiment.")
        if twice := {name for name in names if names.count(name) > 1}:
            wrong.append(f"{key}: {', '.join(sorted(map(str, twice)))} is named more than once.")
    if experiment.inputs and experiment.extra:
        wrong.append("inputs and extra: the inputs' out-of-fold predictions do not cover extra battles.")
    if experiment.submittable and model.needs_names:
        wrong.append("the model reads names, which test battles lack. Add submittable = false.")
    if experiment.inputs and model.inputs == "ignored":
        wrong.append(f"inputs: the model {experiment.model!r} does not read predictions of other experiments.")
    if model.inputs == "needed" and not experiment.inputs:
        wrong.append(f'inputs: the model {experiment.model!r} needs at least one, such as inputs = ["structure"].')
    if experiment.nested and not experiment.inputs:
        wrong.append("nested = true: this experiment has no inputs to train again.")
    if experiment.train_sample and not experiment.train_size:
        wrong.append("train_sample: it has no effect without train_size, the number of training battles.")
    if wrong:
        raise UserError(f"{place}: {' '.join(wrong)}")


def _teaching_complaints(experiment: Experiment) -> list[str]:
    """Return what is wrong with the weight of the teachers, and with extra battles that they would decide."""
    wrong = []
    if not 0 < experiment.teacher_weight <= 1:
        wrong.append(f"teacher_weight = {experiment.teacher_weight:g}: expected a number above 0 and at most 1.")
    if experiment.teacher_weight != 1 and not experiment.teachers:
        wrong.append("teacher_weight is given, but no teacher.")
    if not experiment.teachers:
        wrong += [
            f'extra {source.path!r}: labels = "teacher" needs a `teacher`, which decides its battles.'
            for source in experiment.extra
            if source.labels == "teacher"
        ]
    return wrong


def _refuse_other_split(experiment: Experiment, file: Split, place: str) -> None:
    """Raise UserError if `tuned_on` is invalid, belongs to another split, or leaves no fold to score."""
    used = experiment.tuned_on
    if not used:
        return
    if not all(type(fold) is int and 0 <= fold < file.folds for fold in used) or len(set(used)) != len(used):
        expected = f"numbers from 0 to {file.folds - 1}, each once"
        raise UserError(f"{place}: tuned_on = {list(used)}: expected {expected}.")
    if len(used) == file.folds:
        raise UserError(f"{place}: tuned_on names every fold, so no fold is left to score this setting on.")
    if (experiment.folds, experiment.salt) != (file.folds, file.salt):
        raise UserError(
            f"{place}: its setting was tuned on {name_folds(used)} of salt {file.salt!r}. With another split "
            f"(salt {experiment.salt!r}), the search has used battles of every fold."
        )
