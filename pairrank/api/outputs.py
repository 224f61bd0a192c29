"""A file that is written must not be a folder, of another kind, or one that is read."""

from pathlib import Path

from pairrank.errors import UserError


def refuse_out(out: Path, *read: Path) -> None:
    """Raise UserError for an output that is a folder, a file that is read or not CSV."""
    if out.suffix.lower() in (".parquet", ".gz", ".jsonl", ".json"):
        raise UserError(f"--out {out}: expected a .csv file, because predictions are written in Kaggle's format.")
    if out.is_dir():
        raise UserError(f"--out {out}: this is a folder. Expected the path of a file to write.")
    if out.resolve() in [file.resolve() for file in read]:
        raise UserError(f"--out {out}: the battles are read from this file. Use another one.")
