"""`new-model` writes a model of the user's own with its test and experiment; `check-model` checks its contract."""

import importlib.util
import keyword
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from pairrank.cli.console import say, show_table
from pairrank.contract.findings import check_contract
from pairrank.contract.subject import subject_of
from pairrank.errors import UserError
from pairrank.files import write_text
from pairrank.models.base import model_names, own_model
from pairrank.plugins import is_reference
from pairrank.runs.experiment_files import experiment_files, load_own_code
from pairrank.runs.overrides import override, parse_change

TEMPLATES = Path(__file__).parent / "templates"
FILES = {"{}.py": "model.py.txt", "test_{}.py": "test_model.py.txt", "{}.toml": "experiment.toml.txt"}
"""Names of the files that `new-model` writes, with their templates."""

NAME = re.compile(r"[a-z][a-z0-9_]{0,50}", re.ASCII)


def new_model(name: str, folder: Path) -> None:
    """Write a working model, its test and its experiment into a folder, and print the next commands.

    Raises UserError for a name that is taken or invalid, and if one of the files exists.
    """
    _refuse_name(name)
    files = {folder / file.format(name): template for file, template in FILES.items()}
    if there := [str(file) for file in files if file.exists() or file.is_symlink()]:
        raise UserError(f"{', '.join(there)}: it exists already. Choose another name or another --folder.")
    class_name = "".join(part.capitalize() for part in name.split("_"))
    for file, template in files.items():
        text = (TEMPLATES / template).read_text(encoding="utf-8")
        write_text(file, text.replace("OwnModel", class_name).replace("own_model", name))
        say(f"Written: {file}")
    model, test, experiment = files
    say("Change the model, and try it:")
    for line in (f"pairrank check-model {model}", f"pairrank run {experiment}", f"pytest {test}"):
        say(f"  {line}")


def _refuse_name(name: str) -> None:
    """Raise UserError for a name that cannot be that of a file, a test and an experiment of the user's own."""
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        raise UserError(f"{name}: expected a name of lower-case letters, digits and underscores, such as my_model.")
    if name in {*model_names(), *experiment_files()}:
        raise UserError(f"{name}: a model or an experiment has this name already. Choose another one.")
    # In the current folder, such a file would be imported in place of the module.
    if name in sys.stdlib_module_names or _is_installed(name):
        raise UserError(f"{name}: a Python module has this name, and the file would hide it. Choose another one.")


def _is_installed(name: str) -> bool:
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve().parent != Path.cwd()


def check_model(reference: str, changes: Sequence[str]) -> None:
    """Check every law of the contract for a model, and print what was found.

    Raises UserError if the model cannot be built, and at the end if it breaks a law.
    """
    name = own_model(reference, Path()) if is_reference(reference) else reference
    parameters: dict[str, object] = {}
    for change in changes:
        override(parameters, *parse_change(change))
    subject = subject_of(name, **load_own_code(parameters, Path()))
    subject.make()
    findings = check_contract(subject)
    rows = [(each.law, "yes" if each.holds else "NO", each.found) for each in findings]
    broken = sum(not each.holds for each in findings)
    title = f"{name}: {len(findings) - broken} of {len(findings)} laws hold"
    show_table(title, ["law", "holds", "found"], rows, whole=["holds"])
    if broken:
        laws = "1 law" if broken == 1 else f"{broken} laws"
        raise UserError(f"{name}: it breaks {laws} of the contract. docs/how-to/own-model.md explains them.")
    say("The model keeps the contract.")
