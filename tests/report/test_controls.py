"""The controls of tables and charts in a real browser: sort, filter, columns, values and highlighting."""

from pathlib import Path
from typing import Any

import pytest

from pairrank.report.charts import Chart, new_axes, styled
from pairrank.report.marks import Mark, Marks
from pairrank.report.page import Page, Section, Table
from tests.report.test_browser import DESKTOP, PHONE, browser, requests, show  # noqa: F401  # browser is a fixture

pytestmark = pytest.mark.slow

NAMES = ("zeta+seed=1", "alpha", "mid", "<b>evil", "e5", "e6", "e7", "e8")
VALUES = ("1.10", "1,000", "–", "-2 [x]", "3", "4", "5", "6")


@styled
def dots() -> Chart:
    figure, [axes] = new_axes(2)
    marks = Marks()
    marks.add(axes.plot([1, 2, 3], [1, 2, 3], "o")[0], [Mark(f"value of {name}", name) for name in NAMES[:3]])
    return Chart("dots", figure, "caption", "alt", marks)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    columns = ["name", "value", "b", "c", "d", "e"]
    rows = [[name, value, "x", "y", "z", "w"] for name, value in zip(NAMES, VALUES, strict=True)]
    table = Table(columns, rows, "a table", first=("value",))
    sections = [Section("Shown", [dots(), table]), Section("Details", [Table(["a"], [["1"]], "t")], folded=True)]
    Page("t", "s", sections, "f").write(tmp_path / "page.html")
    return tmp_path / "page.html"


def names_shown(browser: Any) -> list[str]:  # noqa: F811
    rows = "[...document.querySelectorAll('#shown tbody tr')].filter(r => !r.hidden)"
    return [str(name) for name in browser.execute_script(f"return {rows}.map(r => r.cells[0].innerText)")]


def keys(browser: Any, *pressed: str) -> None:  # noqa: F811
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(browser).send_keys(*pressed).perform()


def test_tables_sort_filter_and_hide_columns(browser: Any, file: Path):  # noqa: F811
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    show(browser, file, DESKTOP)
    head = browser.find_elements(By.CSS_SELECTOR, "#shown th[scope=col]")[1]
    button = head.find_element(By.TAG_NAME, "button")
    button.click()
    assert head.get_attribute("aria-sort") == "ascending"
    ascending = ["<b>evil", "zeta+seed=1", "e5", "e6", "e7", "e8", "alpha", "mid"]
    assert names_shown(browser) == ascending
    button.send_keys(Keys.ENTER)
    assert head.get_attribute("aria-sort") == "descending"
    assert names_shown(browser) == [*ascending[:7][::-1], "mid"]  # what is unknown stays last
    button.send_keys(Keys.ENTER)
    assert head.get_attribute("aria-sort") is None
    assert names_shown(browser) == list(NAMES)
    search = browser.find_element(By.CSS_SELECTOR, ".tools input[type=search]")
    search.send_keys("SEED zeta")
    assert names_shown(browser) == ["zeta+seed=1"]
    search.clear()
    browser.find_element(By.CSS_SELECTOR, ".columns summary").click()
    browser.find_element(By.CSS_SELECTOR, ".columns input").click()
    assert not head.is_displayed()
    assert browser.get_log("browser") == []
    assert requests(browser) == [file.as_uri()]


def test_charts_show_values_and_highlight_a_run_with_the_keyboard(browser: Any, file: Path):  # noqa: F811
    from selenium.webdriver.common.keys import Keys

    show(browser, file, DESKTOP)
    browser.execute_script("document.querySelector('.chart svg').focus()")
    keys(browser, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    tip = "const t = document.querySelector('.tip'); return t.hidden ? '' : t.textContent"
    lit = "return [...document.querySelectorAll('tr.%s')].map(r => r.cells[0].innerText)"
    assert browser.execute_script(tip) == "value of alpha"
    assert browser.execute_script(lit % "lit") == ["alpha"]
    keys(browser, Keys.ENTER, Keys.HOME)
    assert browser.execute_script(tip) == "value of zeta+seed=1"
    assert browser.execute_script(lit % "pinned") == ["alpha"]
    keys(browser, Keys.ESCAPE)
    assert browser.execute_script(tip) == ""
    assert browser.execute_script(lit % "pinned") == []


def test_a_phone_shows_the_first_columns_and_a_link_opens_a_folded_section(browser: Any, file: Path):  # noqa: F811
    show(browser, file, PHONE)
    heads = "return [...document.querySelectorAll('#shown th[scope=col]')].filter(e => e.offsetWidth).length"
    assert browser.execute_script(heads) == 2
    browser.execute_script("[...document.querySelectorAll('.columns button')].at(-1).click()")
    assert browser.execute_script(heads) == 6
    folded = "return document.querySelector('#details details').open"
    assert browser.execute_script(folded) is False
    browser.execute_async_script("addEventListener('hashchange', () => arguments[0]()); location.hash = 'details'")
    assert browser.execute_script(folded) is True


@pytest.mark.parametrize("rows", [1, 3], ids=["a table that is not sorted", "a table that is sorted"])
def test_a_header_shows_its_definition_under_the_pointer_and_with_the_keyboard(
    browser: Any,  # noqa: F811
    tmp_path: Path,
    rows: int,
):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    table = Table(["experiment", "ECE"], [[f"e{i}", "0.1"] for i in range(rows)], "a table")
    Page("t", "s", [Section("Shown", [table])], "f").write(tmp_path / "page.html")
    show(browser, tmp_path / "page.html", DESKTOP)
    tip = "const t = document.querySelector('.tip'); return t.hidden ? '' : t.textContent"
    head = browser.find_elements(By.CSS_SELECTOR, "#shown th[scope=col]")[1]
    reached = head if rows == 1 else head.find_element(By.TAG_NAME, "button")
    browser.execute_script("arguments[0].focus()", reached)
    assert browser.execute_script("return document.activeElement === arguments[0]", reached)
    assert browser.execute_script(tip).startswith("Expected calibration error")
    described = browser.execute_script(
        "return document.getElementById(arguments[0].getAttribute('aria-describedby')).textContent", reached
    )
    assert described == browser.execute_script(tip)
    browser.execute_script("arguments[0].blur()", reached)
    assert browser.execute_script(tip) == ""
    ActionChains(browser).move_to_element(reached).perform()
    assert browser.execute_script(tip) == described
