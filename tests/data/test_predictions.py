import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pairrank.data.battles import Battles, object_array
from pairrank.data.predictions import COLUMNS, Predictions, geometric_mean, predictions_hash, read_predictions
from pairrank.data.probabilities import normalise
from pairrank.errors import UserError
from tests.support.strategies import NAME

SHARED_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@st.composite
def valid_predictions(draw: st.DrawFn) -> Predictions:
    ids = draw(st.lists(NAME.filter(bool), min_size=1, max_size=5, unique=True))
    weights = [[draw(st.floats(1e-6, 1)) for _ in range(3)] for _ in ids]
    return Predictions(object_array(ids), np.array([[w / sum(row) for w in row] for row in weights]))


def of(ids: list[str], rows: list[list[float]]) -> Predictions:
    return Predictions(object_array(ids), np.array(rows, dtype=np.float64))


def test_columns_are_those_of_the_competition():
    assert COLUMNS == ("id", "winner_model_a", "winner_model_b", "winner_tie")


# Align never drops rows silently


def test_align_returns_the_rows_in_the_order_of_the_ids(predictions: Predictions):
    aligned = predictions.align(["x-1", "7"])
    assert aligned.id.tolist() == ["x-1", "7"]
    assert aligned.proba.tolist() == [[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]]


@given(valid_predictions(), st.randoms())
def test_align_keeps_the_row_of_every_id_in_any_order(predictions: Predictions, random):
    before = dict(zip(predictions.id, predictions.proba.tolist(), strict=True))
    ids = predictions.id.tolist()
    random.shuffle(ids)
    aligned = predictions.align(ids)
    assert aligned.id.tolist() == ids
    assert [before[name] for name in ids] == aligned.proba.tolist()


def test_align_names_the_place_and_the_missing_ids(predictions: Predictions):
    with pytest.raises(UserError) as caught:
        predictions.align(["7", "8", "3", "9"], "oof.csv")
    assert str(caught.value).startswith("oof.csv: 2 complaints\n  - id 8: no prediction\n  - id 9: no prediction\n")


def test_align_of_no_ids_has_no_rows(predictions: Predictions):
    assert predictions.align([]).proba.shape == (0, 3)


# Swap


def test_swap_exchanges_a_and_b_and_keeps_ids_and_ties(predictions: Predictions, battles: Battles):
    swapped = predictions.swap()
    assert swapped.id.tolist() == battles.swap().id.tolist()
    assert swapped.proba[1].tolist() == [0.1, 0.8, 0.1]
    assert np.array_equal(swapped.proba[:, 2], predictions.proba[:, 2])
    assert np.array_equal(swapped.swap().proba, predictions.proba)


# Validate


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ([np.nan, 0.5, 0.5], "id 2: a probability is missing"),
        ([np.inf, -np.inf, 1], "id 2: a probability is missing, infinite"),
        ([-0.1, 0.6, 0.5], r"id 2: probabilities \[-0.1, 0.6, 0.5\], expected all from 0 to 1"),
        ([1.1, 0.0, 0.0], "id 2: .*expected all from 0 to 1"),
        ([0.5, 0.3, 0.1], r"id 2: probabilities sum to 0\.9, expected 1"),
        ([0.0, 0.0, 0.0], "id 2: probabilities sum to 0, expected 1"),
        ([2.0, -1.0, 0.5], "expected all from 0 to 1"),
        ([1 / 3, 1 / 3, 1 / 3 + 0.002], "id 2: probabilities sum to 1.002"),
    ],
)
def test_validate_names_the_id_of_invalid_probabilities(row: list[float], what: str):
    with pytest.raises(UserError, match=what):
        of(["1", "2"], [[0.2, 0.3, 0.5], row]).validate()


@pytest.mark.parametrize("row", [[1, 0, 0], [0.3333, 0.3333, 0.3333], list(np.full(3, 1 / 3, dtype=np.float32))])
def test_validate_accepts_certainty_and_rounding(row: list[float]):
    of(["1"], [row]).validate()


def test_validate_reports_all_complaints_in_one_error():
    rows = [
        [np.nan, 0.5, 0.5],
        [0.5, 0.6, -0.1],
        [0.9, 0.9, 0.9],
        [0.2, 0.3, 0.5],
        [0.2, 0.3, 0.5],
        [0.2, 0.3, 0.5],
    ]
    with pytest.raises(UserError) as caught:
        of(["1", "2", "3", "4", "4", ""], rows).validate("a.csv")
    text = str(caught.value)
    assert text.startswith("a.csv: 5 complaints")
    for part in ("id 1: ", "id 2: ", "id 3: ", "id 4: found in 2 rows", "row 6: no id", "one row per battle"):
        assert part in text


