"""The three sentences of a report are those that its leaderboard says."""

from dataclasses import replace

from pairrank.evaluation.leaderboard import Leaderboard
from pairrank.report.answer import answer_section, cost_sentence, leader_sentence, tied_sentence
from pairrank.report.page import Text
from tests.support.pages import made_up_results


def board_of(*changes: dict[str, object]) -> Leaderboard:
    """Return the made-up leaderboard, whose rows have these changes from the first one on."""
    board = made_up_results().leaderboard
    rows = [replace(row, **change) for row, change in zip(board.rows, changes, strict=False)]
    return replace(board, rows=(*rows, *board.rows[len(rows) :]))


def test_the_first_sentence_names_the_leader_with_its_rank_and_skill():
    board = board_of({"label": "best", "rank": 1, "rank_interval": (1, 3), "skill": 0.753, "submittable": True})
    first = board.rows[0]
    text = leader_sentence(board)
    assert text.startswith(f"best leads with a log loss of {first.log_loss:.4f} ± {first.standard_error:.4f}; ")
    assert "its rank is 1–3 of 4 (95 %), its skill 75 % of the way from the prior to the best row" in text
    difference = first.differences["prior"]
    assert f"differs from prior by {difference.mean:+.4f} [{difference.low:+.4f}, " in text
    assert "diagnostic" not in text


def test_a_diagnostic_does_not_lead_where_another_row_can_predict_test_battles():
    names = {"label": "cheat", "submittable": False, "rank": 1, "log_loss": 0.9}
    board = board_of(names, {"label": "b", "rank": 1}, {"label": "c", "rank": 1}, {"label": "d", "rank": 4})
    text = leader_sentence(board)
    assert text.startswith("b leads with")
    assert text.endswith("cheat (0.9000) scores lower but is a diagnostic: it uses columns that test battles lack.")
    assert tied_sentence(board).endswith(": c.")
    assert "cheat" not in cost_sentence(board)
    # A diagnostic that is significantly better leaves nothing to say about rows of rank 1.
    assert tied_sentence(board_of(names, {"rank": 2}, {"rank": 2}, {"rank": 4})) == ""
    only = leader_sentence(board_of(*[{"label": str(i), "submittable": False} for i in range(9)]))
    assert only.startswith("0 leads")
    assert only.endswith("It is a diagnostic: it uses columns that test battles lack.")


def test_the_second_sentence_names_the_rows_of_rank_one():
    ranks = [{"label": name, "rank": rank} for name, rank in (("a", 1), ("b", 1), ("c", 2), ("d", 2))]
    assert tied_sentence(board_of(*ranks)).startswith("1 other row is tied with it")
    assert tied_sentence(board_of(*ranks)).endswith(": b.")
    ranks[1]["rank"] = 2
    assert tied_sentence(board_of(*ranks)).startswith("No other row that can predict test battles is tied with it")
    assert tied_sentence(board_of(*[{"rank": None}] * 9)) == ""


def test_the_third_sentence_compares_the_leader_with_the_cheapest_tied_row():
    rows = [
        {"label": "a", "rank": 1, "training_seconds": 900.0, "peak_memory_mb": 1200.0},
        {"label": "b", "rank": 1, "training_seconds": 30.0, "peak_memory_mb": None},
        {"label": "c", "rank": 1, "training_seconds": 20.0, "log_loss": 1.05, "peak_memory_mb": 7.0},
        {"label": "d", "rank": 2, "training_seconds": 1.0},
    ]
    assert cost_sentence(board_of(*rows)) == (
        "a needs 900 s of training and 1,200 MB of memory; the cheapest tied row, c (1.0500), needs 20 s of "
        "training and 7 MB of memory."
    )
    rows[0]["training_seconds"] = 2.0
    assert "no tied row is known to need less time" in cost_sentence(board_of(*rows))
    rows[0]["training_seconds"] = None
    assert cost_sentence(board_of(*rows)) == "What a costs is not known."


def test_the_section_has_the_sentences_the_facts_and_the_best_rows():
    section = answer_section(made_up_results(facts={"Commit": "abc", "Made": "2026-01-02", "None": ""}))
    *texts, chart = section.blocks
    assert section.is_lead
    assert chart.name == "best-plot"
    assert all(isinstance(text, Text) for text in texts)
    assert texts[-1].text == (
        "Data: hostile, 240 battles, "
        f"{made_up_results().leaderboard.prompts} distinct prompts. Commit: abc. Made: 2026-01-02."
    )
