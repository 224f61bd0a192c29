"""What the commands do, in the order in which a user sees it."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from pairrank import distributed
from pairrank.cli.console import say, show_board, show_count, show_repairs, show_table
from pairrank.cli.entries import choose_references, gather, run_folder
from pairrank.cli.listing import grouped_experiments
from pairrank.cli.locations import find_source, home_of
from pairrank.cli.messages import ignore, messages_to
from pairrank.cli.plan import in_order, plan_lines
from pairrank.cli.ray import Cluster, make_folds, scorer
from pairrank.data.battles import Battles
from pairrank.data.extra import Extra
from pairrank.data.folder import DataFolder, table_in
from pairrank.data.predictions import read_predictions
from pairrank.errors import UserError
from pairrank.evaluation.entries import Entry, entries_in, publish
from pairrank.evaluation.leaderboard import Leaderboard, build_leaderboard
from pairrank.evaluation.leaderboard_table import DASH, to_json, to_markdown
from pairrank.evaluation.run_record import read_run_record
from pairrank.evaluation.survey import survey_of
from pairrank.files import read_json
from pairrank.report.model_card import write_model_card
from pairrank.report.scored_runs import Results, score_run
from pairrank.runs.cross_validation import assist_rank_zero, cross_validate
from pairrank.runs.experiment import RUN_FILE
from pairrank.runs.experiment_files import experiment_files, load_experiment
from pairrank.runs.fold_models import load_fold_models, refuse_stale
from pairrank.runs.folder import CURVES, current_folds, read_matching
from pairrank.runs.run import Run, all_inputs, resolve_run
from pairrank.training.tracking import how_to_view, tracker

logger = logging.getLogger(__name__)


def run(
    names: Sequence[str],
    data: Path | None,
    runs: Path | None,
    folds: Sequence[int] | None,
    salt: str,
    limit: int,
    seeds: Sequence[int],
    overrides: Sequence[str],
    nested: bool,
    extra: Sequence[str],
    cluster: Cluster | None = None,
) -> None:
    """Check every experiment, say what will be done, run what they build on and then them, show the leaderboard."""
    source = find_source(data)
    home = home_of(runs, source)
    sources = [_extra(argument) for argument in extra]
    experiments = [
        load_experiment(name, overrides, seed=seed, salt=salt, limit=limit, nested=nested, extra=sources)
        for name in names
        for seed in seeds or (None,)
    ]
    for experiment in experiments:
        if beyond := [fold for fold in folds or [] if not 0 <= fold < experiment.folds]:
            raise UserError(f"--fold {beyond[0]}: {experiment.name} has the folds 0 to {experiment.folds - 1}.")
    started = [resolve_run(experiment, source, home) for experiment in experiments]
    _refuse_missing_extra(started)
    started = in_order(started)
    if cluster and distributed.world_size() > 1:
        raise UserError("--engine ray under torchrun: each is a way to use many processes. Take one of them.")
    distributed.connect()
    if distributed.rank():
        assist_rank_zero(started)
        return
    for line in plan_lines(started):
        say(line)
    if "prior" not in [each.experiment.label for each in started]:
        # Every table needs a row to take differences to.
        with messages_to(ignore):
            cross_validate(resolve_run(load_experiment("prior"), source, home))
    chosen = sorted(set(folds)) if folds else None
    if cluster:
        make_folds(started, chosen, cluster, show_count)
    wanted = {experiment.name: experiment for experiment in experiments}
    for each in started:
        say(": ".join(filter(None, [each.experiment.label, each.experiment.about])))
        if seeds and each.experiment.inputs:
            say(f"--seed is for {each.experiment.label} alone, where it has one; its inputs keep theirs.")
        if each.experiment.encoder:
            first = wanted[each.experiment.name].parameters["encoder"][0]
            say(f"{first} cannot be had here; using {each.experiment.encoder}, and the run's name says so.")
        # The workers of a cluster have reported these folds already.
        with messages_to(ignore) if cluster else nullcontext():
            cross_validate(each, chosen)
        if each.test is None:
            say(f"{source.path} has no test.csv, so there are no test predictions to submit.")
        say(f"Written: {each.folder}")
    distributed.stop_helpers()
    entries = entries_in(home, source.train)
    references = ["prior"] if "prior" in [entry.label for entry in entries] else []
    board = build_leaderboard(source.name, source.train, entries, references, source.truth)
    _write_board(board, home)
    _write_pages(board, entries, source, started)
    if tracker():
        say(f"Tracked runs: {how_to_view(home)}")
    show_board(board)


def show_list(data: Path | None, runs: Path | None) -> None:
    """One line an experiment, and one a run."""
    source = find_source(data)
    home = home_of(runs, source)
    for heading, experiments in grouped_experiments(experiment_files()).items():
        show_table(heading, ["experiment", "what it is"], experiments)
    say("Every parameter of an experiment: describe NAME")
    done = []
    for file in sorted(home.glob("[!.]*/metrics.json")):
        try:
            record = read_run_record(file.parent)
        except UserError as error:
            say(f"Left out: {error}")
            continue
        folds = ", ".join(map(str, record.scored_folds))
        folds += f" (tuned on {', '.join(map(str, record.tuned_on))})" if record.tuned_on else ""
        loss = record.log_loss
        done.append([file.parent.name, folds, DASH if loss is None else f"{loss:.4f}"])
    if done:
        show_table(f"Runs in {home}", ["run", "folds", "log loss"], done, whole=["log loss"])
    else:
        say(f"Nothing has been run on {source.name} yet (looked in {home}).")


def compare(
    data: Path | None, runs: Path | None, references: Sequence[str], add: Sequence[str], target: Path | None
) -> None:
    """Gather runs, published results and added files, score them, show and write the table."""
    source = find_source(data)
    home = home_of(runs, source)
    entries = gather(source, home, target, add)
    named = choose_references(references, [entry.label for entry in entries])
    board = build_leaderboard(source.name, source.train, entries, named, source.truth)
    if target:
        before = read_json(target / "leaderboard.json") or {"data": source.name}
        if before["data"] != source.name:
            raise UserError(f"--publish {target}: holds the leaderboard of {before['data']}. Give another folder.")
        publish(target, source.name, entries)
    _write_board(board, target or home)
    show_board(board)


def submit(name: str, data: Path | None, runs: Path | None, out: Path) -> None:
    """Take or make the test predictions of a run, check them against test.csv, write them."""
    source = find_source(data)
    test = source.test
    if test is None or not len(test):
        raise UserError(f"{source.path}: no battles in a test.csv there, so there is nothing to submit.")
    refuse_out(out, *filter(None, (table_in(source.path, part) for part in ("train", "test"))))
    folder = run_folder(name, home_of(runs, source))
    refuse_stale(folder)
    record = read_run_record(folder)
    if not record.is_submittable:
        raise UserError(f"{folder.name}: a diagnostic, not submittable: it uses what test battles do not have.")
    if not record.is_complete:
        done, count = record.folds, record.split["folds"]
        options = "".join(f" {key} {value}" for key, value in (("--data", data), ("--runs", runs)) if value)
        raise UserError(
            f"{folder}: only fold {', '.join(map(str, done))} of {count} is trained, and a submission is the "
            f"mean of all. Finish the run with: run {folder / RUN_FILE}{options}"
        )
    say(f"Submitting {folder}, trained on {record.data.battles:,} battles of {record.data.name}.")
    show_repairs(test.repairs)
    seen = {fold.test_hash for fold in current_folds(folder).values()} == {test.content_hash()}
    predictions = read_matching(folder / "test.csv", test.id) if seen else None
    if predictions is None:
        say("These are not the test battles the run saw: predicting anew with its saved models.")
        predictions = load_fold_models(folder).predict(test)
    predictions.write(out)
    # What counts is the file: read it again and hold it against test.csv.
    written = read_predictions(out)
    if written.id.tolist() != test.id.tolist():
        raise UserError(f"{out}: its ids are not those of the test battles, in their order. Please report this.")
    say(
        f"Written: {out}, {len(written):,} battles, valid. A wins {written.proba[:, 0].mean():.1%}, "
        f"B {written.proba[:, 1].mean():.1%}, tie {written.proba[:, 2].mean():.1%} on average."
    )


def predict(
    name: str, file: Path, out: Path, data: Path | None, runs: Path | None, cluster: Cluster | None = None
) -> None:
    """Stream battles through the fold models of a run, here or on a cluster."""
    from pairrank.data.predictions import COLUMNS, prediction_lines
    from pairrank.data.reading import stream_battles
    from pairrank.files import atomic_path

    refuse_out(out, file)
    folder = run_folder(name, home_of(runs, find_source(data)))
    record, count, repaired = read_run_record(folder), 0, 0
    score = scorer(folder, cluster) if cluster else partial(map, load_fold_models(folder).predict)
    say(f"Predicting with {folder}, trained on {record.data.battles:,} battles of {record.data.name}.")
    if not record.is_complete:
        trained, every = len(record.folds), record.split["folds"]
        say(f"{folder.name}: {trained} of {every} folds trained; predicting with what there is.")

    def repaired_parts() -> Iterator[Battles]:
        """The file in parts, each of which is told of when it is read."""
        nonlocal repaired
        for battles in stream_battles(file):
            show_repairs(battles.repairs, repaired)
            repaired += len(battles.repairs)
            if len(battles):
                yield battles

    with atomic_path(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as target:
        target.write(",".join(COLUMNS) + "\n")
        for predictions in score(repaired_parts()):
            target.writelines(prediction_lines(predictions.validate(str(file))))
            count += len(predictions)
            show_count(f"{count:,} battles")
    say(f"Written: {out}, {count:,} battles, {repaired:,} repairs.")


def simulate(folder: Path, train: int, test: int, seed: int) -> None:
    """Write an arena, unless that would overwrite the user's own files."""
    from pairrank.data.reading import SUFFIXES
    from pairrank.data.simulation import write_arena

    for part in ("train", "test"):
        real = [folder / f"{part}{suffix}" for suffix in SUFFIXES if (folder / f"{part}{suffix}").exists()]
        if real and not (folder / f"{part}-truth.csv").exists():
            raise UserError(f"{real[0]}: is not simulated, and would be overwritten. Give another folder.")
    write_arena(folder, train, test, seed)
    say(f"Written: {folder}, {train:,} battles to train on and {test:,} to predict. Run them with --data {folder}")


