"""`import pairrank` offers exactly the names it documents, and loads nothing before one of them is used."""

import importlib
import sys

import pytest

import pairrank
from tests.support.command_line import run_python


def test_dir_shows_exactly_the_public_names():
    assert dir(pairrank) == sorted(pairrank.__all__)
    # Modules that were imported are attributes of the package as well, but not part of its interface.
    importlib.import_module("pairrank.models.base")
    assert dir(pairrank) == sorted(pairrank.__all__)


@pytest.mark.parametrize("name", pairrank.__all__)
def test_every_public_name_is_the_object_of_its_module(name: str):
    module = importlib.import_module(f"pairrank.{pairrank.HOMES[name]}")
    assert getattr(pairrank, name) is vars(module)[name]


def test_the_public_names_are_those_that_programs_rely_on():
    assert set(pairrank.__all__) >= {
        "Battles",
        "Predictions",
        "UserError",
        "Winner",
        "build",
        "compare",
        "cross_validate",
        "explore",
        "predict",
        "report",
        "submit",
        "tune",
        "load_model",
        "read_battles",
        "read_predictions",
    }
    assert set(pairrank.HOMES) == set(pairrank.__all__)


def test_report_stays_the_function_when_the_package_of_that_name_is_imported():
    page = importlib.import_module("pairrank.report.page")
    assert pairrank.report is importlib.import_module("pairrank.api.pages").report
    assert sys.modules["pairrank.report"].__name__ == "pairrank.report"
    code = "import pairrank.report.page, pairrank\nassert pairrank.report.__name__ == 'report', pairrank.report"
    ended = run_python("-c", code)
    assert (ended.stderr, page.Page.__name__) == ("", "Page")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'biuld'"):
        pairrank.biuld  # noqa: B018


def test_importing_the_package_loads_neither_numpy_nor_its_own_modules():
    program = "import pairrank, sys; print([m for m in sys.modules if m == 'numpy' or m.startswith('pairrank.')])"
    ended = run_python("-c", program)
    assert (ended.stdout, ended.stderr) == ("[]\n", "")
