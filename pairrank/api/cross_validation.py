"""An experiment is cross-validated as the command `run` does it, and its results are an object to work with."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pairrank import distributed
from pairrank.api.experiments import (
    ExperimentLike,
    Settings,
    find_experiment,
    refuse_missing_folds,
    refuse_unreadable_extra,
)
from pairrank.api.html import folded, table
from pairrank.api.model_cards import write_cards_of
from pairrank.api.sources import BattlesLike, DataLike, Source, as_battles, find_source, home_of
from pairrank.data.battles import WINNERS
from pairrank.data.extra import Extra
from pairrank.data.folds import split_keys
from pairrank.data.predictions import Predictions, read_predictions
from pairrank.errors import UserError
from pairrank.evaluation.entries import Entry
from pairrank.evaluation.intervals import Mean, clustered_mean
from pairrank.evaluation.run_record import RunRecord
from pairrank.report.formatting import interval_ends
from pairrank.report.scored_runs import ScoredRun, score_run
from pairrank.runs import cross_validation
from pairrank.runs.fold_models import load_fold_models
from pairrank.runs.resolution import resolve_run
from pairrank.runs.run import Run

if TYPE_CHECKING:
    import pandas as pd

OUTCOMES = ("A", "B", "tie")
"""Names of the outcomes, in the order of the columns of probabilities."""


@dataclass(frozen=True, eq=False, repr=False)
class CrossValidation:
    """The results of `cross_validate`; its predictions are out-of-fold."""

    run: Run
    """The experiment on its data; `run.folder` has all files."""
    source: Source
    record: RunRecord
    """Configuration, scores, costs and provenance."""
    predictions: Predictions
    """The predictions of each battle by the model that was not trained on its fold."""
    test: Predictions | None
    """The mean predictions of the fold models for the test battles; None if there are none."""

    @property
    def label(self) -> str:
        """Name of the run, which tells how it differs from the experiment."""
        return self.record.label

    @property
    def folder(self) -> Path:
        """The folder with the models and all results."""
        return self.run.folder

    @property
    def entry(self) -> Entry:
        """The results as an entry of a leaderboard."""
        return Entry(self.label, self.predictions, self.record, self.test)

    @cached_property
    def scored(self) -> ScoredRun:
        """The predictions beside the observed outcomes, without folds on which the setting was tuned."""
        return score_run(self.entry, self.source.train)

    @cached_property
    def mean_loss(self) -> Mean:
        """Log loss in nats with its 95 % interval, which accounts for the sampling of prompts.

        Raises UserError if every trained fold was part of the search for the setting.
        """
        if not len(self.scored.rows):
            raise UserError(f"{self.label}: its setting was tuned on every fold that is trained. Train the others.")
        keys = split_keys(self.source.train)
        return clustered_mean(self.scored.losses, [keys[row] for row in self.scored.rows.tolist()])

    @property
    def log_loss(self) -> float:
        """Mean out-of-fold log loss in nats."""
        return self.mean_loss.mean

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the log loss."""
        return self.mean_loss.low, self.mean_loss.high

    def predict(self, battles: BattlesLike) -> Predictions:
        """Return the geometric mean of the fold models' predictions for other battles, or a DataFrame of them."""
        return load_fold_models(self.folder).predict(as_battles(battles, "repair"))

    def to_dataframe(self) -> "pd.DataFrame":
        """Return one row per scored battle: id, fold, the three probabilities, observed winner and loss in nats."""
        import pandas as pd

        scored = self.scored
        columns = {"id": self.source.train.id[scored.rows], "fold": self.run.fold_index[scored.rows]}
        columns |= dict(zip(WINNERS, scored.proba.T, strict=True))
        winner = np.array(OUTCOMES, dtype=object)[scored.winner]
        return pd.DataFrame(columns | {"winner": winner, "loss": scored.losses})

    def __repr__(self) -> str:
        return f"CrossValidation({self.label!r}, {self._score()}, {len(self.scored.rows):,} battles)"

    def _score(self) -> str:
        return f"log loss {self.log_loss:.4f} {interval_ends(self.mean_loss, '.4f')}"

    def _repr_html_(self) -> str:
        record = self.record
        rows = [
            ("log loss [95 %]", f"{self.log_loss:.4f} {interval_ends(self.mean_loss, '.4f')}"),
            ("accuracy", "–" if record.accuracy is None else f"{record.accuracy:.1%}"),
            ("battles", f"{len(self.scored.rows):,}"),
            ("folds", ", ".join(map(str, record.scored_folds))),
            ("training", f"{record.training_seconds or 0:,.1f} s"),
        ]
        about = ": ".join(filter(None, [self.label, self.run.experiment.about]))
        return table(["", "value"], rows, about) + folded("Notes", record.warnings)


