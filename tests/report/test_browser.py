"""The pages in a real browser: no errors or requests, no code from battles runs, and all controls work."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pairrank.cli.pages import explore, report
from pairrank.data.writing import write_battles
from pairrank.evaluation.survey import survey_file
from pairrank.report.explore import explore_page
from pairrank.report.page import Cards, Page
from pairrank.report.results import results_page
from tests.support.pages import hostile_battles, made_up_results

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGES = ("hostile-data", "hostile-report", "sample-data", "sample-report", "arena-data", "arena-report")
PHONE, DESKTOP = 390, 1440
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no chromium with chromedriver here (Debian: apt-get install chromium chromium-driver)")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with webdriver.Chrome(options=options, service=Service(driver)) as chrome:
        yield chrome


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


def page(name: str, folder: Path) -> Path:
    """Return the page of this name, made once, by the command that a user would call."""
    out, data = folder / f"{name}.html", name.split("-")[0]
    if out.exists():
        return out
    if data == "hostile":
        hostile_page(name, folder).write(out)
        return out
    source = ROOT / "Dataset" / "sample" if data == "sample" else ROOT.parent / "shared" / "data" / "arena"
    if not source.is_dir():
        pytest.skip("the real battles (../shared/data/arena beside the repository) are not here")
    if "data" in name:
        explore(source, out, "")
        return out
    published = None if data == "sample" else ROOT / "benchmarks"
    report([], source, _runs(folder, source) if data == "sample" else folder, out, [], [], published)
    return out


def hostile_page(name: str, folder: Path) -> Page:
    """Return a page of battles that contain attacks."""
    if "report" in name:
        return results_page(made_up_results())
    train = folder / "hostile.csv"
    write_battles(hostile_battles(), train)
    return explore_page("hostile", survey_file(train), None, "none")


def _runs(folder: Path, source: Path) -> Path:
    from pairrank.cli.run import RunRequest, run

    run(RunRequest(["prior", "lengths", "kernel"], source, folder / "runs"))
    return folder / "runs"


def show(browser: Any, path: Path, width: int, dark: bool = False) -> None:
    """Open a page in a window of this width, with empty logs."""
    browser.get("about:blank")  # stops the requests of the previous page
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    browser.get(path.as_uri())


def requests(browser: Any) -> list[str]:
    """Return every URL that was requested since the logs were last read."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_without_error_request_or_overflow(browser: Any, folder: Path, name: str):
    path = page(name, folder)
    assert path.stat().st_size < 5e6
    for width in (PHONE, DESKTOP):
        show(browser, path, width, dark=width == PHONE)
        assert browser.execute_script("return window.hacked") is None
        for opened in (False, True):
            if opened:
                browser.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true })")
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
            # Only boxes that scroll may be wider than the screen.
            wide = browser.execute_script(
                "return [...document.querySelectorAll('h1,h2,h3,p,figure,summary,form,figcaption')]"
                ".filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 90))"
            )
            assert wide == []
        assert browser.get_log("browser") == []
        assert requests(browser) == [path.as_uri()]


def test_requests_and_errors_of_a_page_without_a_policy_are_seen(browser: Any, folder: Path, tmp_path: Path):
    """The test above can fail: this page has no policy, requests an image and has a script error."""
    (tmp_path / "page.html").write_text("<img src='other.png'><script>missing()</script>")
    show(browser, tmp_path / "page.html", DESKTOP)
    assert len(requests(browser)) == 2
    assert any("missing is not defined" in entry["message"] for entry in browser.get_log("browser"))


def test_the_security_policy_blocks_injected_scripts_images_and_requests(browser: Any, folder: Path):
    show(browser, page("hostile-report", folder), DESKTOP)
    browser.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.hacked = 3'; document.body.append(s);"
        "const i = document.createElement('img'); i.src = 'http://127.0.0.1:9/x.png'; document.body.append(i);"
        "document.body.insertAdjacentHTML('beforeend', '<p onclick=\"window.hacked = 4\" id=\"planted\">x</p>');"
        "document.getElementById('planted').click();"
    )
    fetched = browser.execute_async_script(
        "const done = arguments[0]; fetch('http://127.0.0.1:9/').then(() => done('sent'), () => done('stopped'))"
    )
    assert fetched == "stopped"
    assert browser.execute_script("return window.hacked") is None
    complaints = "".join(entry["message"] for entry in browser.get_log("browser"))
    for directive in ("script-src", "img-src", "connect-src"):
        assert directive in complaints


@pytest.mark.parametrize("name", ["hostile-report", "hostile-data"])
def test_battles_are_searched_and_filtered(browser: Any, folder: Path, name: str):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    show(browser, page(name, folder), DESKTOP)
    form = browser.find_element(By.CSS_SELECTOR, "form[data-cards]")
    cards = browser.find_elements(By.CSS_SELECTOR, ".battle")
    # The expected results are computed from the battles, not from the page.
    [made] = [block for block in hostile_page(name, folder).blocks if isinstance(block, Cards)]
    texts = [
        "\n".join(
            [c.id, c.excerpt, c.model_a, c.model_b, *(text for t in c.turns for text in (t.prompt, t.a, t.b))]
        )
        for c in made.cards
    ]
    outcomes = [card.outcome for card in made.cards]
    search, output = form.find_element(By.CSS_SELECTOR, "input"), form.find_element(By.CSS_SELECTOR, "output")

    def shown() -> list[int]:
        return [i for i, card in enumerate(cards) if card.is_displayed()]

    assert shown() == list(range(len(cards)))
    for words in ("the sleep", "WWWWWW", texts[1][:8], "prompt tie loss experiment"):
        search.clear()
        search.send_keys(words)
        assert shown() == [
            i for i, text in enumerate(texts) if all(w in text.lower() for w in words.lower().split())
        ]
    search.clear()
    search.send_keys(made.cards[-1].id)
    assert shown() == [len(cards) - 1]
    search.clear()
    search.send_keys("no battle has this")
    assert shown() == []
    assert output.text == f"0 of {len(cards)} battles"
    search.clear()
    search.send_keys(" ")
    Select(form.find_element(By.CSS_SELECTOR, "select")).select_by_visible_text("tie")
    assert shown() == [i for i, outcome in enumerate(outcomes) if outcome == "tie"]
    assert output.text == f"{len(shown())} of {len(cards)} battles"
    form.find_element(By.CSS_SELECTOR, "button").click()
    opened = browser.execute_script("return [...document.querySelectorAll('.battle[open]')].length")
    assert opened == len(shown())


def test_all_controls_are_reached_with_the_keyboard(browser: Any, folder: Path):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    show(browser, page("hostile-report", folder), DESKTOP)
    browser.execute_script("document.querySelector('nav details').open = true")
    reached = []
    for _ in range(200):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        active = "const e = document.activeElement; return e.tagName + (e.className ? '.' + e.className : '')"
        reached.append(browser.execute_script(active))
    assert reached[0] == "A.skip"
    assert {"A", "DIV.wide", "SUMMARY", "INPUT", "SELECT", "BUTTON"} <= set(reached)


def test_printing_opens_every_folded_part(browser: Any, folder: Path):
    show(browser, page("hostile-data", folder), DESKTOP)
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    closed = browser.execute_script("return document.querySelectorAll('details:not([open])').length")
    assert closed == 0
