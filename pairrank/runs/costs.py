"""An experiment file says about how long the experiment takes on 1,000 battles; other numbers follow from that."""

from pairrank.runs.run import Run, all_inputs


def estimated_seconds(run: Run) -> float:
    """Return the experiment's own estimate for these battles and all folds, on two cores; 0 without one."""
    experiment = run.experiment
    seconds = experiment.seconds * len(run.battles) / 1000 * experiment.folds / 5
    if experiment.train_size:
        whole = len(run.battles) * (experiment.folds - 1) / experiment.folds
        seconds *= min(1.0, experiment.train_size / whole)
    if "nested=true" in run.experiment.overrides:
        # The file's estimate is for inputs that are trained once. Nested, every fold trains them again.
        repeated = [each.experiment.seconds for each in all_inputs(run)]
        seconds += sum(repeated) * len(run.battles) / 1000 * (run.experiment.folds - 1)
    return seconds
