"""Code of the user's own is loaded only where the user names it, and its mistakes are one message."""

import sys
from pathlib import Path

import pytest

from pairrank import build, load_plugin, plugins
from pairrank.errors import UserError
from pairrank.models.base import Model, model_class, model_names, own_model
from pairrank.models.saving import load_model, save_model
from tests.support.battles import tiny_battles
from tests.support.own_code import install_package, write_model
from tests.support.runs import complaint


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("mine.py", ("mine.py", "")),
        ("./a/mine.py:My", ("./a/mine.py", "My")),
        ("package.module:My", ("package.module", "My")),
        ("C:/mine.py:My", ("C:/mine.py", "My")),
        ("C:/mine.py", ("C:/mine.py", "")),
    ],
)
def test_a_reference_is_a_file_or_module_and_an_object(name: str, parts: tuple[str, str]):
    assert plugins.split(name) == parts
    assert plugins.is_reference(name)


@pytest.mark.parametrize("name", ["prior", "length", "org/name@revision", "hf:", ":", "7b:8", "a:8b"])
def test_other_names_are_no_references(name: str):
    assert not plugins.is_reference(name)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ["mine.py", "no Python file"]),
        ("x = 1", ["mine.py", "no subclass of pairrank.models.base.Model", "nothing"]),
        ("class Other: ...", ["no subclass of pairrank.models.base.Model", "Other"]),
        ("\nimport no_such_package", ["mine.py, line 2", "ModuleNotFoundError", "no_such_package"]),
        ("x = 1\ndef f(:\n", ["mine.py, line 2", "SyntaxError"]),
        ("def f():\n    return 1 / 0\nf()", ["mine.py, line 2", "ZeroDivisionError"]),
        ("import sys\nsys.exit(3)", ["mine.py, line 2", "SystemExit: 3"]),
    ],
)
def test_a_file_without_a_model_is_one_message(tmp_path: Path, text: str | None, words: list[str]):
    if text is not None:
        (tmp_path / "mine.py").write_text(text)
    message = complaint(lambda: own_model("mine.py", tmp_path))
    assert all(word in message for word in words), message
    assert f"{plugins.PACKAGE}.mine" not in sys.modules or text in ("x = 1", "class Other: ...")


@pytest.mark.parametrize(
    ("changes", "reference", "words"),
    [
        ([], "mine.py:Mine", ["no class or function is called 'Mine'", "OwnModel"]),
        ([], "mine.py:columns", ["mine.py:columns", "expected a subclass of pairrank.models.base.Model"]),
        ([("class OwnModel(Model)", "class OwnModel")], "mine.py:OwnModel", ["expected a subclass"]),
        ([("@dataclass\n", "")], "mine.py", ["expected a dataclass"]),
        ([("def save(", "def store(")], "mine.py:OwnModel", ["the method save is missing"]),
        ([("@dataclass\n", "@register('mine')\n@dataclass\n"), ("import Model,", "import Model, register,")],
         "mine.py", ["@register('mine')", "Leave it out"]),
        ([("def columns(", "@dataclass\nclass Second(Model):\n    pass\n\n\ndef columns(")], "mine.py:Second",
         ["the method fit, load, predict_proba, report, save is missing"]),
    ],
)  # fmt: skip
def test_a_class_that_is_no_model_is_one_message(tmp_path: Path, changes, reference: str, words: list[str]):
    write_model(tmp_path / "mine.py", *changes)
    message = complaint(lambda: own_model(reference, tmp_path))
    assert all(word in message for word in words), message


def test_a_model_of_pairrank_is_not_named_as_ones_own(tmp_path: Path):
    (tmp_path / "mine.py").write_text("from pairrank.models.prior import Prior")
    assert "the model 'prior' of pairrank" in complaint(lambda: own_model("mine.py:Prior", tmp_path))
    message = complaint(lambda: own_model("pairrank.models.prior:Prior", tmp_path))
    assert "a module of pairrank itself" in message
    assert model_class("prior").model_name == "prior"


