"""What the commands do, in the order in which a user sees it."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pairrank.config import Experiment, experiment_files, load_experiment
from pairrank.crossval import Run, cross_validate, load_fold_models, predict_with, start_run
from pairrank.data_folder import DataFolder, find_data
from pairrank.errors import UserError, unknown
from pairrank.leaderboard import (
    Entry,
    Leaderboard,
    build_leaderboard,
    difference_cell,
    entries_in,
    notes,
    publish,
    published_entries,
    to_json,
    to_markdown,
)
from pairrank.predictions import read_predictions

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """Print one line as it stands: it may hold text of battles, which is no markup."""
    console.print(text, markup=False, soft_wrap=True)


def run(
    names: Sequence[str],
    data: Path | None,
    runs: Path | None,
    folds: Sequence[int] | None,
    salt: str,
    limit: int,
    seed: int | None,
    overrides: Sequence[str],
) -> None:
    """Check every experiment, then run one after the other, then show the leaderboard."""
    source = _data(data)
    home = _home(runs, source)
    experiments = [load_experiment(name, overrides, seed=seed, salt=salt, limit=limit) for name in names]
    for fold in folds or []:
        if not 0 <= fold < experiments[0].folds:
            raise UserError(f"--fold {fold}: there are the folds 0 to {experiments[0].folds - 1}.")
    if not (home / "prior" / "metrics.json").is_file():
        cross_validate(start_run(load_experiment("prior"), source, home))
    for experiment in experiments:
        started = start_run(experiment, source, home)
        _announce(experiment, started)
        cross_validate(started, sorted(set(folds)) if folds else None, say)
        say(f"Written: {started.folder}")
    board = build_leaderboard(source.name, source.train, entries_in(home, source.train), ["prior"], source.truth)
    _write_board(board, home)
    _show(board)


def show_list(data: Path | None, runs: Path | None) -> None:
    """One line an experiment, and one a run."""
    source = _data(data)
    home = _home(runs, source)
    table = Table("experiment", "what it is", title="Experiments", title_justify="left", expand=False)
    for name in experiment_files():
        table.add_row(name, load_experiment(name).about)
    console.print(table)
    entries = entries_in(home, source.train)
    if not entries:
        say(f"Nothing has been run on {source.name} yet (looked in {home}).")
        return
    done = Table("run", "folds", "log loss", title=f"Runs in {home}", title_justify="left")
    for entry in entries:
        folds = ", ".join(map(str, entry.metrics["folds"]))
        done.add_row(entry.label, folds, f"{entry.metrics['log_loss']:.4f}")
    console.print(done)


def compare(
    data: Path | None, runs: Path | None, references: Sequence[str], add: Sequence[str], target: Path | None
) -> None:
    """Gather runs, published results and added files, score them, show and write the table."""
    source = _data(data)
    home = _home(runs, source)
    entries = {entry.label: entry for entry in published_entries(target, source.name)} if target else {}
    entries |= {entry.label: entry for entry in entries_in(home, source.train)}
    entries |= {entry.label: entry for entry in map(_added, add)}
    if not entries:
        raise UserError(
            f"nothing to compare: no runs in {home}. Start with: run baseline, or enter files with --add."
        )
    named = [_full_label(name, list(entries)) for name in references]
    if references == ["prior"] and "prior" not in entries:
        named = [min(entries)]
    board = build_leaderboard(source.name, source.train, list(entries.values()), named, source.truth)
    if target:
        publish(target, source.name, list(entries.values()))
    _write_board(board, target or home)
    _show(board)


def submit(name: str, data: Path | None, runs: Path | None, out: Path) -> None:
    """Take or make the test predictions of a run, check them against test.csv, write them."""
    source = _data(data)
    if source.test is None:
        raise UserError(f"{source.path}: no test.csv in it, so there is nothing to submit.")
    folder = _run_folder(name, _home(runs, source))
    _refuse_diagnostic(folder)
    for repair in source.test.repairs[:10]:
        errors.print(f"Repaired: {repair}", markup=False, soft_wrap=True)
    kept = folder / "test.csv"
    predictions = read_predictions(kept) if kept.is_file() else None
    if predictions is None or _saw_other_battles(folder, source):
        say("These are not the test battles the run saw: predicting anew with its saved models.")
        predictions = predict_with(folder, source.test)
    predictions.align(source.test.id, str(kept)).write(out)
    # What counts is the file: read it again and hold it against test.csv.
    written = read_predictions(out)
    if written.id.tolist() != source.test.id.tolist():
        raise UserError(f"{out}: its ids are not those of the test battles, in their order. Please report this.")
    say(
        f"Written: {out}, {len(written):,} battles, valid. A wins {written.proba[:, 0].mean():.1%}, "
        f"B {written.proba[:, 1].mean():.1%}, tie {written.proba[:, 2].mean():.1%} on average."
    )


def predict(name: str, file: Path, out: Path, data: Path | None, runs: Path | None) -> None:
    """Stream battles through the fold models of a run."""
    from pairrank.battle_files import stream_battles
    from pairrank.files import written_whole
    from pairrank.predictions import COLUMNS, prediction_lines

    folder = _run_folder(name, _home(runs, find_data(data)))
    models = load_fold_models(folder)
    count = repaired = 0
    with written_whole(out) as beside, beside.open("w", encoding="utf-8", newline="") as target:
        target.write(",".join(COLUMNS) + "\n")
        for battles in stream_battles(file):
            if not len(battles):
                continue
            target.writelines(prediction_lines(predict_with(folder, battles, models).validate(str(file))))
            for repair in battles.repairs[: max(0, 10 - repaired)]:
                errors.print(f"Repaired: {repair}", markup=False, soft_wrap=True)
            count, repaired = count + len(battles), repaired + len(battles.repairs)
            if errors.is_terminal:
                errors.print(f"{count:,} battles", end="\r")
    say(f"Written: {out}, {count:,} battles, {repaired:,} repairs.")


def simulate(folder: Path, train: int, test: int, seed: int) -> None:
    """Write an arena, unless that would overwrite the user's own files."""
    from pairrank.simulate import write_arena

    if (folder / "train.csv").exists() and not (folder / "train-truth.csv").exists():
        raise UserError(f"{folder}: holds a train.csv that is not simulated. Give another folder.")
    write_arena(folder, train, test, seed)
    say(f"Written: {folder}, {train:,} battles to train on and {test:,} to predict. Run them with --data {folder}")


