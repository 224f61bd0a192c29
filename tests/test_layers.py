import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pairrank"

FLOORS = [
    {"errors", "terminal", "memory", "processes", "repeats", "attention", "processor"},
    {"files", "turns", "overrides", "fast_encoder"},
    {"battles", "composing", "tracking"},
    {"battle_files", "predictions", "watch", "languages"},
    {"folds", "scoring", "text", "features", "ratings", "simulate", "data_folder", "provenance", "history"},
    {
        "devices",
        "entries",
        "extra",
        "experiment_files",
        "side_texts",
        "linear",
        "tfidf",
        "kernels",
        "vector_cache",
        "fetching",
    },
    {"survey", "recipe", "inference", "heads", "trees", "guessing"},
    {"slices", "static_encoder", "identity_columns", "trainer"},
    {"encoders"},
    {"training", "text_encoder"},
    {"embedding"},
    {"models"},
    {"models.base"},
    {"models.*"},
    {"config"},
    {"run_folder", "summary"},
    {"runs"},
    {"fold_models", "fold_identity"},
    {"fold_work"},
    {"crossval"},
    {"tuning", "leaderboard"},
    {"leaderboard_text"},
    {"report"},
    {""},
    {"experiments"},
]
"""A module imports from floors below its own only, and a package from itself; "" is `import pairrank`."""

SEES_NO_MODEL = {"leaderboard", "leaderboard_text", "entries", "report"}
HEAVY = {"torch", "transformers", "pandas", "sklearn", "lightgbm"}
NOT_IMPORTED = {"experiments", "benchmarks", "tests", "Dataset", "conftest", "strategies"}


