"""The inputs, teachers, encoder and folder of an experiment are resolved once, before anything is trained."""

from dataclasses import replace
from pathlib import Path

from pairrank.data.folder import Data
from pairrank.errors import UserError
from pairrank.runs.experiment import Experiment
from pairrank.runs.experiment_files import load_experiment
from pairrank.runs.overrides import split_label
from pairrank.runs.run import Run


def resolve_run(experiment: Experiment, data: Data, runs: Path, above: tuple[str, ...] = ()) -> Run:
    """Return the run of an experiment, with the encoders, names and folders of all it builds on resolved.

    `runs` is the folder of all runs, `above` the experiments that build on this one. Raises UserError for an
    encoder that is not available, and for inputs that do not exist, form a circle or do not fit the experiment.
    """
    inputs = tuple(_resolve_input(name, experiment, data, runs, above) for name in experiment.inputs)
    teachers = tuple(_resolve_input(name, experiment, data, runs, above) for name in experiment.teachers)
    sha256 = ""
    if wanted := experiment.encoders:
        from pairrank.encoders.architecture import choose_pooling
        from pairrank.encoders.catalogue import find_encoder

        found = find_encoder(wanted)
        sha256 = found.sha256
        parameters = {**experiment.parameters, experiment.encoder_parameter: [found.name]}
        if parameters.get("pooling") == "auto" and parameters.get("head") != "pretrained":
            # What the encoder decides is recorded, so that a run of before "auto" existed has the same settings.
            # A pretrained head has a pooling of its own.
            parameters["pooling"] = choose_pooling("auto", found.folder)
        used = "" if found.name == wanted[0] else found.name
        experiment = replace(experiment, parameters=parameters, encoder=used)
    return Run(experiment, data, runs / experiment.label, inputs, teachers, sha256)


def _resolve_input(name: str, experiment: Experiment, data: Data, runs: Path, above: tuple[str, ...]) -> Run:
    """Return the run of one input or teacher, on the experiment's own data and folds."""
    path = (*above, experiment.name)
    plain, changes = split_label(name)
    if plain in path:
        raise UserError(f"{path[0]}: the inputs form a circle: {' → '.join([*path, name])}.")
    try:
        below = load_experiment(
            plain,
            changes,
            salt=experiment.salt,
            limit=experiment.limit,
            train_size=experiment.train_size,
            train_sample=experiment.train_sample,
            evidence=experiment.evidence,
            starts_code=experiment.starts_code,
        )
    except UserError as error:
        raise UserError(f"{experiment.name} builds on {name!r}: {error}") from None
    ours, theirs = (
        (each.folds, each.salt, each.limit, each.train_size, each.train_sample) for each in (experiment, below)
    )
    if ours != theirs:
        raise UserError(
            f"{experiment.name} builds on {name}, whose folds differ: (folds, salt, limit, train_size, "
            f"train_sample) are {theirs} there and {ours} here. A model that was trained on a battle's fold would "
            "reveal its winner. Give both the same [split]."
        )
    if experiment.submittable and not below.submittable:
        raise UserError(
            f"{experiment.name} builds on {name}, a diagnostic that uses columns which test battles lack. Neither "
            "can be submitted. State it in the file: submittable = false"
        )
    return resolve_run(below, data, runs, path)
