"""Optuna's own plots of a study are written as files."""

from pathlib import Path

from optuna.study import Study

from pairrank.atomic import atomic_path
from pairrank.tuning.database import quiet_optuna

PLOTS = ("optimization_history", "param_importances", "slice", "parallel_coordinate", "intermediate_values")


def draw_study(study: Study, folder: Path) -> list[Path]:
    """Write Optuna's plots of a study as PNG files and return their paths; those that fail are left out."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as plots

    parameters = {key for trial in study.get_trials(deepcopy=False) for key in trial.params}
    size = (max(10.0, 1.6 * len(parameters)), 6.0)  # room for the names of the parameters, side by side
    drawn = []
    for name in PLOTS:
        try:
            with quiet_optuna(), pyplot.rc_context({"figure.figsize": size}):
                axes = getattr(plots, f"plot_{name}")(study)
            first = getattr(axes, "flat", [axes])[0]
            if name == "intermediate_values" and first.get_legend():
                first.get_legend().remove()  # one entry per trial, taller than the plot
            # A layout engine warns about long names; the tight bounding box below needs none.
            first.figure.set_layout_engine("none")
            file = folder / f"{name}.png"
            with atomic_path(file) as temporary:
                first.figure.savefig(temporary, dpi=100, bbox_inches="tight")
            drawn.append(file)
        except (ValueError, RuntimeError):
            continue
        finally:
            pyplot.close("all")
    return drawn
