"""The files of Kaggle's "LLM Classification Finetuning": the schema in which pairrank itself writes battles.

Source: the competition's data page. Cells are JSON lists of turns. Files whose cells are plain texts are read, too.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pairrank.data import cells as spelling
from pairrank.data.battles import MODELS, TEXTS, WINNERS, Battles, object_array
from pairrank.data.formats.base import Parsed, Schema, left_out, register
from pairrank.data.formats.vote import UNCLEAR
from pairrank.data.probabilities import Labels
from pairrank.data.tables import Table
from pairrank.data.turns import DECODER, SURROGATE, join_turns, parse_turns, repair_text
from pairrank.errors import UserError, excerpt, shorten


@register
class Kaggle(Schema):
    """One row per battle, with three columns of 0 and 1 for the winner."""

    about = "Kaggle's LLM Classification Finetuning, and files that pairrank writes"
    required = ("id", *TEXTS)
    optional = (*MODELS, *WINNERS)
    verdict = WINNERS

    is_plain: bool = False
    """Whether the cells are plain texts."""

    def begin(self, table: Table) -> None:
        """Note whether the first cells are plain texts."""
        self.is_plain = _are_plain(table.cells)

    def parse(self, table: Table) -> Parsed:
        """Return the battles in a table, damaged cells repaired."""
        _refuse_nested(table.cells)
        _refuse_messages(table.cells)
        cells, numbers, repeats = _without_headers(table.cells, table.first_row)
        ids, complaints = _ids(cells["id"], numbers)
        for column, values in cells.items():
            garbled = (i for i, cell in zip(ids, values, strict=True) if isinstance(cell, str) and _garbled(cell))
            complaints += [
                f"id {shorten(i, 100)}: {column} contains bytes that are not UTF-8, expected UTF-8 text"
                for i in garbled
            ]
        columns, found = _texts(cells, ids, self.is_plain)
        complaints += found
        if set(MODELS) <= set(cells):
            columns |= {name: object_array([*map(spelling.name_of, cells[name])]) for name in MODELS}
        winner = None
        if set(WINNERS) <= set(cells):
            winner, found = _winners([cells[name] for name in WINNERS], ids)
            complaints += found
        battles = Battles(id=object_array(ids), **columns)
        names = _missing_names(cells)
        return Parsed(battles, winner, numbers, repeats + complaints, missing_names=names, headers=len(repeats))

    def columns(self, battles: Battles) -> dict[str, Sequence[Any]]:
        """Return the competition's columns."""
        columns: dict[str, Any] = {"id": battles.id}
        if battles.model_a is not None and battles.model_b is not None:
            columns |= {"model_a": battles.model_a, "model_b": battles.model_b}
        columns |= {name: [join_turns(turns) for turns in getattr(battles, name)] for name in TEXTS}
        if battles.winner is not None:
            columns |= {name: (battles.winner == i).astype(int) for i, name in enumerate(WINNERS)}
        return columns

    def lost(self, battles: Battles) -> list[str]:
        """Return the columns besides texts, names and winners."""
        return left_out(battles, MODELS)


def _are_plain(cells: Mapping[str, Sequence[Any]]) -> bool:
    """Return whether there are texts, and none of them is a JSON list."""
    texts = [cell for name in TEXTS for cell in cells[name] if isinstance(cell, str) and cell.strip()]
    is_complete = all(not isinstance(cell, list | tuple) for name in TEXTS for cell in cells[name])
    return bool(texts) and is_complete and not any(text.lstrip().startswith("[") for text in texts)


def _refuse_nested(cells: Mapping[str, Sequence[Any]]) -> None:
    """Raise UserError if an id, a model name or a winner is a list or a table."""
    for column in ("id", *MODELS, *WINNERS):
        found = next((cell for cell in cells.get(column, ()) if isinstance(cell, list | tuple | Mapping)), None)
        if found is not None:
            raise UserError(f"{column} is {excerpt(found, 60)}, expected a text or a number.")


def _refuse_messages(cells: Mapping[str, Sequence[Any]]) -> None:
    """Raise UserError if cells hold chat messages: the rows are not damaged, the file has another format."""
    for column in TEXTS:
        for cell in cells[column]:
            if not (isinstance(cell, list | tuple) or (isinstance(cell, str) and '"role"' in cell)):
                continue
            messages = [turn for turn in _decoded_list(cell) if isinstance(turn, Mapping)]
            if any({"role", "content"} <= turn.keys() for turn in messages):
                raise UserError(
                    f"the cells of {column!r} are lists of chat messages (role, content), expected lists of texts. "
                    "Write the contents alone: the user's in prompt, an assistant's in each answer."
                )


