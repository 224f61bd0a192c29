"""The page about the data: damage, repeats, samples, and files without winners."""

from pathlib import Path

import pytest

from pairrank.data.writing import write_battles
from pairrank.evaluation.survey import survey_file
from pairrank.report.explore import explore_page
from pairrank.report.page import Cards, Table, Text
from tests.support.battles import tiny_battles, write_folder
from tests.support.strategies import training_rows, write_rows


def test_explore_shows_a_sample_of_all_battles(tmp_path: Path):
    write_battles(tiny_battles(400), tmp_path / "train.csv")
    page = explore_page("d", survey_file(tmp_path / "train.csv"), None, "none")
    [cards] = [block for block in page.blocks if isinstance(block, Cards)]
    ids = [int(shown.id) for shown in cards.cards]
    assert len(ids) == 24
    assert ids == sorted(ids)
    assert max(ids) > 1300
    assert sum(i < 1100 for i in ids) < 14


def test_explore_lists_damaged_and_unusual_battles_with_their_ids(tmp_path: Path):
    rows = training_rows(6)
    rows[2][-3:] = ["0", "0", "0"]
    rows[4][4] = rows[4][5]
    rows[5][3:6] = rows[1][3:6]
    rows[6][1] = rows[6][2]
    rows[3][4] = '["  "]'
    page = explore_page("d", survey_file(write_rows(tmp_path / "train.csv", rows)), None, "none")
    [complaints] = [b for b in page.blocks if isinstance(b, Text) and "complaints" in b.title]
    assert "id 2: winner columns are 0, 0, 0" in complaints.text
    [odd] = [b for b in page.blocks if isinstance(b, Table) and "unusual" in b.caption]
    found = {row[0]: row[2] for row in odd.rows}
    assert found["two equal answers"] == "4"
    assert found["an empty answer"] == "3"
    assert found["the same prompt and answers as another battle"] == "1, 5"
    assert found["the same model on both sides"] == "6"


def test_explore_counts_repeated_prompts_within_and_across_files(tmp_path: Path):
    write_folder(tmp_path, n=20, tests=0)
    write_battles(tiny_battles(4, labelled=False), tmp_path / "test.csv")  # two prompts of the training file
    page = explore_page("d", survey_file(tmp_path / "train.csv"), survey_file(tmp_path / "test.csv"), "none")
    texts = [block.text for block in page.blocks if isinstance(block, Text)]
    assert not any("test.csv: " in text and "folds keep them together" in text for text in texts)
    assert any(text.startswith("train.csv: 20 of 20 battles share their prompt") for text in texts)
    assert any(text.startswith("4 training battles have a prompt that is also in test.csv") for text in texts)


def test_explore_works_with_a_test_file_only(tmp_path: Path):
    write_battles(tiny_battles(6, labelled=False), tmp_path / "test.csv")
    html = explore_page("d", None, survey_file(tmp_path / "test.csv"), "no tokens <here>").html()
    assert "These battles have no winner." in html
    assert "no tokens &lt;here&gt;" in html
    with pytest.raises(ValueError, match="neither"):
        explore_page("d", None, None, "")


@pytest.mark.slow
def test_the_page_of_the_real_battles_is_small_and_covers_all_of_them(arena: Path):
    file = survey_file(arena / "train.csv")
    html = explore_page("arena", file, survey_file(arena / "test.csv"), "none").html()
    assert len(html.encode()) < 5e6
    assert f"{len(file.survey):,} battles of train.csv" in html