def cross_validate(
    experiment: ExperimentLike,
    data: DataLike = None,
    *,
    test: "BattlesLike | None" = None,
    folds: Sequence[int] = (),
    salt: str = "",
    limit: int = 0,
    seed: int | None = None,
    settings: Settings = (),
    nested: bool = False,
    extra: Sequence[str | Extra] = (),
    evidence: bool = True,
    runs: str | Path | None = None,
) -> CrossValidation:
    """Train one model per fold, predict the fold that it has not seen, and return the results.

    It is the command `run` for one experiment: inputs that are missing are trained first, finished folds are used
    again, and an interrupted training resumes. Progress is shown by bars in notebooks and terminals; details are
    logged to the logger "pairrank" at level info.

    - `experiment`: the name of an experiment, the path of a .toml file, or a model such as `build("structure")`,
      which itself stays unfitted.
    - `data`: a folder, a file, a name such as "hf:OWNER/NAME", `Battles`, or a DataFrame with the columns of any
      known schema. None means ./Dataset, or else the simulated sample.
    - `test`: the battles to predict, if `data` are in memory.
    - `folds`: train only these; () for all.
    - `salt`: any text; it gives another split. `limit`: use only the first battles; 0 uses all.
    - `seed`: random seed of the model. `settings`: changes of its parameters, such as `{"training.epochs": 1}`.
    - `nested`: train the inputs again inside each fold.
    - `extra`: files or folders of battles to train on as well, which are never scored.
    - `evidence`: whether votes on identical and empty answers correct the predictions.
    - `runs`: the folder of the runs. None means runs/NAME-OF-THE-DATA, or a temporary folder for `data` in memory.

    >>> import pairrank
    >>> result = pairrank.cross_validate("prior")  # on the sample, where there is no ./Dataset
    >>> round(result.log_loss, 2)
    1.1
    >>> result.to_dataframe().columns.tolist()
    ['id', 'fold', 'winner_model_a', 'winner_model_b', 'winner_tie', 'winner', 'loss']

    Raises UserError for every mistake that the command reports.
    """
    if distributed.world_size() > 1:
        raise UserError("torchrun starts several processes, which only the command `run` combines. Use that.")
    source = find_source(data, test)
    found = find_experiment(
        experiment, settings, seed=seed, salt=salt, limit=limit, nested=nested, extra=extra, evidence=evidence
    )
    refuse_missing_folds(found, folds)
    run = resolve_run(found, source, home_of(runs, source))
    refuse_unreadable_extra([run])
    record = cross_validation.cross_validate(run, sorted(set(folds)) or None)
    write_cards_of(source, [run])
    return _results(run, source, record)


def _results(run: Run, source: Source, record: RunRecord) -> CrossValidation:
    """Return the results of a finished run as its files have them."""
    test = run.folder / "test.csv"
    predictions = read_predictions(run.folder / "oof.csv")
    return CrossValidation(run, source, record, predictions, read_predictions(test) if test.is_file() else None)
