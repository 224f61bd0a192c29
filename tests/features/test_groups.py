"""Groups of features are those that an experiment names, with functions of the user's own among them."""

from pathlib import Path

import numpy as np
import pytest

from pairrank import build, load_plugin
from pairrank.features import authorship
from pairrank.features.counting import count_features
from pairrank.features.groups import DEFAULT_GROUPS, GROUPS, find_group, own_group
from pairrank.features.sides import SIDES
from pairrank.models.base import parameters_of
from tests.support.battles import tiny_battles
from tests.support.own_code import install_package
from tests.support.runs import complaint

OWN = """
def shout(answer, prompt):
    return {"marks": float(answer.text.count(",")), "asked": float(prompt.text.count("?"))}


def question(prompt):
    return {"words": len(prompt.words)}


def same(a, b):
    return {"equal": float(a.text == b.text)}


def many(answer, prompt):
    return {word: 1.0 for word in answer.words}


def endless(answer, prompt):
    return {"size": float("nan")}


def wrong(x):
    return {}
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(OWN)
    load_plugin(tmp_path / "mine.py")
    return tmp_path / "mine.py"


def test_the_default_groups_are_a_fixed_list(monkeypatch: pytest.MonkeyPatch):
    """A group that is added to the package changes no experiment: the names are written out here and there."""
    expected = ("length", "turns", "repetition", "refusal", "words", "relevance", "prompt", "similarity")
    assert expected == DEFAULT_GROUPS
    assert set(GROUPS) - set(expected) == {"style"}
    monkeypatch.setitem(SIDES, "added", lambda answer, prompt: {"x": 1.0})
    for name in ("structure", "kernel", "gbdt"):
        assert parameters_of(build(name))["groups"] == expected
    assert authorship.GROUPS == ("length", "turns", "repetition", "refusal", "style", "words", "relevance")


def test_a_loaded_or_installed_group_enters_no_model_by_itself(own: Path, tmp_path: Path, monkeypatch):
    module = f"features_{tmp_path.name}"
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / f"{module}.py").write_text(OWN)
    install_package(tmp_path / "site", monkeypatch, "more", features=f"shout = {module}:shout")
    battles = tiny_battles()
    assert not [name for name in count_features(battles).odd_names if "shout" in name]
    assert build("structure").groups == DEFAULT_GROUPS
    assert count_features(battles, ["shout"]).odd_names == ("shout.marks", "shout.asked")


def test_a_function_of_ones_own_is_measured_on_both_sides(own: Path):
    battles = tiny_battles()
    found = count_features(battles, ["mine.py:shout", "mine.py:question", "mine.py:same"])
    commas = np.array(
        [[a[0].count(","), b[0].count(",")] for a, b in zip(battles.response_a, battles.response_b, strict=True)]
    )
    assert found.odd_names == ("mine.py:shout.marks", "mine.py:shout.asked")
    assert found.odd[:, 0].tolist() == (commas[:, 0] - commas[:, 1]).tolist()
    even = dict(zip(found.even_names, found.even.T, strict=True))
    assert even["mine.py:shout.marks.sum"].tolist() == commas.sum(axis=1).tolist()
    assert set(even["mine.py:question.words"]) == {5.0}
    assert set(even["mine.py:same.equal"]) == {0.0}


def test_a_model_learns_from_a_group_of_ones_own(own: Path):
    battles = tiny_battles()
    setting = {"learner": "logistic", "groups": ["length", "mine.py:shout"]}
    one = build("structure", **setting).fit(battles).predict_proba(battles)
    other = build("structure", **setting | {"groups": ["length"]}).fit(battles).predict_proba(battles)
    assert np.abs(one - other).max() > 1e-6


def test_a_changed_function_is_measured_again(own: Path):
    before = count_features(tiny_battles(), ["mine.py:shout"]).odd
    own.write_text(OWN.replace('count(",")', 'count(",") * 2'))
    load_plugin(own)
    assert (count_features(tiny_battles(), ["mine.py:shout"]).odd[:, 0] == 2 * before[:, 0]).all()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mine.py:many", ["mine.py:many", "the same names for all texts"]),
        ("mine.py:endless", ["mine.py:endless", "nan", "finite numbers by name"]),
        ("mine.py:wrong", ["mine.py:wrong", "(answer, prompt), (prompt), (a, b)"]),
        ("mine.py:OWN", ["no class or function is called 'OWN'"]),
        ("other.py:shout", ["other.py:shout", "--plugin"]),
        ("lenght", ["Did you mean 'length'?"]),
    ],
)
def test_a_wrong_group_is_one_message(own: Path, name: str, words: list[str]):
    message = complaint(lambda: count_features(tiny_battles(), [name]))
    assert all(word in message for word in words), message


def test_a_group_may_be_the_only_function_of_a_file(tmp_path: Path):
    (tmp_path / "one.py").write_text("def tempo(answer, prompt):\n    return {'x': 1.0}\n\n\ndef helper(x): ...\n")
    assert own_group("./one.py", tmp_path) == "one.py:tempo"
    assert find_group("one.py:tempo").pair is None


def test_a_package_must_not_use_the_name_of_a_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    install_package(tmp_path, monkeypatch, "twin", features="length = json:loads")
    assert "'length' is part of pairrank" in complaint(lambda: count_features(tiny_battles(), ["length"]))
