"""Pages of battles that contain attacks."""

import numpy as np
import pytest

from pairrank.data.battles import Battles
from pairrank.data.writing import write_battles
from pairrank.evaluation.survey import survey_file
from pairrank.report.explore import TokenCounts, explore_page
from pairrank.report.page import Page
from pairrank.report.results import results_page
from tests.support.pages import hostile_battles, made_up_results


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Page]:
    """Return both pages of battles that contain attacks."""
    folder = tmp_path_factory.mktemp("hostile")
    battles = hostile_battles()
    write_battles(battles, folder / "train.csv")
    unlabelled = Battles(battles.id, battles.prompt, battles.response_a, battles.response_b)
    write_battles(unlabelled, folder / "test.csv")
    train, test = survey_file(folder / "train.csv"), survey_file(folder / "test.csv")
    tokens = TokenCounts("tiny <b>", np.ones((20, 3), dtype=np.int64))
    return {"explore": explore_page("<i>data</i>", train, test, tokens), "report": results_page(made_up_results())}


@pytest.fixture(scope="session")
def hostile_html(hostile: dict[str, Page]) -> dict[str, str]:
    """Return the HTML of both pages, which takes most of their time to write."""
    return {kind: page.html() for kind, page in hostile.items()}
