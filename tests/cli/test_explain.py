"""`explain` prints definitions of the glossary in 80 columns."""

import textwrap

import pytest

from pairrank.cli.explain import explain
from pairrank.cli.result_commands import complete_terms
from pairrank.errors import UserError
from pairrank.glossary import terms


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize("name", terms())
def test_every_term_is_printed_whole_in_80_columns(name: str, capsys):
    explain(name)
    shown = capsys.readouterr().out
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert shown.splitlines()[0] == name
    assert " ".join(terms()[name].text.split()) in " ".join(shown.split())


def test_without_a_term_all_terms_are_listed(capsys):
    explain("")
    shown = capsys.readouterr().out
    assert all(len(line) <= 80 for line in shown.splitlines())
    # Terms are in columns, with two spaces or more between them.
    listed = [name for line in shown.splitlines() for name in textwrap.dedent(line).split("  ")]
    assert set(terms()) <= {name.strip() for name in listed}


def test_an_unknown_term_is_refused_with_similar_ones():
    with pytest.raises(UserError, match=r"callibration.*Did you mean 'calibration'"):
        explain("callibration")


def test_an_unknown_term_without_similar_ones_leads_to_the_list():
    with pytest.raises(UserError, match=r"'qqqqqq'.*lists all terms"):
        explain("qqqqqq")


def test_the_shell_completes_terms():
    assert complete_terms("swap") == ["swap augmentation", "swap gap"]
    assert complete_terms("EC") == ["ECE"]
