"""The rows that a fold's model is trained on: training battles with inputs, soft targets and extra battles.

The code of this module is part of a fold's identity: after a change here, finished folds are trained again.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

import numpy as np

from pairrank.data.battles import Battles
from pairrank.data.extra import Extra, ExtraUsage, add_extra
from pairrank.data.folds import prompt_keys
from pairrank.data.predictions import Predictions


def attach_predictions(battles: Battles, inputs: Mapping[str, Predictions]) -> Battles:
    """Return the battles with the predictions of experiments as columns, joined by id.

    Raises UserError if a battle is missing from the predictions of any experiment.
    """
    if not inputs:
        return battles
    columns = [each.align(battles.id, f"the predictions of {name}").proba for name, each in inputs.items()]
    return replace(battles, inputs=np.stack(columns, axis=1), input_names=tuple(inputs))


def training_rows(
    battles: Battles,
    inputs: Mapping[str, Predictions],
    teacher: Predictions | None,
    extra: Sequence[Extra],
    scored: Battles,
    test_prompts: AbstractSet[str],
) -> tuple[Battles, list[ExtraUsage]]:
    """Return the battles that a fold's model is trained on, and the usage of each source of extra battles.

    `battles` are those of the other folds. `inputs`, if any, replace the predictions that these battles carry, and
    `teacher` gives their soft targets. Extra battles are left out if their prompt is in `scored` or in
    `test_prompts` (`prompt_keys`).
    """
    rows = attach_predictions(battles, inputs)
    if teacher is not None:
        rows = replace(rows, soft=teacher.align(rows.id).proba)
    return add_extra(rows, extra, test_prompts, set(prompt_keys(scored)))
