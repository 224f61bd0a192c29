"""Results of cross-validation that the tests of the Python functions share."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import pairrank
from pairrank.api.cross_validation import CrossValidation


@pytest.fixture(scope="session")
def kept_results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, CrossValidation]]:
    """Where `cross_validated` keeps the folders of runs, and the results of each by its name."""
    return tmp_path_factory.mktemp("kept-results"), {}


@pytest.fixture
def cross_validated(here: Path, kept_results: tuple[Path, dict[str, CrossValidation]]) -> Callable[..., list]:
    """A function that cross-validates experiments on ./data: once per session, and copied to ./runs afterwards.

    The folder of a result is relative, so that a kept result belongs to the copy in the current folder.
    """

    def copy_or_run(*names: str) -> list[CrossValidation]:
        folder, results = kept_results
        for name in names:
            place = Path("runs", "data", name)
            if name not in results:
                results[name] = pairrank.cross_validate(name, "data")
                assert results[name].folder == place
                shutil.copytree(place, folder / name)
            else:
                shutil.copytree(folder / name, place)
        return [results[name] for name in names]

    return copy_or_run
