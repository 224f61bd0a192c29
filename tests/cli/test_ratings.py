"""The command `ratings` shows the strengths of all models."""

import sys

import pytest

from pairrank.cli import app
from tests.support.battles import write_folder


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Call the command `ratings` on a folder of a few battles."""

    def run(*arguments: str, names: bool = True) -> tuple[int, str, str]:
        write_folder(tmp_path / "data")
        if not names:
            text = (tmp_path / "data" / "train.csv").read_text().splitlines()
            blank = [",".join([row.split(",")[0], '""', '""', *row.split(",")[3:]]) for row in text[1:]]
            (tmp_path / "data" / "train.csv").write_text("\n".join([text[0], *blank]) + "\n")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys, "argv", ["pairrank", "ratings", "--data", "data", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            app.main()
        return (ended.value.code, *capsys.readouterr())

    return run


def test_the_ratings_command_shows_every_model_and_the_penalty(call):
    code, out, err = call("--penalty", "3")
    assert (code, err) == (0, "")
    for word in ("rank", "strength", "s.e.", "95 % interval", "battles", "wins", "ties", "penalty 3", "log nu"):
        assert word in out


def test_the_ratings_command_reports_battles_without_names(call):
    code, _, err = call(names=False)
    assert code == 2
    assert err.startswith("Error: ")
    assert "that name both of their models" in err
