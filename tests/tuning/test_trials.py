"""A setting is worth what plain cross-validation says, and nothing of the untouched fold has a part in it."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import log_loss as sklearn_log_loss

from pairrank.data.folds import prompt_keys
from pairrank.data.writing import write_battles
from pairrank.errors import UserError
from pairrank.models.base import build
from pairrank.models.corrected import WithEvidence
from pairrank.tuning.space import changed
from pairrank.tuning.trials import evaluate, tuning_folds
from tests.support.studies import SMALL, some_search, write_experiment

STACK = """inputs = ["small"]
[model]
name = "gbdt"
learner = "multinomial"
groups = ["length"]
[split]
nested = {nested}
[search]
penalty = {{low = 1.0, high = 1000.0, log = true}}
"""


def silent(step, loss):
    pass


def cuts_of(search):
    return tuning_folds(search.inside, search.folds)


@pytest.mark.parametrize("nested", ["false", "true"])
def test_no_battle_of_the_untouched_fold_is_used(arena_here, nested):
    write_experiment("stack", STACK.format(nested=nested))
    search = some_search("stack", untouched=2, folds=(0, 1, 3, 4))
    hidden = set(prompt_keys(search.run.battles.take(search.run.fold_index == 2)))
    assert hidden
    scored = []
    for cut in cuts_of(search):
        seen, judged = set(prompt_keys(cut.train)), set(prompt_keys(cut.scored))
        assert not seen & judged
        assert not (seen | judged) & hidden
        assert cut.train.inputs.shape == (len(cut.train), 1, 3)
        scored += cut.scored.id.tolist()
    rest = search.run.battles.take(search.run.fold_index != 2)
    assert sorted(scored) == sorted(rest.id.tolist())
    # What the stack builds on was made without it too.
    inside = search.folder / "inside"
    made = [file for file in inside.rglob("oof.csv") if "fold" not in file.parent.name]
    assert made
    for file in made:
        ids = {line.split(",")[0] for line in file.read_text().splitlines()[1:]}
        assert ids <= set(rest.id.tolist())


def test_extra_battles_with_prompts_of_the_untouched_fold_are_left_out(arena_here):
    search = some_search()
    hidden = set(prompt_keys(search.run.battles.take(search.run.fold_index == 4)))
    assert hidden <= search.inside.test_prompts
    write_battles(search.run.battles, Path("more.csv"))  # every prompt there is, the untouched ones too
    write_experiment("greedy", 'extra = ["more.csv"]\n' + SMALL)
    for cut in cuts_of(some_search("greedy")):
        assert len(cut.train) > 0
        assert not set(prompt_keys(cut.train)) & hidden


def test_a_trial_equals_plain_cross_validation(arena_here):
    search = some_search()
    setting = {"penalty": 3.0, "clip": 2.0}
    value = evaluate(changed(search.run.experiment, setting), cuts_of(search), search.folder / "x", silent)
    battles, member = search.run.battles, search.run.fold_index
    rows, proba = [], []
    for fold in (0, 1, 2, 3):
        seen, scored = battles.take((member != fold) & (member != 4)), np.flatnonzero(member == fold)
        model = WithEvidence(build("structure", learner="logistic", groups=["length"], **setting)).fit(seen)
        rows.append(scored)
        proba.append(model.predict_proba(battles.take(scored)))
    # The predictions are scored as a file has them, with nine digits.
    rows, proba = np.concatenate(rows), np.vectorize(lambda p: float(f"{p:.9g}"))(np.concatenate(proba))
    proba /= proba.sum(axis=1, keepdims=True)
    assert value == pytest.approx(sklearn_log_loss(battles.labels[rows], proba, labels=[0, 1, 2]), abs=1e-12)


def test_evaluate_reports_once_for_a_model_without_steps_after_the_first_fold(arena_here):
    write_experiment("whole", '[model]\nname = "kernel"\ngroups = ["length"]\n[search]\nrbf = [0.9, 0.0]')
    search, reported = some_search("whole"), []
    cuts = cuts_of(search)
    evaluate(search.run.experiment, cuts, search.folder / "x", lambda *step: reported.append(step))
    (step, loss), first = *reported, cuts[0]
    model = search.run.experiment.build().fit(first.train)
    assert step == 1
    assert loss == pytest.approx(
        sklearn_log_loss(first.scored.labels, model.predict_proba(first.scored), labels=[0, 1, 2])
    )


def test_evaluate_reports_each_step_of_the_first_fold_alone(arena_here, add_model):
    add_model("memory")
    add_model("stepwise")
    write_experiment("stepping", '[model]\nname = "stepwise"\n[search]\nsureness = {low = 0.5, high = 0.95}')
    search, reported = some_search("stepping"), []
    evaluate(search.run.experiment, cuts_of(search), search.folder / "x", lambda *step: reported.append(step))
    assert reported == [(1, 1.9), (2, 1.8), (3, 1.7)]


def test_an_error_of_report_stops_the_trial_at_that_step(arena_here, add_model):
    add_model("memory")
    add_model("stepwise")
    write_experiment("stepping", '[model]\nname = "stepwise"\n[search]\nsureness = {low = 0.5, high = 0.95}')
    search = some_search("stepping")

    def enough(step, loss):
        if step == 2:
            raise StopIteration

    with pytest.raises(StopIteration):
        evaluate(search.run.experiment, cuts_of(search), search.folder / "x", enough)
    assert not list((search.folder / "x").glob("fold*.csv"))


def test_a_setting_resumes_from_its_finished_folds(arena_here, add_model):
    add_model("memory")
    write_experiment("remembering", '[model]\nname = "memory"\n[search]\nsureness = {low = 0.5, high = 0.95}')
    search = some_search("remembering")
    cuts, place = cuts_of(search), search.folder / "x"
    whole = evaluate(search.run.experiment, cuts, place, silent)
    fits = (place / "fits.txt").read_text().splitlines()
    assert len(fits) == 4
    (place / "fold2.csv").unlink()
    (place / "fold3.csv").write_text("id,winner_model_a\n1,")  # half-written by something else
    assert evaluate(search.run.experiment, cuts, place, silent) == whole
    assert len((place / "fits.txt").read_text().splitlines()) == 6


def test_a_trial_that_resumes_has_the_same_loss_to_the_last_digit(arena_here):
    search = some_search()
    cuts = cuts_of(search)
    whole = evaluate(search.run.experiment, cuts, Path("one"), silent)
    for file in sorted(Path("one").glob("fold*.csv"))[1:]:
        file.unlink()
    assert evaluate(search.run.experiment, cuts, Path("one"), silent) == whole


def test_probabilities_that_are_not_finite_are_refused(arena_here, add_model):
    add_model("memory")
    add_model("not_a_number")
    write_experiment("diverging", '[model]\nname = "not_a_number"\n[search]\nsureness = {low = 0.5, high = 0.95}')
    search = some_search("diverging")
    with pytest.raises(UserError, match="not finite numbers"):
        evaluate(search.run.experiment, cuts_of(search), search.folder / "x", silent)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"untouched": 7}, "fold 7 cannot be kept out of the search: no battle is in it"),
        ({"folds": (0, 4)}, "fold 4 is kept out of the search, so it cannot be a tuning fold"),
        ({"folds": (0, 9)}, "no battle is in fold 9"),
        ({"folds": ()}, "a search needs three or more folds"),
    ],
)
def test_an_impossible_search_is_refused(arena_here, changes, message):
    with pytest.raises(UserError, match=message):
        some_search(**changes)
