"""Every column header of a page refers to its definition in the last section of the page."""

import re

import pytest

from pairrank.evaluation.run_difference import run_difference
from pairrank.evaluation.survey import survey_of
from pairrank.glossary import find_term
from pairrank.report.difference_page import difference_page
from pairrank.report.page import GLOSSARY, Page, Section, Table, Text
from tests.support.pages import PageParser, hostile_battles, made_up_entries


@pytest.mark.parametrize("kind", ["explore", "report"])
def test_every_column_header_refers_to_one_definition(hostile_html: dict[str, str], kind: str):
    tags = PageParser(hostile_html[kind]).tags
    heads = [attributes for tag, attributes in tags if tag == "th" and attributes.get("scope") == "col"]
    ids = [attributes["id"] for tag, attributes in tags if tag == "dd"]
    assert len(heads) > 10
    assert [each for each in heads if each.get("aria-describedby") not in ids] == []
    assert len(ids) == len(set(ids))
    assert {each["aria-describedby"] for each in heads} == set(ids)  # the page defines what it uses, and no more


def test_a_header_carries_the_definition_of_the_glossary():
    page = Page("", "", [Section("One", [Table(["experiment", "ECE"], [["a", "1"]], "A table")])], "")
    found = re.search(r'title="([^"]*)" aria-describedby="term-ece">ECE<', page.html())
    assert found
    term = find_term("ECE")
    assert term
    assert found[1] == term.text
    assert GLOSSARY in page.html()


def test_a_name_of_a_run_is_explained_by_the_term_that_its_table_names_even_if_it_is_a_term_itself():
    table = Table(["score", "skill", "floor"], [], "", terms={"skill": "first", "floor": "second"})
    assert [term.name for i in range(3) if (term := table.term(i))] == ["score", "first", "second"]


def test_a_page_without_tables_has_no_glossary():
    assert GLOSSARY not in Page("", "", [Section("One", [Text("words")])], "").html()


def test_the_page_of_a_difference_explains_all_its_columns():
    battles = hostile_battles()
    first, second, *_ = made_up_entries(battles)
    html = difference_page(run_difference("data", battles, survey_of(battles), first, second)).html()
    heads = re.findall(r'<th scope="col"([^>]*)>', html)
    assert len(heads) > 5
    assert [each for each in heads if "aria-describedby" not in each] == []
    defined = dict(re.findall(r'title="([^"]*)" aria-describedby="term-(first|second)"', html))
    assert sorted(defined.values()) == ["first", "second"]
