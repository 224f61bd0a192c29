"""The site is built without a warning, its links lead somewhere, and it loads nothing from the network."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


class Links(HTMLParser):
    """The ids of an HTML page, the targets of its links, and what a browser loads with it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids |= {value for key, value in attrs if key in ("id", "name") and value}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"] or "")
        if tag in ("script", "img", "iframe", "source") and values.get("src"):
            self.loaded.append(values["src"] or "")
        if tag == "link" and values.get("rel") != "canonical" and values.get("href"):
            self.loaded.append(values["href"] or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site with the command that the documents name, into another folder."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "docs", str(folder)]
    # Proxies that lead nowhere: a build that asks for anything on the network fails.
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    done = subprocess.run(command, cwd=ROOT, env=os.environ | nowhere, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Links]:
    files = [file for file in site.rglob("*.html") if "_static" not in file.parts]
    return {file: Links(file.read_text(encoding="utf-8")) for file in files}


def test_every_link_leads_to_a_page_and_a_place_in_it(pages: dict[Path, Links]):
    broken = []
    assert len(pages) > 15
    for file, page in pages.items():
        for link in page.links:
            address = urlsplit(link)
            if address.scheme or address.netloc:
                continue
            target = (file.parent / unquote(address.path)).resolve() if address.path else file
            place = unquote(address.fragment)
            if not target.exists() or (place and target in pages and place not in pages[target].ids):
                broken.append(f"{file.name}: {link}")
    assert broken == []


def test_pages_load_only_files_of_the_site(site: Path, pages: dict[Path, Links]):
    loaded = {(file, address) for file, page in pages.items() for address in page.loaded}
    assert len(loaded) > 20
    own = {(file, address) for file, address in loaded if not address.startswith(("data:", "#"))}
    found = {address: (file.parent / unquote(urlsplit(address).path)).is_file() for file, address in own}
    assert [address for address, is_file in found.items() if not is_file] == []
    styles = [file.read_text(encoding="utf-8") for file in site.rglob("*.css")]
    assert [found for text in styles for found in re.findall(r"url\([\"']?(https?:[^)]*)\)", text)] == []


def test_every_page_of_the_reference_and_the_results_has_its_generated_content(site: Path):
    shown = {
        "reference/command-line": "--dry-run",
        "reference/experiment-files": "training.learning_rate",
        "reference/battle-files": "winner_model_a",
        "reference/glossary": "expected calibration error",
        "reference/python": "pairrank.cross_validate",
        "results/leaderboard": "<svg",
        "results/speed": "padded to 512",
        "results/learning-curves": "learning-curves.svg",
        "tutorial": "cross_validate",
    }
    for name, text in shown.items():
        assert text in (site / f"{name}.html").read_text(encoding="utf-8"), name