def _decoded_list(cell: Any) -> Sequence[Any]:
    """Return the items of a list that a cell holds, as it is or as JSON."""
    if isinstance(cell, str):
        try:
            cell = DECODER.decode(cell)
        except (ValueError, RecursionError):
            return ()
    return cell if isinstance(cell, list | tuple) else ()


def _without_headers(
    cells: Mapping[str, Sequence[Any]], first_row: int
) -> tuple[Mapping[str, Sequence[Any]], list[int], list[str]]:
    """Return the rows that do not repeat the header, their numbers, and one complaint for each other row.

    Files that were joined contain the header more than once.
    """
    rows = range(len(cells["id"]))
    repeats = [row for row in rows if all(_is_word(values[row], name) for name, values in cells.items())]
    kept = sorted(set(rows) - set(repeats)) if repeats else rows
    if repeats:
        cells = {name: [values[row] for row in kept] for name, values in cells.items()}
    complaints = [f"row {first_row + row}: repeats the header, expected a battle" for row in repeats]
    return cells, [first_row + row for row in kept], complaints


def _missing_names(cells: Mapping[str, Sequence[Any]]) -> Counter[str]:
    """Return how often each spelling of a missing value stands for the name of a model."""
    names = Counter(spelling.text_of(cell) for column in MODELS if column in cells for cell in cells[column])
    return Counter({name: n for name, n in names.items() if name and not spelling.name_of(name)})


def _is_word(cell: Any, word: str) -> bool:
    return isinstance(cell, str) and cell.strip() == word


def _ids(cells: Sequence[Any], numbers: Sequence[int]) -> tuple[list[str], list[str]]:
    """Return the ids and one complaint per inexact id, and per missing id, which becomes the number of its row."""
    found = [spelling.id_of(cell) for cell in cells]
    ids = [name or f"row-{number}" for name, number in zip(found, numbers, strict=True)]
    missing = [number for name, number in zip(found, numbers, strict=True) if not name]
    complaints = [f"row {number}: no id, expected one; 'row-{number}' is used" for number in missing]
    inexact = filter(spelling.is_inexact, cells)
    complaints += [f"id {shorten(str(cell), 100)}: {spelling.INEXACT}" for cell in inexact]
    return ids, complaints


def _texts(cells: Mapping[str, Sequence[Any]], ids: list[str], is_plain: bool) -> tuple[dict[str, Any], list[str]]:
    """Return the text columns with an equal number of turns in every row, and one complaint per repair."""
    complaints: list[str] = []
    texts: dict[str, list[tuple[str, ...]]] = {}
    for column in TEXTS:
        parsed = [_plain_turn(cell) if is_plain else parse_turns(cell) for cell in cells[column]]
        texts[column] = [turns for turns, _ in parsed]
        complaints += [
            f"id {shorten(i, 100)}: {column} {fault}" for i, (_, fault) in zip(ids, parsed, strict=True) if fault
        ]
    for row, lengths in enumerate(zip(*(map(len, texts[column]) for column in TEXTS), strict=True)):
        if len(set(lengths)) > 1:
            counts = ", ".join(f"{n} in {column}" for n, column in zip(lengths, TEXTS, strict=True))
            complaints.append(
                f"id {shorten(ids[row], 100)}: unequal turns ({counts}), expected one answer per prompt turn"
            )
            for column in TEXTS:
                texts[column][row] += ("",) * (max(lengths) - len(texts[column][row]))
    return {name: object_array(values) for name, values in texts.items()}, complaints


def _plain_turn(cell: Any) -> tuple[tuple[str, ...], str]:
    """Return a cell of plain text as a single turn; null is an empty answer."""
    if cell is None or cell != cell:
        return ("",), ""
    return (repair_text(str(cell)),), ""


def _winners(cells: Sequence[Sequence[Any]], ids: list[str]) -> tuple[Labels, list[str]]:
    """Return (n,) winners and one complaint per `UNCLEAR` row, whose three cells are not a single 1 and two 0."""
    rows = np.array([[spelling.flag_of(cell) for cell in column] for column in cells], dtype=np.int64).T
    unsound: npt.NDArray[np.bool_] = (rows < 0).any(axis=1) | (rows.sum(axis=1) != 1)
    complaints = []
    for row in np.flatnonzero(unsound).tolist():
        found = ", ".join(shorten(spelling.text_of(column[row]), 40) or "empty" for column in cells)
        complaints.append(f"id {shorten(ids[row], 100)}: winner columns are {found}, expected a single 1 and two 0")
    return np.where(unsound, UNCLEAR, rows.argmax(axis=1)), complaints


def _garbled(cell: str) -> bool:
    """Return whether some bytes of a cell were not UTF-8. A raw cell contains surrogates only for such bytes."""
    return not cell.isascii() and SURROGATE.search(cell) is not None