def test_of_two_models_in_a_file_one_must_be_named(tmp_path: Path):
    write_model(tmp_path / "mine.py")
    with (tmp_path / "mine.py").open("a") as file:
        file.write("\n\n@dataclass\nclass Second(OwnModel):\n    pass\n")
    assert "it defines OwnModel, Second. Name one: mine.py:OwnModel" in complaint(
        lambda: own_model("mine.py", tmp_path)
    )
    assert own_model("mine.py:Second", tmp_path) == "mine.py:Second"


def test_a_file_is_found_relative_to_a_folder_and_known_by_its_name_alone(tmp_path: Path):
    write_model(tmp_path / "deep" / "mine.py")
    assert own_model("./deep/mine.py", tmp_path) == "mine.py:OwnModel"
    assert build("mine.py:OwnModel", penalty=2).penalty == 2
    assert "mine.py:OwnModel" not in model_names()


def test_two_files_of_one_name_are_refused(tmp_path: Path):
    for folder in "ab":
        write_model(tmp_path / folder / "mine.py")
    load_plugin(tmp_path / "a" / "mine.py")
    load_plugin(tmp_path / "a" / ".." / "a" / "mine.py")
    assert "have the same name" in complaint(lambda: load_plugin(tmp_path / "b" / "mine.py"))


def test_a_changed_file_is_run_again_and_an_unchanged_one_is_not(tmp_path: Path):
    (tmp_path / "mine.py").write_text("x = []")
    first = load_plugin(tmp_path / "mine.py").module
    assert load_plugin(tmp_path / "mine.py").module is first
    (tmp_path / "mine.py").write_text("x = {}")
    assert load_plugin(tmp_path / "mine.py").module.x == {}
    assert not list(tmp_path.rglob("*.pyc"))


EVIL = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\n"


@pytest.mark.parametrize(
    "name", ["evil.py:Evil", "../evil.py:Evil", "evil:Evil", "evil_package.evil:Evil", "evil.py"]
)
def test_a_saved_model_never_makes_code_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    """Neither a file beside it, nor one in the current folder, nor a module that could be imported."""
    save_model(build("prior").fit(tiny_battles()), tmp_path / "fold0")
    for place in (tmp_path, tmp_path / "fold0", tmp_path / "evil_package"):
        place.mkdir(exist_ok=True)
        (place / "evil.py").write_text(EVIL)
    file = tmp_path / "fold0" / "model.json"
    file.write_text(file.read_text().replace('"prior"', f'"{name}"'))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    message = complaint(lambda: load_model(tmp_path / "fold0"))
    assert "--plugin" in message
    assert "load_plugin" in message
    assert not list(tmp_path.rglob("ran"))


def test_a_saved_model_is_loaded_once_its_code_is(tmp_path: Path):
    write_model(tmp_path / "mine.py")
    load_plugin(tmp_path / "mine.py")
    battles = tiny_battles()
    model = build("mine.py:OwnModel").fit(battles)
    save_model(model, tmp_path / "saved")
    loaded = load_model(tmp_path / "saved")
    assert (loaded.predict_proba(battles) == model.predict_proba(battles)).all()


def test_a_class_that_was_not_found_by_a_name_is_not_saved(tmp_path: Path):
    class Heir(model_class("prior")):  # it would be loaded as a prior
        pass

    assert "Heir has no name to be saved under" in complaint(
        lambda: save_model(Heir().fit(tiny_battles()), tmp_path)
    )


def test_the_variable_loads_the_same_code_in_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_model(tmp_path / "mine.py")
    load_plugin(tmp_path / "mine.py")
    [(name, value)] = plugins.variable().items()
    plugins._loaded.clear()
    assert "--plugin" in complaint(lambda: model_class("mine.py:OwnModel"))
    monkeypatch.setenv(name, value)
    assert issubclass(model_class("mine.py:OwnModel"), Model)


def test_an_error_of_own_code_is_placed_in_it(tmp_path: Path):
    (tmp_path / "mine.py").write_text("import json\n\ndef f():\n    return json.loads('')\n")
    f = load_plugin(tmp_path / "mine.py").module.f
    with pytest.raises(ValueError, match="Expecting value") as caught:
        f()
    assert plugins.place_of(caught.value) == f"{tmp_path / 'mine.py'}, line 4"
    with pytest.raises(ZeroDivisionError) as other:
        _ = 1 / 0
    assert plugins.place_of(other.value) == ""


