"""The provenance of a result: versions, commit, memory, and a hash of code that follows behaviour alone."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from pairrank.runs import provenance
from pairrank.runs.provenance import code_hash, commit, commit_of, peak_memory_mb, restart_peak_memory, versions
from tests.support.command_line import run_python

CODE = '''"""A module."""
from pairrank.models.helper import double

def f(x):
    """Twice."""
    # A comment.
    return double(x)
'''


def test_versions_returns_those_installed(monkeypatch):
    found = versions()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["numpy"] == np.__version__
    assert found["scikit-learn"] == metadata.version("scikit-learn")
    monkeypatch.setattr(provenance, "PACKAGES", ("no-such-package",))
    assert versions()["no-such-package"] == "missing"


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (("# A comment.", "# Another."), True),
        (('"""Twice."""', '"""Two times."""'), True),
        (('"""A module."""', '"""One."""'), True),
        (("double(x)", "double( x )"), True),
        (("double(x)", "double(x) + 1"), False),
        (("def f(x)", "def f(x, y=1)"), False),
        (("return double(x)", 'return "Twice."'), False),
    ],
)
def test_code_hash_follows_behaviour_only(add_model, change, same):
    add_model("helper", "def double(x): return 2 * x")
    add_model("probe", CODE)
    before = code_hash("pairrank.models.probe")
    add_model("probe", CODE.replace(*change))
    assert (code_hash("pairrank.models.probe") == before) is same


def test_code_hash_follows_imports(add_model):
    add_model("helper", "def double(x): return 2 * x")
    add_model("probe", CODE)
    before = code_hash("pairrank.models.probe")
    add_model("helper", "def double(x): return x + x")
    assert code_hash("pairrank.models.probe") != before
    add_model("probe", CODE.replace("from pairrank.models.helper import double", "import pairrank.models.helper"))
    imported = code_hash("pairrank.models.probe")
    add_model("helper", "def double(x): return 2 * x")
    assert code_hash("pairrank.models.probe") != imported


def git(folder, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
    done = subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_commit_is_that_of_pairranks_own_checkout(tmp_path):
    package = tmp_path / "pairrank"
    (package / "runs").mkdir(parents=True)
    file, other = package / "runs" / "provenance.py", package / "errors.py"
    other.write_text("x = 1\n")
    file.write_text("x = 1\n")
    assert commit_of(file) == ""
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "another project")
    # An installed copy inside another project's checkout, which does not track it.
    assert commit_of(file) == ""
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "pairrank")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert commit_of(file) == head[:12]
    (tmp_path / "elsewhere").write_text("outside the package")
    assert commit_of(file) == head[:12]
    other.write_text("x = 2\n")
    assert commit_of(file) == head[:12] + "+changes"


def test_commit_is_asked_for_once_in_a_process(monkeypatch):
    assert commit() == commit_of(Path(provenance.__file__))
    monkeypatch.setattr(provenance, "_git", None)
    assert commit() == commit()


def test_peak_memory_counts_what_was_held_until_it_is_reset():
    restart_peak_memory()
    before = peak_memory_mb()
    block = np.ones(100 * 2**17)  # 100 MiB
    held = peak_memory_mb()
    del block
    assert held >= before
    if Path("/proc/self/clear_refs").exists():
        assert held - before > 80
        restart_peak_memory()
        assert held - peak_memory_mb() > 80


def test_the_hash_of_code_imports_none_of_it():
    # structure names a module that loads torch, which it imports only for a language model
    code = "from pairrank.runs.provenance import code_hash; code_hash('pairrank.models.structure')"
    ended = run_python("-c", f"import sys; {code}; print('torch' in sys.modules)")
    assert (ended.stdout, ended.stderr) == ("False\n", "")
