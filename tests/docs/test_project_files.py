"""The files about the project agree with each other and with the code."""

import re
import tomllib

import yaml

from tests.support.pages_of_docs import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_one_version_is_in_all_files():
    newest = re.search(r"^## (\S+) \((\S+)\)$", read("CHANGELOG.md"), re.MULTILINE)
    citation = yaml.safe_load(read("CITATION.cff"))
    assert newest is not None
    assert newest[1] == citation["version"] == PROJECT["version"]
    assert newest[2] == citation["date-released"].isoformat()


def test_the_citation_has_the_fields_that_its_format_requires():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["license"] == PROJECT["license"]
    assert all("name" in author or "family-names" in author for author in citation["authors"])


def test_contributing_names_every_package_and_no_file_that_is_missing():
    text = read("CONTRIBUTING.md")
    packages = [folder.parent.name for folder in (ROOT / "pairrank").glob("*/__init__.py")]
    assert [name for name in packages if f"`{name}/`" not in text] == []
    files = {name for name in re.findall(r"`((?:\w+/)+\w+\.\w+)`", text) if not re.search(r"/(mine|NAME)\.", name)}
    homes = (ROOT, ROOT / "pairrank")
    assert len(files) > 20
    assert [name for name in files if not any((home / name).exists() for home in homes)] == []


def test_readme_names_every_extra_of_the_project():
    text = read("README.md")
    assert [name for name in PROJECT["optional-dependencies"] if f"`{name}`" not in text] == []


def test_every_page_that_a_message_or_an_experiment_names_exists():
    sources = [*(ROOT / "pairrank").rglob("*.py"), *(ROOT / "experiments").glob("*.toml")]
    named = {page for file in sources for page in re.findall(r"docs/[\w/-]+\.md", file.read_text(encoding="utf-8"))}
    assert len(named) > 3
    assert [page for page in named if not (ROOT / page).is_file()] == []
