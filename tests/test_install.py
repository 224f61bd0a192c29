"""Installed from a wheel or in editable form, the command line works in an empty folder, without the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all((ROOT / name).is_file() for name in ("README.md", "LICENSE")),
        reason="README.md or LICENSE, without which no wheel can be built, is not here",
    ),
]

OFFLINE = {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def call(*command, cwd, **environment):
    """A command without network access, in which nothing but `environment` leads to the checkout."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "COLUMNS")}
    ended = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=clean | OFFLINE | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from the checkout by the tools that are installed."""
    folder = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return next(folder.glob("pairrank-*.whl"))


def install(target, *what):
    """A folder with pairrank in it and nothing else: what it needs comes from this environment."""
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--target", target]
    call(sys.executable, "-m", "pip", "install", *options, *what, cwd=target.parent)
    return target


def check_from_an_empty_folder(folder, place, python, **environment):
    """`list` and `run prior` on the sample, with the package imported from `place`."""
    folder.mkdir()
    where = call(*python, "-c", "import pairrank; print(pairrank.__file__)", cwd=folder, **environment)
    assert Path(where.strip()).resolve().is_relative_to(place.resolve())
    listed = call(*python, "-m", "pairrank.experiments", "list", cwd=folder, **environment)
    for name in ("prior", "lengths", "structure", "baseline", "baseline-as-published"):
        assert name in listed
    ran = call(*python, "-m", "pairrank.experiments", "run", "prior", cwd=folder, **environment)
    assert "using the simulated sample" in ran
    assert [file.name for file in folder.iterdir()] == ["runs"]
    assert (folder / "runs" / "sample" / "prior" / "metrics.json").is_file()
    submission = (folder / "runs" / "sample" / "prior" / "test.csv").read_text().splitlines()
    assert len(submission) == 151


def test_the_wheel_holds_code_experiments_and_sample(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        for name in held & {f"pairrank/shipped/sample/{part}.csv" for part in ("train", "test")}:
            source = ROOT / "Dataset" / name.removeprefix("pairrank/shipped/")
            assert archive.read(name) == source.read_bytes()
    code = {f"{file.relative_to(ROOT).as_posix()}" for file in (ROOT / "pairrank").rglob("*.py")}
    words = {file.relative_to(ROOT).as_posix() for file in (ROOT / "pairrank").rglob("*.toml")}
    experiments = {f"pairrank/shipped/experiments/{file.name}" for file in (ROOT / "experiments").glob("*.toml")}
    sample = {f"pairrank/shipped/sample/{file.name}" for file in (ROOT / "Dataset" / "sample").glob("*.csv")}
    assert len(sample) == 4
    assert code | words | experiments | sample <= held
    # Neither tests nor the user's own battles travel.
    assert not [name for name in held if not name.startswith("pairrank/")]


def test_the_installed_wheel_works_from_an_empty_folder(wheel, tmp_path):
    place = install(tmp_path / "site", wheel)
    check_from_an_empty_folder(tmp_path / "empty", place, [sys.executable], PYTHONPATH=str(place))


def test_the_editable_form_works_from_an_empty_folder(tmp_path):
    environment = tmp_path / "venv"
    call(sys.executable, "-m", "venv", "--without-pip", environment, cwd=tmp_path)
    python = environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    ask = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    inside = Path(call(python, "-c", ask, cwd=tmp_path).strip())
    outside = call(sys.executable, "-c", ask, cwd=tmp_path).strip()
    # The packages of this environment, but not its own pairrank: a .pth file is read, the .pth files there are not.
    (inside / "outside.pth").write_text(outside + "\n")
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--editable", ROOT]
    call(sys.executable, "-m", "pip", "--python", python, "install", *options, cwd=tmp_path)
    check_from_an_empty_folder(tmp_path / "empty", ROOT, [python])