def module_of(path: Path) -> str:
    """`models.prior` for pairrank/models/prior.py, `models` for pairrank/models/__init__.py, "" for the root."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_of(path): path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}


def room_of(module: str) -> str:
    """The entry of FLOORS that a module belongs to: a package is one room, but every model has its own."""
    if module.startswith("models."):
        return module if module == "models.base" else "models.*"
    return module.split(".")[0]


def floor_of(module: str) -> int:
    return next(i for i, floor in enumerate(FLOORS) if room_of(module) in floor)


def imports(module: str, source: str, known: set[str]) -> Iterator[str]:
    """Full names of all that a module imports: at its top, in functions, for type checking, or by a fixed name."""
    package = module if any(name.startswith(f"{module}.") for name in known) else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = ["pairrank", *filter(None, package.split("."))]
            base = (
                [*above[: len(above) - node.level + 1], *filter(None, [node.module])]
                if node.level
                else [node.module]
            )
            name = ".".join(filter(None, base))
            for alias in node.names:
                inner = f"{name}.{alias.name}"
                yield inner if inner.removeprefix("pairrank.") in known else name
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from (arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant))


def faults(sources: dict[str, str]) -> list[str]:
    """Every import that climbs, every model that knows another, and all else the house forbids, one line each."""
    known = set(sources)
    found = [f"{module} has no floor" for module in known if not any(room_of(module) in f for f in FLOORS)]
    for module, source in sources.items():
        for target in imports(module, source, known):
            top, _, inner = target.partition(".")
            if top in NOT_IMPORTED:
                found.append(f"{module} imports the top-level folder {target}")
            if room_of(module) in SEES_NO_MODEL and (
                top in {"torch", "transformers"} or target.startswith("pairrank.models")
            ):
                found.append(f"{module} imports {target}, and must see no model")
            if top != "pairrank" or f"{module} has no floor" in found:
                continue
            if inner not in known:
                found.append(f"{module} imports {target}, which is no module")
            elif f"{inner} has no floor" in found:
                continue
            elif room_of(inner) == "models.*" and inner != module:
                found.append(f"{module} imports the model {inner}")
            elif room_of(inner) != room_of(module) and floor_of(inner) >= floor_of(module):
                found.append(f"{module} (floor {floor_of(module)}) imports {inner} (floor {floor_of(inner)})")
    return found


def test_every_module_has_a_floor_and_imports_from_below_only():
    assert faults(SOURCES) == []


def test_no_room_is_on_two_floors():
    assert sum(map(len, FLOORS)) == len(set.union(*FLOORS))


@pytest.mark.parametrize(
    ("module", "line", "fault"),
    [
        (
            "battles",
            "from pairrank.data.predictions import Proba",
            "battles (floor 2) imports predictions (floor 3)",
        ),
        ("battles", "import pairrank.evaluation.scoring", "battles (floor 2) imports scoring"),
        ("battles", "from pairrank import folds", "battles (floor 2) imports folds"),
        ("battles", "from . import folds", "battles (floor 2) imports folds"),
        ("battles", "from .folds import fold_of", "battles (floor 2) imports folds"),
        ("battles", "from pairrank import Battles", "battles (floor 2) imports  (floor"),
        (
            "folds",
            "def f():\n    from pairrank.evaluation.scoring import log_loss",
            "folds (floor 4) imports scoring (floor 4)",
        ),
        (
            "folds",
            "if TYPE_CHECKING:\n    from pairrank.runs.experiment import Experiment",
            "folds (floor 4) imports config",
        ),
        ("folds", "importlib.import_module('pairrank.runs.cross_validation')", "folds (floor 4) imports crossval"),
        (
            "models.prior",
            "from pairrank.models.baseline import Baseline",
            "models.prior imports the model models.baseline",
        ),
        ("models.prior", "from .baseline import Baseline", "models.prior imports the model models.baseline"),
        ("models.base", "from pairrank.models import prior", "models.base imports the model models.prior"),
        ("crossval", "from pairrank.models.prior import Prior", "crossval imports the model models.prior"),
        (
            "leaderboard",
            "from pairrank.models.base import build",
            "leaderboard imports pairrank.models.base, and must",
        ),
        ("leaderboard", "def f():\n    import torch.nn", "leaderboard imports torch.nn, and must see no model"),
        ("crossval", "from pairrank.cli.app import main", "crossval (floor"),
        ("errors", "import experiments.cli", "errors imports the top-level folder experiments.cli"),
        ("errors", "from tests import conftest", "errors imports the top-level folder tests"),
        ("errors", "from pairrank.gone import x", "errors imports pairrank.gone, which is no module"),
        ("newcomer", "", "newcomer has no floor"),
    ],
)
def test_a_forbidden_import_is_found_wherever_it_hides(module: str, line: str, fault: str):
    house = dict.fromkeys((*SOURCES, "crossval", "leaderboard", "config", "models.baseline", "experiments.cli"), "")
    [found] = faults(house | {module: line})
    assert found.startswith(fault)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("folds", "from pairrank.data.battles import Battles\nfrom .turns import repair_text"),
        ("features.sides", "from pairrank.features.parsed_text import Reading"),
        ("models.prior", "from pairrank.models.base import register"),
        ("config", "from pairrank.models import base"),
    ],
)
def test_an_import_from_below_or_within_a_package_is_no_fault(module: str, line: str):
    assert (
        faults(dict.fromkeys((*SOURCES, "features.sides", "features.reading", "config"), "") | {module: line}) == []
    )


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


def test_help_loads_nothing_heavy():
    code = """
import runpy
sys.argv = ["pairrank", "--help"]
try:
    runpy.run_module("pairrank.experiments", run_name="__main__")
except SystemExit as end:
    assert not end.code
"""
    assert heavy_after(code) == set()


def test_tables_and_pages_are_made_without_torch():
    modules = [f"pairrank.{module}" for module in SOURCES if room_of(module) in SEES_NO_MODEL]
    assert len(modules) > len(SEES_NO_MODEL)
    assert not heavy_after(f"import {', '.join(modules)}") & {"torch", "transformers", "lightgbm"}
