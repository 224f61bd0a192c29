import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pairrank"
SEES_NO_MODEL = ("pairrank.evaluation", "pairrank.report")
HEAVY = {"torch", "transformers", "pandas", "sklearn", "lightgbm"}
TOP_LEVEL_FOLDERS = {"experiments", "benchmarks", "tests", "Dataset", "docs"}


def module_of(path: Path) -> str:
    """`pairrank.models.prior` for pairrank/models/prior.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_of(path): path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}


# The order of the packages, checked by import-linter (`[tool.importlinter]` in pyproject.toml)


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()"]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    arguments = ["--config", str(folder / "pyproject.toml"), "--no-cache"]
    return subprocess.run([*command, *arguments], cwd=folder, env=environment, capture_output=True, text=True)


def test_every_import_contract_is_kept():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout
    assert "5 kept, 0 broken" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("data/battles", "from pairrank.evaluation import scoring", "imports only from the packages below"),
        ("data/folds", "def f():\n    from pairrank.runs.run import Run", "imports only from the packages below"),
        ("models/prior", "from pairrank.models.baseline import Baseline", "A model imports no other model"),
        ("evaluation/leaderboard", "def f():\n    import torch.nn", "load no model library"),
        ("runs/run", "import ray", "Only the command line knows Ray"),
        ("runs/training_rows", "from pairrank.runs import run", "import in circles"),
        ("evaluation/scoring", "import optuna", "load no model library"),
        ("newcomer", "", "imports only from the packages below"),
    ],
)
def test_a_forbidden_import_breaks_a_contract(tmp_path: Path, module: str, line: str, contract: str):
    shutil.copytree(PACKAGE, tmp_path / "pairrank", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "pairrank" / f"{module}.py").open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    done = lint(tmp_path)
    assert done.returncode == 1, done.stdout
    broken = [text for text in done.stdout.splitlines() if "BROKEN" in text]
    assert any(contract in text for text in broken) or (module == "newcomer" and "newcomer" in done.stdout)


# What import-linter does not follow: names that are built, the package itself, and folders beside it


def hidden_faults(module: str, source: str) -> list[str]:
    """Imports of this module that the contracts cannot judge and that are forbidden, one line each."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [
                f"{node.module}.{alias.name}" if node.module == "pairrank" else str(node.module)
                for alias in node.names
            ]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            names = [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)]
            found += [
                f"{module} imports {name} by a fixed name" for name in names if module != "pairrank.models.base"
            ]
        else:
            continue
        if isinstance(node, ast.ImportFrom) and node.level:
            found.append(f"{module} has a relative import")
            continue
        for name in names:
            if name.split(".")[0] in TOP_LEVEL_FOLDERS:
                found.append(f"{module} imports the top-level folder {name}")
            of_package = name == "pairrank" or (name.startswith("pairrank.") and name.count(".") == 1)
            if of_package and name not in SOURCES.keys() - {"pairrank"}:
                found.append(f"{module} imports {name} from the package itself, which is for users")
    return found


def test_no_module_hides_an_import_from_the_contracts():
    assert [fault for module, source in SOURCES.items() for fault in hidden_faults(module, source)] == []


@pytest.mark.parametrize(
    "line",
    [
        "from pairrank import Battles",
        "import pairrank",
        "from . import folds",
        "from .folds import fold_of",
        "importlib.import_module('pairrank.runs.run')",
        "import experiments.app",
        "from tests import conftest",
    ],
)
def test_a_hidden_import_is_found(line: str):
    [fault] = hidden_faults("pairrank.data.battles", line)
    assert fault.startswith("pairrank.data.battles ")


# What is loaded when


def heavy_after(code: str) -> set[str]:
    """Which heavy libraries a fresh process has loaded after running `code`."""
    script = f"import sys\n{code}\nprint('LOADED', *({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_the_check_for_heavy_libraries_sees_one():
    assert "pandas" in heavy_after("import pandas")


def test_importing_pairrank_and_reading_battles_loads_nothing_heavy(tmp_path: Path):
    (tmp_path / "test.csv").write_text('id,prompt,response_a,response_b\n1,["p"],["a"],["b"]\n')
    assert (
        heavy_after(f"import pairrank\nassert len(pairrank.read_battles({str(tmp_path / 'test.csv')!r})) == 1")
        == set()
    )


@pytest.mark.slow
def test_tables_and_pages_are_made_without_torch():
    modules = [module for module in SOURCES if module.startswith(SEES_NO_MODEL)]
    assert len(modules) > 10
    assert not heavy_after(f"import {', '.join(modules)}") & {"torch", "transformers", "lightgbm"}
