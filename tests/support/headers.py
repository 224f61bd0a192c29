"""The column headers that pairrank's code shows, found in its source and its templates."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "pairrank"
SHOWN_BY = {"show_table": 1, "Table": 0}
"""Function or class that shows a table -> position of the argument with its headers."""
BY_NAME = {
    "evaluation/leaderboard_table.py": ("columns", "seed_columns"),
    "evaluation/learning_curve_table.py": ("columns",),
}
"""Modules with functions that return header -> cells."""


def shown_tables() -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield place, headers that are written there, and source of those that are computed, for each shown table."""
    for file in sorted(file for package in ("cli", "report") for file in (PACKAGE / package).glob("*.py")):
        for function in _functions(file):
            for node in ast.walk(function):
                if function.name != "show_table" and isinstance(node, ast.Call) and node.args:
                    position = SHOWN_BY.get(ast.unparse(node.func))
                    if position is not None:
                        yield f"{file.parent.name}/{file.name}", *_headers(node.args[position], function)


def tables_by_name() -> list[str]:
    """Return the headers that are keys of the tables which `BY_NAME` lists, or elements of their lists."""
    found: list[str] = []
    for name, wanted in BY_NAME.items():
        for function in _functions(PACKAGE / name):
            if function.name in wanted:
                for node in ast.walk(function):
                    found += map(_text, _parts(node))
    return list(filter(None, found))


def card_headers() -> list[str]:
    """Return the headers that are written in the template of the model card."""
    text = (PACKAGE / "report" / "templates" / "model-card.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|(.*\S.*)\|\n\|---", text, re.MULTILINE)
    return [cell.strip() for row in rows for cell in row.split(" | ") if cell.strip(" |")]


def _parts(node: ast.AST) -> list[ast.expr]:
    """Return the keys of a table or the elements of a list."""
    if isinstance(node, ast.Dict):
        return [key for key in node.keys if key is not None]
    return [node.key] if isinstance(node, ast.DictComp) else node.elts if isinstance(node, ast.List) else []


def _functions(file: Path) -> list[ast.FunctionDef]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def _headers(expression: ast.expr, function: ast.FunctionDef) -> tuple[list[str], list[str]]:
    """Return the headers that an expression writes out, and the source of those that it computes."""
    for node in ast.walk(function):
        is_list = isinstance(node, ast.Assign) and isinstance(node.value, ast.List)
        if is_list and isinstance(expression, ast.Name) and ast.unparse(node.targets[0]) == expression.id:
            expression = node.value
    if not isinstance(expression, ast.List):
        return [], [ast.unparse(expression)]
    texts = [_text(each) for each in expression.elts]
    computed = [ast.unparse(each) for each, text in zip(expression.elts, texts, strict=True) if not text]
    return list(filter(None, texts)), computed


def _text(node: ast.expr) -> str:
    """Return a text that is written out, with NAME for what an f-string inserts; "" for another expression."""
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "NAME" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
