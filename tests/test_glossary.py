"""The glossary defines every term once, and every column header that pairrank shows."""

import re

import pytest

from pairrank.evaluation.history import HISTORY
from pairrank.evaluation.leaderboard_table import MADE_ELSEWHERE
from pairrank.glossary import find_term, similar_terms, terms
from tests.support.headers import card_headers, shown_tables, tables_by_name

COMPUTED = {
    # Tables of leaderboards and learning curves: `tables_by_name` finds their headers.
    "names",
    "list(table)",
    "list(seeds)",
    "list(slices.columns)",  # the page's own table, found there
    "*HISTORY",
    # Names of runs, slices and quantiles, for which `Table.terms` names the term: tests/report/test_glossary.py.
    "*names",
    "*labels",
    "*shares",
    "kind",  # "setting" or "provenance"
}
"""Source of headers that no table writes out, and why that is no gap."""


def test_every_header_in_the_source_of_tables_pages_and_cards_is_defined():
    shown = [(place, header) for place, headers, _ in shown_tables() for header in headers]
    assert len(shown) > 60  # otherwise the search finds nothing
    headers = [
        *shown,
        *(("tables", each) for each in tables_by_name()),
        *(("card", each) for each in card_headers()),
    ]
    headers += [("history", each) for each in (*HISTORY, "setting", "provenance", MADE_ELSEWHERE)]
    assert {each for each in headers if find_term(each[1]) is None} == set()


def test_every_computed_header_is_known_to_this_test():
    assert {source for _, _, computed in shown_tables() for source in computed} == COMPUTED


def test_the_search_finds_headers_of_each_kind():
    assert {"rank", "Δ NAME [95 %]", "above floor", "log loss of the average"} <= set(tables_by_name())
    assert {"metric", "tendency", "model - voters, 95 % interval"} <= set(card_headers())
    shown = {(place, header) for place, headers, _ in shown_tables() for header in headers}
    assert {("cli/ratings.py", "strength"), ("report/explore.py", "win rate [95 %]")} <= shown


def test_names_slugs_and_spellings_are_unique_and_references_exist():
    names = list(terms())
    assert len({term.slug for term in terms().values()}) == len(names)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", term.slug) for term in terms().values())
    spellings = [name for term in terms().values() for name in (term.name, *term.also)]
    assert sorted(spellings) == sorted(set(spellings))
    assert [each for term in terms().values() for each in term.see if each not in names] == []
    assert [term.name for term in terms().values() if term.name in term.see] == []


def test_every_definition_is_one_or_more_sentences():
    for term in terms().values():
        assert re.fullmatch(r"[A-Z0-9\-].*\.", term.text) or term.text.startswith(("log ", "-ln")), term.name


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("log loss ± s.e.", "log loss"),
        ("Δ baseline@minilm+evidence=false [95 %]", "Δ"),
        ("Δ [95 %, all pairs]", "Δ"),
        ("kept P / A / B", "tokens kept P / A / B"),
        ("ece", "ECE"),
        ("SWAP  GAP", "swap gap"),
        ("Swap gap", "swap gap"),
        ("", None),
        ("Δ", "Δ"),
    ],
)
def test_a_header_is_found_without_its_interval_and_the_name_of_a_run(header: str, name: str | None):
    found = find_term(header)
    assert (found.name if found else None) == name


def test_similar_terms_are_those_that_a_typing_error_or_a_part_of_a_name_means():
    assert similar_terms("callibration")[0] == "calibration"
    assert "swap gap" in similar_terms("swap")
    assert similar_terms("qqqqqq") == []
