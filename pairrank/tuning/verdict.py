"""The best setting of a search is compared with the old one on a fold that the search never used."""

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from optuna.importance import get_param_importances
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from pairrank import plugins
from pairrank.data.folds import name_folds, split_keys
from pairrank.data.predictions import read_predictions
from pairrank.data.probabilities import Proba
from pairrank.errors import UserError
from pairrank.evaluation.intervals import Difference, paired_difference
from pairrank.evaluation.scoring import battle_losses
from pairrank.files import write_json, write_text
from pairrank.models.base import build, parameters_of
from pairrank.runs.cross_validation import cross_validate
from pairrank.runs.experiment import Experiment, Split
from pairrank.runs.run import Run
from pairrank.tuning.database import SETTINGS, quiet_optuna
from pairrank.tuning.search import Search, best_trial, own_trial, settings_in, with_nested_inputs
from pairrank.tuning.space import changed
from pairrank.tuning.storage import REASON, count_requeued, finished

logger = logging.getLogger(__name__)

FEWEST = 10
"""Complete trials that are needed to estimate the importance of parameters."""


@dataclass(frozen=True)
class Verdict:
    """The result of a search, and the comparison on the untouched fold."""

    best: FrozenTrial
    own: FrozenTrial
    experiment: Experiment
    """The experiment with the best setting. If that was tuned, `tuned_on` names the folds that the search used."""
    difference: Difference | None
    """Log loss of the tuned minus the own setting on the untouched fold; None if the own setting is the best."""
    battles: int
    """Battles of the untouched fold."""

    @property
    def is_accepted(self) -> bool:
        """Whether the tuning folds improve and the untouched fold does not clearly contradict that."""
        return self.difference is not None and self.difference.low <= 0


def judge(search: Search, study: Study) -> Verdict:
    """Train the best and the own setting on the tuning folds, and score both on the untouched one.

    Finished trainings are used again. Raises UserError if the experiment's own setting has no value.
    """
    best, own = best_trial(study), own_trial(study)
    if best is None or own is None:
        failed = [trial for trial in finished(study) if trial.state == TrialState.FAIL]
        reasons = Counter(trial.user_attrs.get(REASON, "its worker died") for trial in failed)
        listed = "".join(f"\n  - {count} times: {reason}" for reason, count in reasons.most_common(5))
        raise UserError(f"the experiment's own setting has no value, so no other can be compared with it.{listed}")
    scored = search.run.battles.take(search.run.fold_index == search.untouched)
    if (best.value or 0.0) >= (own.value or 0.0):
        return Verdict(own, own, search.run.experiment, None, len(scored))
    tuned = tuned_experiment(search, best)
    with search.exclusive():
        ours, theirs = (
            out_of_fold_losses(
                replace(
                    search.run,
                    experiment=with_nested_inputs(each),
                    folder=search.folder / name,
                    enclosing=search.name,
                ),
                [search.untouched],
            )
            for name, each in (("own", search.run.experiment), ("tuned", tuned))
        )
    return Verdict(best, own, tuned, paired_difference(theirs, ours, split_keys(scored)), len(scored))


def out_of_fold_losses(run: Run, folds: Sequence[int]) -> Proba:
    """Return the (n,) out-of-fold losses of a run on the battles of these folds; missing folds are trained."""
    cross_validate(run, folds)
    scored = run.battles.take(np.isin(run.fold_index, folds))
    return battle_losses(read_predictions(run.folder / "oof.csv").align(scored.id).proba, scored.labels)


def tuned_experiment(search: Search, best: FrozenTrial) -> Experiment:
    """Return the experiment with a trial's setting, its own name, and the folds that the search has used."""
    own = search.run.experiment
    seen = sorted(set(search.run.fold_index.tolist()) - {search.untouched} | set(own.tuned_on))
    about = f"{own.name} with a setting that `tune` found on {name_folds(seen)}: only the others can score it."
    return replace(
        changed(own, settings_in(best)),
        name=f"{own.name}-tuned",
        about=about,
        tuned_on=tuple(seen),
        overrides=(),
        encoder="",
    )


def run_with_chosen(run: Run, best: Mapping[int, FrozenTrial], home: Path) -> Run:
    """Return the run in which every fold has the setting that was chosen among its own training battles."""
    chosen = {fold: changed(run.experiment, settings_in(trial)).parameters for fold, trial in best.items()}
    experiment = replace(with_nested_inputs(run.experiment), overrides=(*run.experiment.overrides, "tuned=nested"))
    return replace(run, experiment=experiment, folder=home / experiment.label, chosen=chosen)


# Files


