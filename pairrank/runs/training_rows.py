"""The rows that a fold's model is trained on: training battles with inputs, soft targets and extra battles.

The code of this module is part of a fold's identity: after a change here, finished folds are trained again.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

import numpy as np

from pairrank.data.battles import Battles
from pairrank.data.extra import Extra, ExtraUsage, PseudoLabels, add_extra
from pairrank.data.folder import Data, TrainingSubset
from pairrank.data.folds import Folds, exclusion_keys, is_excluded
from pairrank.data.predictions import Predictions
from pairrank.data.probabilities import Proba


def split_fold(battles: Battles, fold_index: Folds, fold: int) -> tuple[Battles, Battles]:
    """Return the battles of the other folds, which may be learned from, and the scored battles of `fold`."""
    scored = fold_index == fold
    return battles.take(~scored), battles.take(scored)


def inner_data(
    data: Data, battles: Battles, fold_index: Folds, fold: int, test_prompts: AbstractSet[str]
) -> TrainingSubset:
    """Return the training battles of a fold as data of their own, for what is trained inside the fold.

    The prompts of the scored battles and those in `test_prompts` are excluded: no extra battle may have them.
    Battles of the test file that may be learned from without winners are kept, except for those of scored prompts.
    """
    train, scored = split_fold(battles, fold_index, fold)
    keys = exclusion_keys(scored)
    test = data.unlabelled
    return TrainingSubset(
        data.path,
        f"{data.name}, without fold {fold}",
        train,
        excluded_prompts=frozenset(test_prompts) | keys,
        unlabelled=None if test is None else test.take(~is_excluded(test, keys)),
    )


def excluded_prompts(data: Data, test: Battles | None) -> frozenset[str]:
    """Return the keys of the prompts that no extra battle may have, whichever fold is scored."""
    return data.excluded_prompts | (exclusion_keys(test) if test is not None else frozenset())


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
    fold_index: Folds,
    fold: int,
    inputs: Mapping[str, Predictions],
    soft: Proba | None,
    extra: Sequence[Extra],
    test_prompts: AbstractSet[str],
    pseudo: PseudoLabels | None = None,
) -> tuple[Battles, list[ExtraUsage]]:
    """Return what the model of `fold` is trained on, and the usage of each source of extra battles.

    `battles` are all battles with winners, (n,) `fold_index` their folds. `inputs`, if any, replace the predictions
    that the battles carry, and `soft`, (m, 3), their soft targets: those of the m battles outside the fold. Extra
    battles are left out if their prompt is in the scored fold or in `test_prompts` (`exclusion_keys`); `pseudo`
    decides those without votes, which may be battles of the test file.
    """
    train, scored = split_fold(battles, fold_index, fold)
    rows = attach_predictions(train, inputs)
    if soft is not None:
        rows = replace(rows, soft=soft)
    return add_extra(rows, extra, test_prompts, exclusion_keys(scored), pseudo)