@pytest.mark.parametrize("shape", [(2, 2), (2, 4), (3, 3), (1, 3), (6,), (2, 3, 1)])
def test_validate_reports_a_wrong_shape_together_with_wrong_ids(shape: tuple[int, ...]):
    with pytest.raises(UserError, match=r"(?s)id 1: found in 2 rows.*probabilities for 2 ids, expected \(2, 3\)"):
        Predictions(object_array(["1", "1"]), np.full(shape, 1 / 3)).validate()


# Files


@SHARED_FOLDER
@given(predictions=valid_predictions())
def test_read_predictions_inverts_write(tmp_path: Path, predictions: Predictions):
    predictions.write(tmp_path / "oof.csv")
    back = read_predictions(tmp_path / "oof.csv")
    assert back.id.tolist() == predictions.id.tolist()
    assert np.abs(back.proba - predictions.proba).max() <= 1e-9


def test_read_predictions_restores_float32_exactly(tmp_path: Path):
    proba = normalise(np.random.default_rng(0).random((200, 3))).astype(np.float32)
    Predictions(object_array([str(i) for i in range(200)]), proba.astype(np.float64)).write(tmp_path / "a.csv")
    assert np.array_equal(read_predictions(tmp_path / "a.csv").proba.astype(np.float32), proba)


def test_a_prediction_file_is_a_submission(tmp_path: Path):
    of(["136060", "a,b"], [[0.25, 0.5, 0.25], [1, 0, 0]]).write(tmp_path / "submission.csv")
    assert (tmp_path / "submission.csv").read_bytes() == (
        b'id,winner_model_a,winner_model_b,winner_tie\n136060,0.25,0.5,0.25\n"a,b",1,0,0\n'
    )


def test_write_refuses_invalid_predictions(tmp_path: Path):
    of(["1"], [[0.2, 0.3, 0.5]]).write(tmp_path / "a.csv")
    with pytest.raises(UserError, match=r"a\.csv: 1 complaint"):
        of(["1"], [[0.2, np.nan, 0.5]]).write(tmp_path / "a.csv")
    assert "0.3" in (tmp_path / "a.csv").read_text()
    assert len(list(tmp_path.iterdir())) == 1


def test_read_predictions_finds_columns_by_name(tmp_path: Path):
    text = "winner_tie,extra,winner_model_b,id,winner_model_a\n0.2,x,0.3,007,0.5\n0.7,,0.1, b ,2e-1\n"
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("a.csv", "a.csv.gz"):
        predictions = read_predictions(tmp_path / name)
        assert predictions.id.tolist() == ["007", "b"]
        assert predictions.proba.tolist() == [[0.5, 0.3, 0.2], [0.2, 0.1, 0.7]]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "the file is empty"),
        ("id,winner_model_a,winner_tie\n1,1,0\n", "missing column 'winner_model_b'"),
        ("id,winner_model_a,winner_model_b,winner_tie\n1,,0.5,0.5\n", "id 1: a probability is missing"),
        ("id,winner_model_a,winner_model_b,winner_tie\n1,0.5,0.5\n", "row 1: 3 cells, expected 4"),
        ("id,winner_model_a,winner_model_b,winner_tie\n1,one,0,0\n", "id 1: .* not a number"),
        ("id,winner_model_a,winner_model_b,winner_tie\n1,1,0,0\n1 ,1,0,0\n", "id 1: found in 2 rows"),
        ("id,winner_model_a,winner_model_b,winner_tie\n1,3.2,-1,0.4\n", "all from 0 to 1"),
        ("id,winner_model_a,winner_model_b,winner_tie\n,1,0,0\n", "row 1: no id"),
        ('id,winner_model_a,winner_model_b,winner_tie\n"1,1,0,0\n', "never closed"),
    ],
)
def test_read_predictions_names_a_file_without_valid_predictions(tmp_path: Path, text: str, what: str):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=what) as caught:
        read_predictions(tmp_path / "a.csv")
    assert str(tmp_path / "a.csv") in str(caught.value)


def test_read_predictions_reports_a_missing_file(tmp_path: Path):
    with pytest.raises(UserError, match="no such file"):
        read_predictions(tmp_path / "a.csv")


# Geometric mean


def test_geometric_mean_of_a_worked_example():
    """sqrt(.4 * .1) = .2, sqrt(.4 * .4) = .4, sqrt(.2 * .5) = .316228; divided by their sum .916228."""
    mean = geometric_mean([of(["1"], [[0.4, 0.4, 0.2]]), of(["1"], [[0.1, 0.4, 0.5]])])
    assert mean.proba[0] == pytest.approx([0.2 / 0.916228, 0.4 / 0.916228, 0.316228 / 0.916228], abs=1e-6)