def test_a_file_for_an_experiment_elsewhere_is_named_by_its_path(tmp_path: Path):
    load_plugin(write_model(tmp_path / "code" / "mine.py"))
    table = {"name": "mine.py:OwnModel", "groups": ["length", "mine.py:f"], "penalty": 1.0}
    changed = plugins.relative_to(table, tmp_path / "experiments")
    assert changed == {
        "name": "../code/mine.py:OwnModel",
        "groups": ["length", "../code/mine.py:f"],
        "penalty": 1.0,
    }


# Importable modules and installed packages


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An importable package, whose name no other test uses, with a model in a module."""
    name = f"package_{tmp_path.name}"
    write_model(tmp_path / "site" / name / "inner" / "module.py")
    for folder in (tmp_path / "site" / name, tmp_path / "site" / name / "inner"):
        (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return name


def test_a_module_is_imported_where_the_user_names_it(package: str, tmp_path: Path):
    name = f"{package}.inner.module:OwnModel"
    assert "--plugin" in complaint(lambda: model_class(name))
    assert own_model(name, tmp_path) == name
    assert build(name).penalty == 1
    source = plugins._loaded[f"{package}.inner.module"]
    assert source.root == tmp_path / "site" / package
    assert source.file_of(f"{package}.inner") == tmp_path / "site" / package / "inner" / "__init__.py"
    assert source.file_of("numpy") is None


def test_a_module_that_fails_is_one_message(package: str, tmp_path: Path):
    module = tmp_path / "site" / package / "broken.py"
    module.write_text("\nimport no_such_package\n")
    message = complaint(lambda: load_plugin(f"{package}.broken"))
    assert message.startswith(f"{module}, line 2: ")
    assert "no_such_package" in message
    assert "ModuleNotFoundError" in complaint(lambda: load_plugin(f"{package}.missing"))


def test_an_installed_package_offers_a_model(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    install_package(tmp_path / "site", monkeypatch, "offers", models=f"offered = {package}.inner.module:OwnModel")
    assert "offered" in model_names()
    battles = tiny_battles()
    save_model(build("offered", penalty=3.0).fit(battles), tmp_path / "saved")
    plugins._loaded.clear()  # as in another process: what is installed needs no --plugin
    assert load_model(tmp_path / "saved").penalty == 3.0
    assert "Did you mean 'offered'?" in complaint(lambda: build("ofered"))


def test_a_name_of_pairrank_or_of_two_packages_is_refused(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    entry = f"{package}.inner.module:OwnModel"
    install_package(tmp_path / "site", monkeypatch, "first", models=f"prior = {entry}\nours = {entry}")
    install_package(tmp_path / "other", monkeypatch, "second", models="ours = json:loads\nwrong = json:loads")
    assert "the package first" in complaint(lambda: build("prior"))
    assert "'prior' is part of pairrank" in complaint(lambda: build("prior"))
    both = complaint(lambda: build("ours"))
    assert "the package first" in both
    assert "the package second" in both
    assert "expected a subclass" in complaint(lambda: build("wrong"))
    assert build("structure").seeds == 5


def test_an_entry_point_that_fails_names_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    install_package(tmp_path / "site", monkeypatch, "broken", models="lost = no_such_module:Lost\nless = json:Lost")
    for name, word in (("lost", "no_such_module"), ("less", "no attribute 'Lost'")):
        message = complaint(lambda name=name: build(name))
        assert message.startswith("the package broken, entry point pairrank.models: ")
        assert word in message


def test_a_user_error_of_own_code_has_its_place(tmp_path: Path):
    (tmp_path / "mine.py").write_text("from pairrank import UserError\nraise UserError('no licence.')")
    with pytest.raises(UserError, match=r"mine\.py, line 2: no licence\.$"):
        load_plugin(tmp_path / "mine.py")
