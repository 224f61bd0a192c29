"""The HTML of a page: escaping, security policy, ids, warnings and filters."""

import base64
import hashlib
import re

import pytest

from pairrank.report.cards import card
from pairrank.report.charts import Chart
from pairrank.report.formatting import one_line
from pairrank.report.page import WARNING, Cards, Page, Section, Table, breakable
from pairrank.report.results import results_page
from tests.support.pages import ATTACK, NAME, PageParser, made_up_results


@pytest.mark.parametrize("kind", ["explore", "report"])
def test_no_text_of_a_battle_becomes_markup(hostile_html: dict[str, str], kind: str):
    html = hostile_html[kind]
    page = PageParser(html)
    scripts = [attrs for tag, attrs in page.tags if tag == "script"]
    assert len(scripts) == 1
    assert not [tag for tag, _ in page.tags if tag in ("img", "i", "b", "iframe", "object", "link", "base")]
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    # It is shown as text.
    assert ATTACK.replace("\x1b", "�") in page.text
    assert one_line(NAME) in page.text
    # Control characters, and characters in names that change the writing direction, are replaced.
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", html)
    assert NAME not in page.text


@pytest.mark.parametrize("kind", ["explore", "report"])
def test_the_security_policy_allows_only_its_own_script_and_style(hostile_html: dict[str, str], kind: str):
    html = hostile_html[kind]
    page = PageParser(html)
    [policy] = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert "unsafe" not in policy
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        [content] = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    # The page has nothing that the policy would have to forbid: no style attribute, nothing to fetch.
    assert not [attrs for _, attrs in page.tags if "style" in attrs or "src" in attrs]
    links = [attrs["href"] for _, attrs in page.tags if attrs.get("href")]
    assert links
    assert all(link.startswith("#") for link in links)


@pytest.mark.parametrize("kind", ["explore", "report"])
def test_a_page_has_unique_ids_alternative_texts_and_a_warning_on_top(
    hostile: dict[str, Page], hostile_html: dict[str, str], kind: str
):
    page, html = hostile[kind], hostile_html[kind]
    read = PageParser(html)
    assert [attrs["lang"] for tag, attrs in read.tags if tag == "html"] == ["en"]
    charts = [block for block in page.blocks if isinstance(block, Chart)]
    assert len({chart.name for chart in charts}) == len(charts) > 7
    images = [attrs for tag, attrs in read.tags if tag == "svg"]
    assert [attrs["aria-label"] for attrs in images] == [chart.alt for chart in charts]
    for chart in charts:
        assert chart.caption in read.text
    # The page shows battles, so the warning comes before the title.
    body = html.index("<header>")
    assert html.index(WARNING.split(":")[0], body) < html.index("<h1>")
    targets = [attrs["id"] for _, attrs in read.tags if "id" in attrs]
    assert len(targets) == len(set(targets))
    assert {attrs["href"][1:] for tag, attrs in read.tags if tag == "a"} <= set(targets)
    assert "\x00" not in html


def test_sections_with_equal_titles_have_different_anchors():
    sections = [Section(title, []) for title in ("Cost", "cost", "模型", "模型 2", "")]
    assert Page("t", "s", sections, "f").anchors == ["cost", "cost-1", "section", "2", "section-4"]


def test_a_page_without_battles_has_no_warning(hostile: dict[str, Page]):
    assert WARNING not in Page("t", "s", [], "f").html()
    assert hostile["report"].shows_battles


@pytest.mark.slow
def test_the_same_battles_give_the_same_page(hostile: dict[str, Page], hostile_html: dict[str, str]):
    first = hostile_html["report"]
    assert first.startswith("<!doctype html>")
    assert first == hostile["report"].html() == results_page(made_up_results()).html()


def test_filters_have_the_values_of_the_cards():
    results = made_up_results()
    cards = Cards("c", [card(results.battles, results.survey, row) for row in range(40)])
    assert cards.filters["Outcome"] == ["A wins", "B wins", "tie"]
    assert "Shown for" not in cards.filters
    assert "Language" not in Cards("c", cards.cards[12:14]).filters  # a filter with a single value is left out


def test_folded_sections_later_columns_and_names_that_break_between_words_only():
    table = Table(["name", "loss", "rest"], [['a"+b<i>', "1", "2"]], "caption", first=("loss",))
    html = Page("t", "s", [Section('x"<b>', [table], folded=True)], "f").html()
    assert '<details class="folded"><summary><h2>' in html
    assert html.count('class="later"') == 2  # the head and the cell of the column "rest"
    assert "a&#34;+<wbr>b&lt;i&gt;</th>" in html
    assert breakable("plain") == "plain"
    assert breakable("a-b\u202e") == "a-<wbr>b�"
