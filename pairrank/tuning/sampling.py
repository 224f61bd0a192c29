"""Optuna's TPE chooses the next setting and its pruners stop bad ones, in a way that survives an interruption."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from pairrank.tuning.database import quiet_optuna
from pairrank.tuning.storage import position_of

Pruner = Literal["median", "hyperband", "none"]

STARTUP = 10
"""Trials that are drawn at random before TPE uses the results."""


@dataclass
class PositionSeededTPE(BaseSampler):
    """TPE, seeded for each trial by the trial's position, so that an interrupted study tries the same settings.

    It is multivariate and works in groups, because parameters depend on each other and some are used only under
    conditions (Bergstra et al. 2011; Falkner et al. 2018).
    """

    seed: int
    study: Study
    """The whole study: hyperband gives a sampler the trials of one bracket, among which positions repeat."""

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Create the sampler of this trial with its seed."""
        digest = sha256(f"{self.seed}/{position_of(self.study, trial.number)}".encode()).digest()
        with quiet_optuna():
            self._tpe = TPESampler(
                seed=int.from_bytes(digest[:4], "big"),
                n_startup_trials=STARTUP,
                multivariate=True,
                group=True,
                constant_liar=True,
            )

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the parameters that are drawn jointly."""
        return self._tpe.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw the joint parameters."""
        return self._tpe.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw a parameter that is not drawn jointly."""
        return self._tpe.sample_independent(study, trial, param_name, param_distribution)


def build_pruner(name: Pruner) -> optuna.pruners.BasePruner:
    """Return the pruner of this name; it receives the losses of a trial on the first fold only."""
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=STARTUP // 2)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, reduction_factor=2)
    return optuna.pruners.NopPruner()