def test_geometric_mean_averages_by_id_and_not_by_row():
    left = of(["1", "2"], [[0.6, 0.2, 0.2], [0.1, 0.1, 0.8]])
    right = of(["2", "1"], [[0.1, 0.1, 0.8], [0.6, 0.2, 0.2]])
    assert geometric_mean([left, right]).proba == pytest.approx(left.proba, abs=1e-12)


def test_geometric_mean_reports_a_battle_that_any_predictions_lack():
    one, two = of(["1"], [[0.2, 0.3, 0.5]]), of(["1", "2"], [[0.2, 0.3, 0.5]] * 2)
    for members in ([one, two], [two, one]):
        with pytest.raises(UserError, match="id 2: no prediction"):
            geometric_mean(members)


@given(valid_predictions(), st.integers(0, 2**32 - 1))
def test_geometric_mean_commutes_with_a_swap(first: Predictions, seed: int):
    second = Predictions(first.id, normalise(np.random.default_rng(seed).random((len(first), 3)) + 1e-9))
    mean = geometric_mean([first.swap(), second.swap()])
    assert mean.proba == pytest.approx(geometric_mean([first, second]).swap().proba, abs=1e-12)
    mean.validate()


def test_geometric_mean_of_one_is_itself_even_if_it_is_certain():
    sure = of(["1", "2"], [[1, 0, 0], [0.2, 0.3, 0.5]])
    assert geometric_mean([sure]).proba == pytest.approx(sure.proba, abs=1e-12)


def test_predictions_hash_is_the_same_after_writing_and_reading(tmp_path):
    rng = np.random.default_rng(0)
    predictions = Predictions(object_array(["a", "b,", "c"]), rng.dirichlet([1, 1, 1], 3))
    predictions.write(tmp_path / "p.csv")
    assert predictions_hash(read_predictions(tmp_path / "p.csv")) == predictions_hash(predictions)
    windows = (tmp_path / "p.csv").read_bytes().replace(b"\n", b"\r\n")
    (tmp_path / "p.csv").write_bytes(windows)
    assert predictions_hash(read_predictions(tmp_path / "p.csv")) == predictions_hash(predictions)
    other = Predictions(predictions.id, predictions.proba[:, [1, 0, 2]])
    assert predictions_hash(other) != predictions_hash(predictions)


HEADER = ",".join(COLUMNS)


@pytest.mark.parametrize("decimals", [2, 3, 4, 9])
def test_rounded_probabilities_are_read_and_normalised(tmp_path: Path, decimals: int):
    rows = [[1 / 3, 1 / 3, 1 / 3], [2 / 3, 1 / 6, 1 / 6], [0.005, 0.005, 0.99], [0.125, 0.375, 0.5]]
    lines = [f"{i}," + ",".join(f"{value:.{decimals}f}" for value in row) for i, row in enumerate(rows)]
    (tmp_path / "a.csv").write_text("\n".join([HEADER, *lines]))
    read = read_predictions(tmp_path / "a.csv").proba
    np.testing.assert_allclose(read.sum(axis=1), 1, atol=1e-8)
    np.testing.assert_allclose(read, rows, atol=2 * 10.0**-decimals)


@pytest.mark.parametrize("row", ["1,0.3,0.3,0.3", "1,0.33,0.33,0.32", "1,2,-0.5,-0.5"])
def test_probabilities_that_no_rounding_explains_are_refused(tmp_path: Path, row: str):
    (tmp_path / "a.csv").write_text(f"{HEADER}\n{row}")
    with pytest.raises(UserError, match="id 1: probabilities"):
        read_predictions(tmp_path / "a.csv")


def test_a_repeated_column_is_refused(tmp_path: Path):
    (tmp_path / "a.csv").write_text(f"{HEADER},winner_tie\n1,0.5,0.3,0.2,0.1")
    with pytest.raises(UserError, match="column 'winner_tie' occurs more than once"):
        read_predictions(tmp_path / "a.csv")


def test_a_row_with_more_cells_than_the_header_is_refused(tmp_path: Path):
    (tmp_path / "a.csv").write_text(f"{HEADER}\n1,0,5,0,3,0,2")  # decimal commas
    with pytest.raises(UserError, match="row 1: 7 cells, expected 4"):
        read_predictions(tmp_path / "a.csv")


def test_ids_are_read_as_in_battle_files(tmp_path: Path):
    (tmp_path / "a.csv").write_text(f"{HEADER}\n30192.0,0.5,0.3,0.2")
    assert read_predictions(tmp_path / "a.csv").id.tolist() == ["30192"]
