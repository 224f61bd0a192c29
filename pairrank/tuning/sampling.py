"""What is tried next, and what is given up: Optuna's TPE and pruners, made to survive an interruption."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from pairrank.tuning.storage import place_of, quiet_optuna

Pruner = Literal["median", "hyperband", "none"]

STARTUP = 10
"""Trials that are drawn at random before TPE has anything to go by."""


@dataclass
class ByPlace(BaseSampler):
    """TPE, seeded anew for each trial by its place: a study that was interrupted tries what it would have tried.

    Multivariate and in groups, since parameters depend on each other and some are asked for only under conditions
    (Bergstra et al. 2011; Falkner et al. 2018).
    """

    seed: int
    study: Study
    """All of it: hyperband hands a sampler one bracket's trials, among which places repeat."""

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Seed the trial's own sampler."""
        digest = sha256(f"{self.seed}/{place_of(self.study, trial.number)}".encode()).digest()
        with quiet_optuna():
            self._tpe = TPESampler(
                seed=int.from_bytes(digest[:4], "big"),
                n_startup_trials=STARTUP,
                multivariate=True,
                group=True,
                constant_liar=True,
            )

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """What is drawn jointly."""
        return self._tpe.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw it."""
        return self._tpe.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw what was not drawn jointly."""
        return self._tpe.sample_independent(study, trial, param_name, param_distribution)


def build_pruner(name: Pruner) -> optuna.pruners.BasePruner:
    """What gives a trial up by its steps on the first fold."""
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=STARTUP // 2)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, reduction_factor=2)
    return optuna.pruners.NopPruner()
