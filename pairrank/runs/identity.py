"""What a fold's result depends on: a finished fold is used again only where nothing of that has changed."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pairrank.data.predictions import predictions_hash, read_predictions
from pairrank.runs.experiment import Experiment, load_experiment
from pairrank.runs.provenance import code_hash
from pairrank.runs.run import Run


def identity_of(run: Run) -> str:
    """Model, split, battles, inputs, extra battles, encoder and code of a run; neither prose nor names."""
    experiment = run.experiment
    remade = experiment.inputs if experiment.nested else ()
    parts = [
        _makes(experiment, run),
        run.train.content_hash(),
        [_remakes(name, experiment, run) for name in (*remade, experiment.teacher) if name],
    ]
    if run.chosen:
        parts.append(sorted(run.chosen.items()))
    return _hash(parts)


def recipe_hash(run: Run) -> str:
    """What makes the predictions of a run and of all that it builds on, battles apart: settings, code, encoders."""
    return _hash(_recipe(run.experiment, run))


def _hash(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _makes(experiment: Experiment, run: Run) -> list[Any]:
    """What makes an experiment's predictions, battles and inputs apart."""
    resolved = experiment.resolved()
    modules = (f"pairrank.models.{experiment.model}", "pairrank.data.folds", "pairrank.data.extra")
    parts = [resolved["model"], resolved["split"], list(map(code_hash, modules)), encoder_hash(experiment)]
    if experiment.extra:
        # Which of them are learned from depends on the test battles' prompts too.
        parts += [[source.battles.content_hash() for source in experiment.extra], sorted(run.test_keys)]
    if experiment.soft_targets:
        parts.append(predictions_hash(read_predictions(Path(experiment.soft_targets))))
    return parts


def _remakes(name: str, above: Experiment, run: Run) -> list[Any]:
    """What makes an experiment that is made anew inside a fold, with all that it builds on."""
    return _recipe(load_experiment(name, salt=above.salt, limit=above.limit), run)


def _recipe(experiment: Experiment, run: Run) -> list[Any]:
    builds_on = [each for each in (*experiment.inputs, experiment.teacher) if each]
    return [_makes(experiment, run), [_remakes(each, experiment, run) for each in builds_on]]


def encoder_hash(experiment: Experiment) -> str:
    """The hash of the encoder's weights; "" for a model without one."""
    if not experiment.parameters.get("encoder"):
        return ""
    from pairrank.encoders.catalogue import find_encoder

    return find_encoder(experiment.parameters["encoder"]).sha256
