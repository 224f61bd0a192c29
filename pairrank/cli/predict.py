"""`submit` and `predict`: a trained run predicts the test battles, or any file of battles."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pairrank.api import prediction
from pairrank.cli.console import say, show_count, warn
from pairrank.cli.messages import messages_to
from pairrank.cli.ray import Cluster, scorer


def submit(name: str, data: Path | None, runs: Path | None, out: Path, averaged: bool = False) -> None:
    """Write the predictions of a run for test.csv, and check the file that was written.

    With `averaged`, one model with the mean of the folds' adapters predicts them.
    """
    with messages_to(say, warn):
        prediction.submit(name, data, out, runs=runs, average_adapters=averaged)


def predict(
    name: str,
    file: Path,
    out: Path,
    data: Path | None,
    runs: Path | None,
    cluster: Cluster | None = None,
    copied: Sequence[str] = (),
    schema: str = "",
    averaged: bool = False,
) -> None:
    """Predict a file of battles with the fold models of a run, in this process or on a cluster.

    The columns `copied` of the battles follow the probabilities. `schema` is that of the file; with "", its columns
    tell. With `averaged`, one model with the mean of the folds' adapters predicts, in this process only.
    """
    with messages_to(say, warn):
        prediction.predict_file(
            name,
            file,
            out,
            data,
            runs=runs,
            copy=copied,
            schema=schema,
            average_adapters=averaged,
            score_with=partial(scorer, cluster=cluster) if cluster else None,
            progress=lambda count: show_count(f"{count:,} battles"),
        )