def doctor(data: Path | None) -> None:
    """Show what pairrank would use, and how to get what is missing."""
    from pairrank.encoders import PINNED, WHEELS, find_encoder
    from pairrank.provenance import commit, versions
    from pairrank.training import device_name

    for package, version in versions().items():
        say(f"{package:16}{version}")
    say(f"{'commit':16}{commit() or 'not a checkout'}")
    say(f"{'device':16}{device_name()}")
    for name in (*WHEELS, *PINNED):
        try:
            found = find_encoder([name])
            say(f"{'encoder':16}{name}: {found.folder}, SHA-256 {found.sha256[:16]}…")
        except UserError as error:
            say(f"{'encoder':16}{str(error).splitlines()[1].strip(' -')}")
    source = find_data(data)
    kind = "the sample that comes with pairrank" if source.is_sample else "yours"
    say(
        f"{'data':16}{source.path} ({kind}): {len(source.train):,} battles with winners, "
        f"{len(source.test) if source.test is not None else 0:,} to predict"
    )
    for repair in source.test.repairs if source.test is not None else ():
        say(f"{'repaired':16}{repair}")


def _data(folder: Path | None) -> DataFolder:
    source = find_data(folder)
    if source.is_sample:
        say(
            "No Dataset/train.csv: using the simulated sample. Put Kaggle's files there, or give a folder with --data."
        )
    return source


def _home(runs: Path | None, source: DataFolder) -> Path:
    return runs if runs is not None else Path("runs") / source.name


def _announce(experiment: Experiment, started: Run) -> None:
    say(f"{started.experiment.label}: {experiment.about}")
    if started.experiment.encoder:
        first = experiment.parameters["encoder"][0]
        say(f"{first} cannot be had here; using {started.experiment.encoder}, and the run's name says so.")


def _run_folder(name: str, home: Path) -> Path:
    """The folder of a run, by its full name or by the experiment's plain one."""
    there = sorted(file.parent.name for file in home.glob("*/metrics.json"))
    label = _full_label(name, there)
    if label not in there:
        raise UserError(f"{unknown('run', name, there)} Looked in {home}. Make it with: run {name}")
    return home / label


def _full_label(name: str, labels: Sequence[str]) -> str:
    """`baseline` also finds `baseline@minilm`, if that is the only run of it."""
    runs = [label for label in labels if label.startswith(f"{name}@") and "+" not in label]
    return runs[0] if name not in labels and len(runs) == 1 else name


def _refuse_diagnostic(folder: Path) -> None:
    import json

    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    if not metrics["experiment"]["submittable"]:
        raise UserError(f"{folder.name}: a diagnostic, not submittable: it uses what test battles do not have.")


def _saw_other_battles(folder: Path, source: DataFolder) -> bool:
    import json

    assert source.test is not None  # noqa: S101  # checked by the caller
    seen = {json.loads(file.read_text(encoding="utf-8"))["test_hash"] for file in folder.glob("fold*/fold.json")}
    return seen != {source.test.content_hash()}


def _added(argument: str) -> Entry:
    name, equals, path = argument.partition("=")
    if not equals:
        raise UserError(f"--add {argument}: expected NAME=OOF.CSV.")
    return Entry(name, read_predictions(path), {})


def _write_board(board: Leaderboard, folder: Path) -> None:
    to_markdown(board, folder / "LEADERBOARD.md")
    to_json(board, folder / "leaderboard.json")
    say(f"Written: {folder / 'LEADERBOARD.md'}")


def _show(board: Leaderboard) -> None:
    """The columns that fit a terminal; the files have them all."""
    floor = ["above floor"] if board.floor is not None else []
    deltas = [f"Δ {name} [95 %]" for name in board.references]
    table = Table(
        "experiment", "folds", "log loss", *deltas, "accuracy", *floor, title=f"Leaderboard: {board.data}"
    )
    for row in board.rows:
        cells = [row.label, row.folds, f"{row.log_loss:.4f} ± {row.standard_error:.4f}"]
        cells += [difference_cell(row.differences[name]) for name in board.references]
        cells += [f"{row.accuracy:.1%}"]
        cells += [f"{row.above_floor:+.4f}"] if floor and row.above_floor is not None else []
        table.add_row(*(cell.replace("[", "\\[") for cell in cells))
    console.print(table)
    for line in filter(None, notes(board)):
        say(line)