def _refuse_missing_extra(started: Sequence[Run]) -> None:
    """Complain of every file of extra battles that cannot be read, before hours of work on other things."""
    complaints = []
    for experiment in {
        each.folder: each.experiment for run in started for each in (*all_inputs(run), run)
    }.values():
        names = [source.name for source in experiment.extra]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            complaints.append(f"{experiment.name}: more than one extra source is called {', '.join(twice)}")
        for source in experiment.extra:
            try:
                _ = source.battles
            except UserError as error:
                complaints.append(f"{experiment.name}: {error}")
    if complaints:
        raise UserError("\n".join(dict.fromkeys(complaints)))


def _extra(argument: str) -> Extra:
    """PATH or PATH=WEIGHT."""
    path, equals, weight = argument.rpartition("=")
    if not equals:
        return Extra(argument)
    try:
        share = float(weight)
    except ValueError:
        raise UserError(f"--extra {argument}: expected PATH=WEIGHT, such as ../mt_bench=0.2.") from None
    return Extra(path, share)


def refuse_out(out: Path, *read: Path) -> None:
    """Complain before the work and not after it: of a folder, and of a file that battles are read from."""
    if out.suffix.lower() in (".parquet", ".gz"):
        raise UserError(f"--out {out}: predictions are written as .csv, as Kaggle takes them.")
    if out.is_dir():
        raise UserError(f"--out {out}: is a folder. Expected the path of a file to write.")
    if out.resolve() in [file.resolve() for file in read]:
        raise UserError(f"--out {out}: the battles are read from this file. Give another one.")


def _write_board(board: Leaderboard, folder: Path) -> None:
    to_markdown(board, folder / "LEADERBOARD.md")
    to_json(board, folder / "leaderboard.json")
    say(f"Written: {folder / 'LEADERBOARD.md'}")


def _write_pages(board: Leaderboard, entries: Sequence[Entry], source: DataFolder, started: Sequence[Run]) -> None:
    """For each run of this command, and what it builds on: its model card, and the curves of a fine-tuning."""
    folders = {each.experiment.label: each.folder for run in started for each in (*all_inputs(run), run)}
    labels = {row.label for row in board.rows} & set(folders)
    scored = [score_run(entry, source.train) for entry in entries if entry.label in labels]
    results = Results(board, source.train, survey_of(source.train, guess_language=False), scored)
    for run in scored:
        write_model_card(results, run, folders[run.label])
        if run.record and (rows := run.record.history):
            from pairrank.report.model_charts import learning_curves

            learning_curves(run.label, "curves", rows).save(folders[run.label] / CURVES)
