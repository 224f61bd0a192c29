"""A fold's identity is a hash of what its result depends on; a finished fold is reused only if it is unchanged."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pairrank import plugins
from pairrank.data.predictions import predictions_hash, read_predictions
from pairrank.models.base import shipped_models
from pairrank.runs.provenance import code_hash, own_code_hash
from pairrank.runs.run import Run


def identity_of(run: Run) -> str:
    """Return a hash of a run's model, split, battles, inputs, extra battles, encoder and code, but not names."""
    rebuilt = [*(run.inputs if run.experiment.nested else ()), *run.teachers]
    parts = [_own_parts(run), run.train.content_hash(), [_recipe(each) for each in rebuilt]]
    if run.chosen:
        parts.append(sorted(run.chosen.items()))
    return _hash(parts)


def recipe_hash(run: Run) -> str:
    """Return a hash of the settings, code and encoders of a run and of all it builds on, but not of its battles."""
    return _hash(_recipe(run))


def _recipe(run: Run) -> list[Any]:
    return [_own_parts(run), [_recipe(each) for each in run.builds_on]]


def _own_parts(run: Run) -> list[Any]:
    """Return what the predictions of a run depend on apart from its battles and inputs."""
    experiment = run.experiment
    resolved = experiment.resolved()
    own_code = plugins.sources_in(resolved["model"])
    modules = ["pairrank.runs.training_rows"]
    if experiment.model in shipped_models():
        modules.insert(0, f"pairrank.models.{experiment.model}")
    if experiment.evidence:
        modules.append("pairrank.models.corrected")
    if experiment.train_size:
        modules.append("pairrank.data.subsets")
    parts = [resolved["model"], resolved["split"], list(map(code_hash, modules)), run.encoder_sha256]
    if own_code:
        parts.append([[source.name, own_code_hash(source)] for source in own_code])
    if experiment.extra:
        # Which extra battles are used also depends on the prompts of the test battles.
        found = [source.battles_of(run.data.unlabelled) for source in experiment.extra]
        parts += [[battles.content_hash() for battles in found], sorted(run.test_prompts)]
    if experiment.teachers:
        parts += [experiment.teacher_weight, *map(code_hash, ("pairrank.runs.teaching", "pairrank.models.pool"))]
    if experiment.soft_targets:
        parts.append(predictions_hash(read_predictions(Path(experiment.soft_targets))))
    return parts


def _hash(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
