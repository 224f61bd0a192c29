"""Each law of the contract is broken by a model that breaks it on purpose, and by no other."""

from pathlib import Path

import pytest

from pairrank import load_plugin
from pairrank.contract.findings import check_contract, check_law
from pairrank.contract.laws import LAWS
from pairrank.contract.subject import subject_of
from tests.support.own_code import write_model

GIVE = "        return from_logs("
SAVE = '        write_json(folder / "heads.json"'
FIT = "        odd, even = columns(train)\n"

BREACHES: dict[str, tuple[list[tuple[str, str]], set[str], str]] = {
    "float32": (
        [("[:, 0]))", "[:, 0])).astype(np.float32)")],
        {"gives_probabilities", "predicts_no_battles"},
        "float32",
    ),
    "sums": ([(GIVE, "        return 0.9 * from_logs(")], {"gives_probabilities"}, "differs from 1 by 0.1"),
    "unfitted": (
        [("        odd, even = columns(battles)\n", "        if 'tie_' not in vars(self):\n            return 0\n"
          "        odd, even = columns(battles)\n")],
        {"refuses_to_start_early"}, "an unfitted model raises nothing",
    ),
    "random": (
        [(FIT, FIT + "        odd = odd + np.random.normal(size=odd.shape)\n")],
        {"repeats_itself", "takes_weights_of_one"}, "a second training changes a probability by",
    ),
    "neighbours": (
        [("        odd, even = columns(battles)\n", "        odd, even = columns(battles)\n"
          "        even = even - even.mean() if len(even) else even\n")],
        {"judges_each_battle_alone"}, "expected at most 1e-06",
    ),
    "changes": (
        [(FIT, FIT + "        train.winner[:3] = 2\n")],
        {"leaves_battles_alone"}, "changed: winner",
    ),
    "forgets": (
        [('LinearHead(**saved["tie"])', 'LinearHead(**saved["tie"] | {"intercept": [0.0]})')],
        {"is_saved_and_loaded"}, "the loaded model changes a probability by",
    ),
    "pickles": (
        [(SAVE, "        import pickle\n        (folder / 'state').write_bytes(pickle.dumps(1))\n" + SAVE)],
        {"saves_no_pickles"}, "state: expected JSON",
    ),
    "weights": (
        [(FIT, "        train_ = train if train.weight is None else train.take(slice(40))\n"
          "        odd, even = columns(train_)\n        train = train_\n")],
        {"takes_weights_of_one"}, "a probability changes by",
    ),
    "outcomes": (
        [("        return self\n\n    def predict", "        if len(set(train.labels.tolist())) < 3:\n"
          "            raise ValueError('three classes')\n        return self\n\n    def predict")],
        {"keeps_three_columns"}, "ValueError: three classes",
    ),
    "sides": ([("[a - b]", "[a]")], {"commutes_with_swap"}, "expected at most 1e-06"),
    "names": (
        [("        odd, even = columns(battles)\n", "        odd, even = columns(battles)\n"
          "        even = even if battles.model_a is None else even + 1\n")],
        {"reads_what_test_files_have"}, "names or winners change a probability by",
    ),
    "report": (
        [('{"parameters": self', '{"parameter": self')], {"reports_itself"}, "parameters = None",
    ),
    "state": (
        [(FIT, FIT + "        self.seen = len(train)\n")], {"names_its_state"}, "seen: a learned attribute",
    ),
}  # fmt: skip


def findings(tmp_path: Path, changes):
    load_plugin(write_model(tmp_path / "mine.py", *changes))
    return check_contract(subject_of("mine.py:OwnModel"))


def test_the_model_of_new_model_keeps_every_law(tmp_path: Path):
    found = findings(tmp_path, [])
    assert len(found) == len(LAWS) == 14
    assert [each.law for each in found if not each.holds] == []
    assert len({each.law for each in found}) == 14
    assert all(each.found for each in found)


@pytest.mark.slow
@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_is_found_by_its_law_alone(tmp_path: Path, breach: str):
    changes, broken, words = BREACHES[breach]
    found = dict(zip(LAWS, findings(tmp_path, changes), strict=True))
    assert {name for name, each in found.items() if not each.holds} == broken
    assert any(words in each.found for each in found.values())


def test_every_law_has_a_breach():
    assert set().union(*(broken for _, broken, _ in BREACHES.values())) == set(LAWS)


def test_an_error_of_the_model_is_placed_in_its_file(tmp_path: Path):
    load_plugin(write_model(tmp_path / "mine.py", (FIT, "        odd, even = columns(train) + 1\n")))
    finding = check_law("gives_probabilities", subject_of("mine.py:OwnModel"))
    assert not finding.holds
    assert finding.found.startswith(f"{tmp_path / 'mine.py'}, line ")
    assert "TypeError" in finding.found


def test_an_asymmetric_model_that_says_so_keeps_the_law_of_a_swap(tmp_path: Path):
    changes = [("[a - b]", "[a]"), ("symmetric: ClassVar[bool] = True", "symmetric: ClassVar[bool] = False")]
    load_plugin(write_model(tmp_path / "mine.py", *changes))
    finding = check_law("commutes_with_swap", subject_of("mine.py:OwnModel"))
    assert finding.holds
    assert finding.found.startswith("not declared; a swap changes a probability by 0.")
