"""What a run leaves in its folder, and how that is read again: nothing stale, damaged or half-written is used."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pairrank.battles import Battles, Objects
from pairrank.config import RUN_FILE, Experiment
from pairrank.data_folder import DataFolder
from pairrank.errors import UserError
from pairrank.models.base import Model, load_model
from pairrank.predictions import Predictions, geometric_mean, read_predictions
from pairrank.provenance import read_json, read_metrics

FOLD_KEYS = {
    "identity",
    "test_hash",
    "battles",
    "log_loss",
    "training_seconds",
    "predict_seconds",
    "swap_gap",
    "peak_memory_mb",
    "symmetric",
    "report",
    "versions",
    "commit",
}
"""What fold.json holds; one that lacks any of it is damaged."""


@dataclass(frozen=True)
class Run:
    """An experiment on its data: what makes its result, and the folder that holds it."""

    experiment: Experiment
    data: DataFolder
    folder: Path

    @cached_property
    def train(self) -> Battles:
        """The battles with winners, with teacher's probabilities where the experiment names them."""
        battles = self.data.train
        if self.experiment.limit:
            battles = battles.take(slice(self.experiment.limit))
        if self.experiment.soft_targets:
            self._refuse_leak(Path(self.experiment.soft_targets))
            teacher = read_predictions(self.experiment.soft_targets)
            battles = replace(battles, soft=teacher.align(battles.id, self.experiment.soft_targets).proba)
        return battles

    def _refuse_leak(self, teacher: Path) -> None:
        """A teacher's out-of-fold file knows the scored fold's winners too, from the models of the other folds."""
        metrics = read_json(teacher.with_name("metrics.json"))
        if metrics and metrics.get("data", {}).get("name") == self.data.name:
            raise UserError(
                f"soft_targets = {str(teacher)!r}: a run's out-of-fold predictions of these battles. The models "
                "behind them have seen the winners of the fold that is scored. Use a teacher of other battles."
            )

    @property
    def test(self) -> Battles | None:
        """The battles to predict; None where there are none."""
        return self.data.test if self.data.test is not None and len(self.data.test) else None

    def test_file(self, fold: int) -> Path:
        """Where a fold model's test predictions are kept."""
        return self.folder / "test" / f"fold{fold}.csv"


def start_run(experiment: Experiment, data: DataFolder, runs: Path) -> Run:
    """Settle which encoder is used, and so the run's name and folder; raises UserError if none can be had."""
    wanted = experiment.parameters.get("encoder")
    if wanted:
        from pairrank.encoders import find_encoder

        found = find_encoder(wanted)
        parameters = {**experiment.parameters, "encoder": [found.name]}
        used = "" if found.name == wanted[0] else found.name
        experiment = replace(experiment, parameters=parameters, encoder=used)
    return Run(experiment, data, runs / experiment.label)


def refuse_other_battles(run: Run, data: dict[str, Any]) -> None:
    """Raise UserError if the run's folder holds work on other battles, finished or not."""
    records = [run.folder / "metrics.json", *sorted(run.folder.glob("fold*/started.json"))]
    for before in filter(None, (record.get("data") for record in map(read_json, records) if record)):
        if before["hash"] != data["hash"]:
            raise UserError(
                f"{run.folder}: holds a run on other battles ({before['name']}, {before['battles']:,} of them; "
                f"these are {data['name']}, {data['battles']:,}). Nothing was overwritten: give another folder "
                "with --runs, or remove that one."
            )


def finished_folds(folder: Path, count: int, identity: str) -> dict[int, dict[str, Any]]:
    """fold.json of every fold that was finished under this identity."""
    found = {fold: read_fold(folder / f"fold{fold}") for fold in range(count)}
    return {fold: done for fold, done in found.items() if done and done["identity"] == identity}


def read_fold(folder: Path) -> dict[str, Any] | None:
    """fold.json; None where there is none, or it is damaged and so the fold to be made again."""
    done = read_json(folder / "fold.json")
    return done if done and done.keys() >= FOLD_KEYS else None


def read_kept(path: Path, ids: Objects) -> Predictions | None:
    """Predictions that were kept for these battles; None where the file is gone, damaged or of others."""
    try:
        kept = read_predictions(path)
    except UserError:
        return None
    return kept if kept.id.tolist() == ids.tolist() else None


def current_folds(folder: Path) -> dict[int, dict[str, Any]]:
    """The folds that the run's numbers come from; raises UserError where one of them has changed since."""
    metrics = read_metrics(folder)
    done = finished_folds(folder, metrics["experiment"]["split"]["folds"], metrics["identity"])
    if missing := [fold for fold in metrics["folds"] if fold not in done]:
        raise UserError(
            f"{folder}: the models of fold {', '.join(map(str, missing))} are gone, or of another configuration "
            f"than the run's numbers. Finish it with: run {folder / RUN_FILE}"
        )
    return {fold: done[fold] for fold in metrics["folds"]}


def load_fold_models(folder: Path) -> list[Model]:
    """The saved models of a run, all of one configuration; raises UserError if there are none."""
    return [load_model(folder / f"fold{fold}") for fold in current_folds(folder)]


def predict_with(folder: Path, battles: Battles, models: Sequence[Model] | None = None) -> Predictions:
    """What a run says of new battles: the geometric mean over its fold models, as for its test battles."""
    members = models if models is not None else load_fold_models(folder)
    return geometric_mean([Predictions(battles.id, model.predict_proba(battles)) for model in members])
