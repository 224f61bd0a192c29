"""Hostile texts in battles, names and descriptions, through the pages in a real browser and on the terminal.

Nothing in them may run, request anything, break out of its place or reach the terminal unescaped.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from benchmarks.reliability.commands import run_command
from benchmarks.reliability.judged import faults_of

RUN = "window.hacked=1"
"""What a hostile text wants to run."""

TEXTS = (
    f"<script>{RUN}</script>",
    f"</script><script>{RUN}</script>",
    f"<img src=x onerror='{RUN}'>",
    f'"><svg onload={RUN}>',
    f"'><body onpageshow={RUN}>",
    f"<svg><script>{RUN}</script><animate onbegin={RUN} attributeName=x dur=1s></svg>",
    f"<a href='javascript:{RUN}' id=planted>click</a>",
    f"<iframe srcdoc='<script>parent.{RUN}</script>'></iframe>",
    f"<details open ontoggle={RUN}><summary>x</summary></details>",
    f"<input autofocus onfocus={RUN}>",
    f"<form action='javascript:{RUN}'><button>x</button></form>",
    "<style>*{display:none!important;background:url(http://127.0.0.1:9/css)}</style>",
    "<link rel=stylesheet href=http://127.0.0.1:9/a.css><meta http-equiv=refresh content='0;url=http://127.0.0.1:9/'>",
    "<base href='http://127.0.0.1:9/'><object data=http://127.0.0.1:9/x></object><embed src=http://127.0.0.1:9/y>",
    "<!-- <![CDATA[ --> ]]> <?php echo 1 ?> <%= 1 %>",
    "</div></details></main></body></html><h1>after the end</h1>",
    "</textarea></title></style></template></noscript><b>out</b>",
    "&lt;script&gt;&#x3c;img src=x onerror=window.hacked=1&#x3e;&amp;lt;b&amp;gt;",
    "![x](http://127.0.0.1:9/p.png) [link](javascript:window.hacked=1) <http://127.0.0.1:9/>",
    "| a | b |\n|---|---|\n| `x` | **y** |\n\n# heading\n\n```\ncode",
    "{{ 7*7 }} {% include '/etc/passwd' %} {{ cycler.__init__.__globals__ }} ${7*7} #{7*7}",
    "\u202eright to left\u202c \u2066isolated\u2069 \u200e\u200f\u061c",
    "\x1b[31mred\x1b[0m \x1b[2J\x1b[H \x1b]0;title\x07 \x9b31m",
    "\x1b]8;;http://127.0.0.1:9/\x1b\\a link\x1b]8;;\x1b\\ \x1bP+q\x1b\\ \x1b]52;c;eA==\x07",
    "\x00\x01\x02\x07\x08\x7f\x85\u2028\u2029\ufeff\ufffe",
    "W" * 20_000,
    "a\u0301\u0302\u0303" * 3_000,
    "\U0001f469\u200d\U0001f469\u200d\U0001f467\ufe0f" * 300,
    f"`${{{RUN}}}` \\u003cscript\\u003e{RUN} </SCRIPT ><sCrIpT>{RUN}</ScRiPt>",
    "$\\input{/etc/passwd}$ $x_{$ a$b$ \\href{javascript:1}{x} [bold]markup[/bold] [link=http://127.0.0.1:9/]x[/link]",
)
"""Each text is one case."""

COUNT = len(TEXTS)
"""Number of cases in a whole campaign. They are the same for every seed."""

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


def has_browser() -> bool:
    """Return whether Chromium and its driver are installed."""
    return bool(shutil.which("chromium") and shutil.which("chromedriver"))


# --- What all cases share


def prepare(folder: Path, _seed: int, _indices: range) -> None:
    """Write simulated battles, and say once if there is no browser."""
    ended = run_command(["simulate", "good", "--train", "40", "--test", "8"], folder)
    if ended.code:
        raise RuntimeError(ended.err)
    if not has_browser():
        print("hostile_text: no Chromium with its driver here, so pages are only parsed, not opened")


def write_case(text: str, shared: Path, folder: Path) -> None:
    """Write battles with the text in prompts, answers, names and ids, and an experiment that is described by it."""
    import csv

    (folder / "data").mkdir()
    for name in ("train.csv", "test.csv"):
        with (shared / "good" / name).open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        at = {column: place for place, column in enumerate(header)}
        for row in rows[:6]:
            row[at["prompt"]] = json.dumps([f"{text} 1", text])
            row[at["response_a"]] = json.dumps([text, ""])
            row[at["response_b"]] = json.dumps(["short", f"{text} {text}"[:30_000]])
            row[at["id"]] += text[:200]
            if "model_a" in at:
                row[at["model_a"]] = text[:500]
        with (folder / "data" / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, quoting=csv.QUOTE_ALL).writerows([header, *rows])
    (folder / "experiments").mkdir()
    about = json.dumps(text[:2_000], ensure_ascii=False).replace("\x7f", "\\u007f")
    lines = f'about = {about}\n[model]\nname = "prior"\nsmoothing = 2.0\n'
    (folder / "experiments" / "described.toml").write_text(lines, encoding="utf-8")


# --- One case


def check(shared: Path, folder: Path, seed: int, index: int) -> list[str]:
    """Return the faults that a hostile text shows; [] if it is shown as text everywhere."""
    text = TEXTS[index % len(TEXTS)]
    write_case(text, shared, folder)
    folders = ["--data", "data", "--runs", "runs"]
    unknown = ["compare", *folders, "--reference", text.replace("\0", "")[:3_000]]
    commands = [
        ["run", "prior", "described", "lengths", *folders],
        ["list"],
        ["ratings", "--data", "data"],
        ["explore", "--data", "data", "--out", "explore.html"],
        ["compare", *folders],
        unknown,
        ["report", *folders, "--out", "report.html"],
        ["predict", "prior", "data/test.csv", *folders, "--out", "out.csv"],
        ["describe", "described"],
    ]
    found = []
    for command in commands:
        ended = run_command(command, folder)
        # Nothing has the name that the text gives; everything else must succeed.
        found += [
            f"{command[0]}: {fault}" for fault in faults_of(ended, codes=(2,) if command is unknown else (0,))
        ]
    pages = [file for file in (folder / "explore.html", folder / "report.html") if file.is_file()]
    if len(pages) < 2:
        found.append("a page was not written")
    for page in pages:
        found += [f"{page.name}: {fault}" for fault in faults_of_source(page.read_text(encoding="utf-8"))]
    if has_browser():
        with open_browser() as browser:
            for page in pages:
                found += [f"{page.name}: {fault}" for fault in faults_in_browser(browser, page)]
    return found


class _Tags(HTMLParser):
    """The tags of a page with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag."""
        self.tags.append((tag, dict(attrs)))


def faults_of_source(html: str) -> list[str]:
    """Return what a page contains that no text of a battle may become."""
    found = []
    for tag, attributes in _Tags(html).tags:
        if tag in ("iframe", "object", "embed", "base", "link", "template"):
            found.append(f"the element {tag}")
        found += [
            f"the attribute {name} of {tag}" for name in attributes if name.startswith("on") or name == "srcdoc"
        ]
        addresses = [attributes[name] or "" for name in ("href", "src", "action") if name in attributes]
        found += [f"the address {each[:60]!r}" for each in addresses if not each.startswith(("#", "data:image/"))]
    if "49" in html and "{{ 7*7 }}" not in html and "7*7" in html:
        found.append("a template was evaluated")
    return sorted(set(found))


def faults_in_browser(browser: Any, page: Path) -> list[str]:
    """Return what happens when a page is opened, and everything in it unfolded, clicked and printed."""
    browser.get("about:blank")
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(page.as_uri())
    browser.execute_script(
        "document.querySelectorAll('details').forEach(d => { d.open = true });"
        "document.querySelectorAll('input').forEach(i => i.focus());"
        "document.getElementById('planted')?.click();"
        "dispatchEvent(new Event('beforeprint'))"
    )
    found = []
    if browser.execute_script("return window.hacked") is not None:
        found.append("planted code ran")
    if browser.current_url != page.as_uri():
        found.append(f"the page went to {browser.current_url}")
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    found += [f"a request to {url[:80]}" for url in sent if url != page.as_uri() and not url.startswith("data:")]
    found += [f"the browser says: {entry['message'][:160]}" for entry in browser.get_log("browser")]
    if browser.execute_script("return getComputedStyle(document.body).display") == "none":
        found.append("the page is hidden")
    if browser.execute_script("return document.querySelector('main')?.lastElementChild === null"):
        found.append("the page is empty")
    return found


@contextmanager
def open_browser() -> Iterator[Any]:
    """Open Chromium without a window, with logs of messages and requests."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options.add_argument(f"--user-data-dir={profile}")
        with webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver"))) as browser:
            yield browser


def describe(seed: int, index: int) -> str:
    """Return the beginning of a case's text."""
    return ascii(TEXTS[index % len(TEXTS)][:80])
