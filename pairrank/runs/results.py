"""The results of a run are computed from its finished folds and written to its folder."""

from dataclasses import replace

import numpy as np

from pairrank.data.predictions import predictions_hash
from pairrank.errors import UserError
from pairrank.evaluation.run_record import OwnCost, RunRecord, read_run_record, write_run_record
from pairrank.evaluation.scoring import accuracy, log_loss
from pairrank.runs.fold_record import FoldStart, summarise
from pairrank.runs.folder import finished_folds, read_out_of_fold, write_history, write_test
from pairrank.runs.run import Run, all_inputs, input_hashes
from pairrank.training.tracking import tracked


def write_results(run: Run, start: FoldStart) -> RunRecord:
    """Write predictions, history and, last, metrics.json from the finished folds of `start`; return the results.

    Raises UserError if no battle is in any of these folds.
    """
    experiment, folder = run.experiment, run.folder
    done = finished_folds(folder, experiment.folds, start.identity)
    rows = np.isin(run.fold_index, list(done))
    if not rows.any():
        numbers = ", ".join(map(str, done))
        raise UserError(f"{run.title}: no battle is in fold {numbers}, so there is nothing to score.")
    summary, inputs, history = summarise(list(done.values())), input_hashes(run.inputs), write_history(folder, done)
    test = write_test(folder, run.test, run.test_hash, done)
    predictions = read_out_of_fold(folder, list(done)).align(run.train.id[rows])
    predictions.write(folder / "oof.csv")
    scored = ~np.isin(run.fold_index[rows], run.tuned_on)
    proba, winner = predictions.proba[scored], run.battles.labels[rows][scored]
    record = RunRecord(
        label=experiment.label,
        experiment=run.settings,
        data=start.data,
        folds=tuple(sorted(done)),
        identity=start.identity,
        predictions=predictions_hash(predictions),
        test_predictions=None if test is None else predictions_hash(test),
        inputs=inputs,
        log_loss=log_loss(proba, winner) if len(winner) else None,
        accuracy=accuracy(proba, winner) if len(winner) else None,
        tuned_on=run.tuned_on,
        chosen={str(fold): dict(parameters) for fold, parameters in run.chosen.items()} or None,
        history=tuple(history),
        **summary,
    )
    record = _with_cost_of_inputs(run, record)
    write_run_record(record, folder)
    with tracked(f"{experiment.label}, all folds", run.settings, folder.parent) as send:
        send({name: value for name, value in vars(record).items() if isinstance(value, int | float)})
    return record


def _with_cost_of_inputs(run: Run, record: RunRecord) -> RunRecord:
    """Return the results with parameters and seconds that include those of everything the run builds on."""
    if not run.inputs:
        return record
    costs = [record.own_cost, *(read_run_record(each.folder).own_cost for each in all_inputs(run))]
    return replace(
        record,
        training_seconds=sum(cost.training_seconds or 0 for cost in costs),
        parameters=sum(cost.parameters or 0 for cost in costs),
        # The speed of the run alone would leave out the time of its inputs.
        battles_per_second=None,
        alone=OwnCost(record.training_seconds, record.parameters),
    )