def tuned_file(search: Search) -> Path:
    """Return the file for the best setting: NAME-tuned, or NAME-tuned-DATA if another study has that.

    Raises UserError if both files exist and belong to other studies.
    """
    names = [f"{search.run.experiment.name}-tuned", f"{search.run.experiment.name}-tuned-{search.run.data.name}"]
    files = [Path("experiments") / f"{name}.toml" for name in names]
    own = [file for file in files if file.exists() and _is_of(search, file)]
    free = [file for file in files if not file.exists()]
    if not own and not free:
        raise UserError(f"{' and '.join(map(str, files))}: both files belong to other studies. Rename one of them.")
    return (own or free)[0]


def remove_tuned(search: Search) -> Path | None:
    """Remove the file that an earlier verdict of this study wrote and return its path; None if there is none."""
    file = tuned_file(search)
    if not file.exists():
        return None
    file.unlink()
    return file


def _is_of(search: Search, file: Path) -> bool:
    return _mark(search) in file.read_text(encoding="utf-8", errors="replace")


def write_tuned(search: Search, study: Study, verdict: Verdict) -> Path:
    """Write the tuned experiment, with comments on how it was found."""
    file = tuned_file(search)
    done = finished(study)
    states = Counter(trial.state for trial in done)
    seconds = sum(trial.duration.total_seconds() for trial in done if trial.duration)
    own = search.run.experiment
    comment = [
        f"Found by `tune {own.label}` on {search.run.data.name}: {len(done)} trials ({states[TrialState.PRUNED]} "
        f"pruned, {states[TrialState.FAIL]} failed), {seconds:,.0f} s.",
        f"On {name_folds(search.folds)} of {own.folds}: {verdict.best.value:.4f}, with {own.label}'s own setting "
        f"{verdict.own.value:.4f}.",
        f"On fold {search.untouched}, which the search never used ({verdict.battles:,} battles): "
        f"{verdict.difference} (95 %, paired).",
        _mark(search),
    ]
    table = re.sub(
        r"\[\n((?: +[^\[\]\n]*,\n)+) *\]", _on_one_line, tomli_w.dumps(_file_table(verdict.experiment, file.parent))
    )
    write_text(file, "".join(f"# {line}\n" for line in comment) + table)
    return file


def write_record(search: Search, study: Study, verdict: Verdict, importances: Mapping[str, float]) -> Path:
    """Write tuning.json: every trial, and the verdict on the best."""
    record = {
        "study": search.name,
        "binding": search.binding,
        "best": verdict.best.number,
        "own": verdict.own.number,
        "untouched": {
            "fold": search.untouched,
            "battles": verdict.battles,
            "difference": None if verdict.difference is None else asdict(verdict.difference),
        },
        "tried_again": count_requeued(study),
        "importances": importances,
        "trials": [
            {
                "trial": trial.number,
                "state": trial.state.name.lower(),
                "log_loss": trial.value,
                "settings": trial.user_attrs.get(SETTINGS),
                "seconds": trial.duration.total_seconds() if trial.duration else None,
                "reason": trial.user_attrs.get(REASON),
            }
            for trial in finished(study)
        ],
    }
    write_json(search.folder / "tuning.json", record)
    return search.folder / "tuning.json"


def importances_of(study: Study) -> dict[str, float]:
    """Return the importance of each parameter as a share (PED-ANOVA); {} if too few trials are complete."""
    if sum(trial.state == TrialState.COMPLETE for trial in finished(study)) < FEWEST:
        return {}
    with quiet_optuna():
        return {name: float(share) for name, share in get_param_importances(study).items()}


def _file_table(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Return an experiment as the table of its file in `folder`, with only values that differ from the defaults."""
    resolved = experiment.resolved()
    keys = ("about", "tuned_on", "inputs", "extra", "soft_targets", "teacher", "seconds")
    table = {key: resolved[key] for key in keys if resolved[key]}
    if experiment.teacher_weight != 1:
        table["teacher_weight"] = experiment.teacher_weight
    table |= {key: False for key in ("submittable", "evidence") if not resolved[key]}
    defaults = parameters_of(build(experiment.model))
    model = {"name": experiment.model, **_differing(experiment.parameters, defaults)}
    table["model"] = plugins.relative_to(model, folder)
    # A limit on the battles belongs to the search, not to the setting that it found.
    if split := _differing(resolved["split"] | {"limit": 0}, asdict(Split())):
        table["split"] = split
    return table


def _on_one_line(items: re.Match[str]) -> str:
    """Put a list on one line, as people write it; tomli_w gives each item a line of its own."""
    return f"[{', '.join(line.strip().removesuffix(',') for line in items[1].splitlines())}]"


def _differing(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    different: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            if inner := _differing(value, defaults[key]):
                different[key] = inner
        elif value != defaults[key]:
            different[key] = value
    return different


def _mark(search: Search) -> str:
    return f"study {sha256(repr((search.name, sorted(search.binding.items()))).encode()).hexdigest()[:16]}"
