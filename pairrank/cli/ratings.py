"""`ratings` shows the strengths of the models that the battles name, with intervals."""

import math
from pathlib import Path

from pairrank.cli.console import say, show_table
from pairrank.data.folder import find_data
from pairrank.errors import UserError
from pairrank.features.ratings import PENALTY, fit_ratings, has_both_names


def ratings(data: Path | None, penalty: float | None) -> None:
    """Print one line per model, the strongest first, and how the strengths were fitted."""
    battles = find_data(data).train
    named = int(has_both_names(battles).sum())
    if not named:
        raise UserError(
            "expected battles that name both of their models (columns model_a and model_b), found none to rate."
        )
    found = fit_ratings(battles, PENALTY if penalty is None else penalty)
    rows: list[list[str]] = []
    for i in sorted(range(len(found.models)), key=lambda i: -found.strength[i]):
        strength, error, count = found.strength[i], found.error[i], found.battles[i]
        interval = f"{strength - 1.96 * error:+.2f} to {strength + 1.96 * error:+.2f}"
        shares = [f"{number / count:.0%}" for number in (found.wins[i], found.ties[i])]
        cells = [f"{strength:+.2f}", f"{error:.2f}", interval, str(count), *shares]
        rows.append([str(len(rows) + 1), found.models[i], *cells])
    titles = ["rank", "model", "strength", "s.e.", "95 % interval", "battles", "wins", "ties"]
    show_table("Strengths of the models", titles, rows, whole=[title for title in titles if title != "model"])
    log_nu = found.log_nu or 0.0
    say(
        f"Fitted on the {named:,} of {len(battles):,} battles that name both models, penalty {found.penalty:g}; "
        f"log nu {log_nu:+.2f}: two equal models tie with P = {1 / (1 + 2 * math.exp(-log_nu)):.0%}."
    )
