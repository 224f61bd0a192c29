"""Folders with planted code: whatever pairrank reads there, nothing in them runs or reaches outside.

The planted action writes a marker. A folder outside of the case must be the same afterwards.
"""

import gzip
import hashlib
import io
import json
import os
import pickle
import shutil
import sqlite3
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.reliability import run_folders
from benchmarks.reliability.commands import call, run_command
from benchmarks.reliability.judged import faults_of

MARKER = "planted-code-ran"
"""Name of the file that planted code writes into the current folder."""

CODE = f"open({MARKER!r}, 'w').close()"
"""The planted action."""

Commands = list[list[str]]
"""Commands to run; DATA and ENCODER stand for folders that all cases share."""

USE = [
    ["predict", "siamese", "DATA/test.csv", "--out", "out.csv"],
    ["predict", "pool", "DATA/test.csv", "--out", "out.csv"],
    ["predict", "sparse", "DATA/test.csv", "--out", "out.csv"],
    ["predict", "gbdt", "DATA/test.csv", "--out", "out.csv"],
    ["compare"],
    ["run", "siamese", "pool", "sparse", "gbdt"],
]
"""Commands that read the saved models of all runs."""
FINE_TUNE = [
    ["run", "mine.toml", "--fold", "0"],
    ["explore", "--encoder", "mine"],
    ["run", "frozen.toml", "--fold", "0"],
]
"""Commands that read an encoder's folder, `mine`."""


class _Action:
    """An object whose pickle runs the planted action when it is loaded."""

    def __reduce__(self) -> Any:
        return exec, (CODE,)


PICKLE = pickle.dumps(_Action())


# --- Saved models


def _replace_files(folder: Path, chosen: Callable[[Path], bool], content: bytes) -> Commands:
    for file in sorted((folder / "runs").rglob("*")):
        if file.is_file() and chosen(file):
            file.write_bytes(content)
    return USE


def pickles_for_json(folder: Path) -> Commands:
    """Pickles in place of all JSON files of models."""
    return _replace_files(folder, lambda file: file.suffix == ".json" and "fold" in file.parent.name, PICKLE)


def pickles_for_weights(folder: Path) -> Commands:
    """Pickles in place of all weights."""
    return _replace_files(folder, lambda file: file.suffix in (".safetensors", ".txt", ".npz", ".npy"), PICKLE)


def pickles_for_tables(folder: Path) -> Commands:
    """Pickles in place of all tables."""
    return _replace_files(folder, lambda file: file.suffix == ".csv", PICKLE)


def pickles_for_records(folder: Path) -> Commands:
    """Pickles in place of the records of runs."""
    return _replace_files(folder, lambda file: file.name in ("metrics.json", "experiment.toml"), PICKLE)


def pickle_files_added(folder: Path) -> Commands:
    """Pickles under the names that other libraries use, beside every saved model."""
    names = ("model.pkl", "model.bin", "pytorch_model.bin", "head.bin", "model.joblib", "adapter_model.bin")
    for model in (folder / "runs").rglob("model.json"):
        for name in names:
            (model.parent / name).write_bytes(PICKLE)
    return USE


def torch_archives(folder: Path) -> Commands:
    """Archives of torch.save with a planted pickle, in place of all weights."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("archive/data.pkl", PICKLE)
        archive.writestr("archive/version", "3\n")
    return _replace_files(folder, lambda file: file.suffix == ".safetensors", target.getvalue())


def object_arrays(folder: Path) -> Commands:
    """Arrays of Python objects of numpy, in place of all weights."""
    import numpy as np

    target = io.BytesIO()
    np.save(target, np.array([_Action()], dtype=object), allow_pickle=True)
    return _replace_files(folder, lambda file: file.suffix in (".safetensors", ".npy", ".npz"), target.getvalue())


def _checkpoint(folder: Path, name: str) -> Commands:
    """Replace a file in all checkpoints of a fine-tuning that was interrupted."""
    for checkpoint in (folder / "runs").rglob("checkpoint-*"):
        (checkpoint / name).write_bytes(PICKLE)
    return [["run", "interrupted"]]


def checkpoint_optimizer(folder: Path) -> Commands:
    """A pickle as the optimizer's state."""
    return _checkpoint(folder, "optimizer.pt")


def checkpoint_scheduler(folder: Path) -> Commands:
    """A pickle as the scheduler's state."""
    return _checkpoint(folder, "scheduler.pt")


def checkpoint_random_state(folder: Path) -> Commands:
    """A pickle as the random state."""
    return _checkpoint(folder, "rng_state.pth")


def checkpoint_arguments(folder: Path) -> Commands:
    """A pickle as the arguments of the training."""
    return _checkpoint(folder, "training_args.bin")


def checkpoint_weights(folder: Path) -> Commands:
    """A pickle as the weights, in the older format."""
    for file in (folder / "runs").rglob("checkpoint-*/model.safetensors"):
        file.unlink()
    return _checkpoint(folder, "pytorch_model.bin")


def checkpoint_scaler(folder: Path) -> Commands:
    """A pickle as the state of the gradient scaler."""
    return _checkpoint(folder, "scaler.pt")


def _changed_json(folder: Path, pattern: str, **values: Any) -> Commands:
    for file in (folder / "runs").glob(pattern):
        record = json.loads(file.read_bytes())
        file.write_text(json.dumps(record | values), encoding="utf-8")
    return USE


def model_names_a_module(folder: Path) -> Commands:
    """model.json names a module in the current folder."""
    for place in (folder, folder / "pairrank", folder / "runs"):
        place.mkdir(exist_ok=True)
        (place / "evil.py").write_text(CODE, encoding="utf-8")
    return _changed_json(folder, "*/fold0/model.json", model="evil")


def model_names_a_path(folder: Path) -> Commands:
    """model.json names a path to a module."""
    (folder / "evil.py").write_text(CODE, encoding="utf-8")
    return _changed_json(folder, "*/fold0/model.json", model="../../evil")


def model_names_a_package(folder: Path) -> Commands:
    """model.json names a module of pairrank that is no model."""
    return _changed_json(folder, "*/fold0/model.json", model="heads.trees")


def parameters_name_a_class(folder: Path) -> Commands:
    """The hyperparameters in model.json name a class and an import."""
    planted = {
        "__class__": "os.system",
        "py/object": "os.system",
        "_target_": "os.system",
        "seed": {"py/reduce": [CODE]},
    }
    return _changed_json(folder, "*/fold0/model.json", parameters=planted)


def encoder_of_a_run(folder: Path) -> Commands:
    """The encoder inside a saved model has custom code."""
    for config in (folder / "runs").rglob("encoder/config.json"):
        _plant_custom_code(config.parent)
    return USE


# --- Encoder folders


def _encoder(folder: Path, **values: Any) -> Path:
    """Copy the tiny encoder and an experiment that uses it; `values` are added to its configuration."""
    encoder = folder / "mine"
    shutil.copytree(folder.parent / "shared" / "encoder", encoder)
    config = json.loads((encoder / "config.json").read_bytes()) | values
    (encoder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    lines = '[model]\nname = "{}"\nencoder = "mine"\nmax_tokens = 24\n'
    (folder / "mine.toml").write_text(lines.format("siamese") + "training = {epochs = 1}\n", encoding="utf-8")
    (folder / "frozen.toml").write_text(lines.format("frozen"), encoding="utf-8")
    return encoder


def _plant_custom_code(encoder: Path) -> None:
    names = {
        "AutoModel": "modeling.Evil",
        "AutoConfig": "modeling.EvilConfig",
        "AutoTokenizer": ["modeling.T", None],
    }
    for name in ("config.json", "tokenizer_config.json"):
        if (encoder / name).is_file():
            config = json.loads((encoder / name).read_bytes()) | {"auto_map": names, "trust_remote_code": True}
            (encoder / name).write_text(json.dumps(config), encoding="utf-8")
    for name in ("modeling.py", "__init__.py", "configuration.py", "tokenization.py"):
        (encoder / name).write_text(
            CODE + "\nclass Evil: ...\nclass EvilConfig: ...\nclass T: ...\n", encoding="utf-8"
        )


def custom_code(folder: Path) -> Commands:
    """auto_map names classes in modules of the folder."""
    _plant_custom_code(_encoder(folder))
    return FINE_TUNE


def custom_model_type(folder: Path) -> Commands:
    """The kind of the model is unknown, and auto_map explains it."""
    _plant_custom_code(_encoder(folder, model_type="evil"))
    return FINE_TUNE


def pickled_weights(folder: Path) -> Commands:
    """The weights are a pickle."""
    encoder = _encoder(folder)
    (encoder / "model.safetensors").unlink()
    (encoder / "pytorch_model.bin").write_bytes(PICKLE)
    return FINE_TUNE


def pickled_weights_beside(folder: Path) -> Commands:
    """A pickle lies beside the weights."""
    (_encoder(folder) / "pytorch_model.bin").write_bytes(PICKLE)
    return FINE_TUNE


def pickled_weights_listed(folder: Path) -> Commands:
    """An index of weights names a pickle outside of the folder."""
    encoder = _encoder(folder)
    (folder / "outside.bin").write_bytes(PICKLE)
    (encoder / "model.safetensors").unlink()
    index = {"metadata": {"total_size": 1}, "weight_map": {"embeddings.word_embeddings.weight": "../outside.bin"}}
    for name in ("pytorch_model.bin.index.json", "model.safetensors.index.json"):
        (encoder / name).write_text(json.dumps(index), encoding="utf-8")
    return FINE_TUNE


def attention_kernel(folder: Path) -> Commands:
    """The configuration names an attention kernel of a hub, which is native code."""
    keys = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal")
    _encoder(folder, **dict.fromkeys(keys, "kernels-community/some"))
    return FINE_TUNE


def quantization(folder: Path) -> Commands:
    """The configuration asks for a quantization library."""
    _encoder(folder, quantization_config={"quant_method": "gptq", "bits": 4, "modules": ["evil"]})
    return FINE_TUNE


def adapter(folder: Path) -> Commands:
    """An adapter names another base model and has pickled weights."""
    encoder = _encoder(folder)
    values = {"peft_type": "LORA", "base_model_name_or_path": "../evil", "auto_mapping": {"parent_library": "evil"}}
    (encoder / "adapter_config.json").write_text(json.dumps(values), encoding="utf-8")
    (encoder / "adapter_model.bin").write_bytes(PICKLE)
    (folder / "evil.py").write_text(CODE, encoding="utf-8")
    return FINE_TUNE


def sentence_modules(folder: Path) -> Commands:
    """modules.json names a class in a module of the folder."""
    encoder = _encoder(folder)
    modules = [{"idx": 0, "name": "0", "path": "", "type": "evil.Module"}]
    (encoder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    for place in (encoder, folder):
        (place / "evil.py").write_text(CODE + "\nclass Module: ...\n", encoding="utf-8")
    return FINE_TUNE


def chat_template(folder: Path) -> Commands:
    """The tokenizer's template runs code."""
    encoder = _encoder(folder)
    config = json.loads((encoder / "tokenizer_config.json").read_bytes())
    planted = (
        "{{ ''.__class__.__mro__[1].__subclasses__() }}{{ cycler.__init__.__globals__.os.system('touch "
        + MARKER
        + "') }}"
    )
    config |= {"chat_template": planted, "tokenizer_class": "../evil"}
    (encoder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return FINE_TUNE


def yaml_tags(folder: Path) -> Commands:
    """YAML files with tags that construct Python objects."""
    encoder = _encoder(folder)
    text = f"!!python/object/apply:builtins.exec [{json.dumps(CODE)}]\n"
    for place in (encoder, folder, folder / "runs" / "prior", folder / "experiments"):
        for name in ("config.yaml", "README.md", "mine.yml"):
            (place / name).write_text(f"---\n{text}---\n" if name.endswith(".md") else text, encoding="utf-8")
    return [*FINE_TUNE, *USE[:1], ["list"]]


# --- Experiment files, tables, databases


def toml_templates(folder: Path) -> Commands:
    """Template strings in every text of an experiment file."""
    planted = (
        "{{ cycler.__init__.__globals__.os.system('touch "
        + MARKER
        + "') }} ${"
        + CODE
        + "} $(touch "
        + MARKER
        + ")"
    )
    lines = [
        f"about = {json.dumps(planted)}",
        "[model]",
        'name = "prior"',
        "[split]",
        f"salt = {json.dumps(planted)}",
    ]
    (folder / "experiments" / "planted.toml").write_text("\n".join(lines), encoding="utf-8")
    return [["run", "planted"], ["describe", "planted"], ["list"], ["report", "--out", "page.html"]]


def toml_names_code(folder: Path) -> Commands:
    """The name of the model, of an input and a teacher are code."""
    for number, text in enumerate(("__import__('os')", "os.system", "../evil", "evil", "heads", "base")):
        (folder / f"m{number}.toml").write_text(f"[model]\nname = {json.dumps(text)}\n", encoding="utf-8")
        lines = f'inputs = [{json.dumps(text)}]\n[model]\nname = "pool"\n'
        (folder / f"i{number}.toml").write_text(lines, encoding="utf-8")
    (folder / "evil.py").write_text(CODE, encoding="utf-8")
    (folder / "evil.toml").write_text(CODE, encoding="utf-8")
    return [["run", f"{kind}{number}.toml"] for kind in "mi" for number in range(6)]


def values_are_code(folder: Path) -> Commands:
    """Values of --set are code."""
    values = (
        CODE,
        f"__import__('os').system('touch {MARKER}')",
        "!!python/object:os.system",
        "eval:1",
        "${x}",
        "`x`",
    )
    return [["run", "prior", "--fold", "0", "--set", f"smoothing={value}"] for value in values]


def csv_formulas(folder: Path) -> Commands:
    """Cells that a spreadsheet takes for formulas, as ids and names; they are copied unchanged."""
    (folder / "d").mkdir()
    rows = [
        f'"=cmd|\'/c touch {MARKER}\'!A{i}",+a,@b,"[""x""]","[""y""]","[""z{i}""]",{i % 2},{1 - i % 2},0'
        for i in range(20)
    ]
    header = "id,model_a,model_b,prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie"
    (folder / "d" / "train.csv").write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return [["explore", "--data", "d", "--out", "p.html"], ["ratings", "--data", "d"]]


def study_with_triggers(folder: Path) -> Commands:
    """A study's database with triggers, views and an attached path."""
    place = folder / "runs" / "structure+tuning"
    place.mkdir()
    with sqlite3.connect(place / "study.db") as database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.execute("CREATE TABLE secrets (x)")
        database.execute("CREATE VIEW studies AS SELECT load_extension('./evil') AS study_id, 'x' AS study_name")
        database.execute(
            "CREATE TRIGGER planted AFTER INSERT ON alembic_version BEGIN INSERT INTO secrets VALUES (1); END"
        )
    database.close()
    (folder / "evil.so").write_bytes(b"\x7fELF")
    return [["tune", "structure", "--trials", "1"], ["list"], ["compare"]]


# --- Links and names that lead out


def _outside(folder: Path) -> Path:
    """Return a folder beside that of the case, in which nothing may change."""
    return folder.parent / f"{folder.name}-outside"


def run_is_a_link(folder: Path) -> Commands:
    """A run's folder is a link to a folder outside."""
    shutil.rmtree(folder / "runs" / "prior")
    (folder / "runs" / "prior").symlink_to(_outside(folder), target_is_directory=True)
    return [["compare"], ["list"], ["predict", "prior", "DATA/test.csv", "--out", "out.csv"]]


def files_are_links(folder: Path) -> Commands:
    """Files of a run are links to a file outside, which is read at most."""
    for file in sorted((folder / "runs" / "prior").rglob("*.*")):
        file.unlink()
        file.symlink_to(_outside(folder) / "precious.txt")
    return [
        ["compare"],
        ["list"],
        ["report", "--out", "p.html"],
        ["predict", "prior", "DATA/test.csv", "--out", "o.csv"],
    ]


def fold_is_a_link(folder: Path) -> Commands:
    """A fold's folder is a link to a folder outside, which `run` must not empty."""
    shutil.rmtree(folder / "runs" / "prior" / "fold0")
    (folder / "runs" / "prior" / "fold0").symlink_to(_outside(folder), target_is_directory=True)
    return [["run", "prior"], ["predict", "prior", "DATA/test.csv", "--out", "out.csv"]]


def labels_lead_out(folder: Path) -> Commands:
    """The label of a run leads out of the folder that results are published in."""
    outside = _outside(folder).name
    labels = (
        f"/../../../../{outside}/x",
        f"../../../{outside}/x",
        "..",
        f"a/../../../../{outside}/y",
        "C:\\x",
        "x\0y",
    )
    for number, label in enumerate(labels):
        shutil.copytree(folder / "runs" / "prior", folder / "runs" / f"prior{number}")
        _changed_json(folder, f"prior{number}/metrics.json", label=label)
    return [
        ["compare", "--publish", "published"],
        ["report", "--out", "page.html"],
        ["submit", "prior", "--out", "o.csv"],
    ]


def inputs_lead_out(folder: Path) -> Commands:
    """The inputs of a run are folders outside."""
    _changed_json(
        folder, "pool/metrics.json", inputs={f"../../{_outside(folder).name}": "0" * 16, "/etc": "0" * 16}
    )
    return [["predict", "pool", "DATA/test.csv", "--out", "out.csv"], ["compare"], ["run", "pool"]]


def data_name_leads_out(folder: Path) -> Commands:
    """The recorded name of the data is a path."""
    data = json.loads((folder / "runs/prior/metrics.json").read_bytes())["data"] | {
        "name": f"../../{_outside(folder).name}"
    }
    _changed_json(folder, "prior/metrics.json", data=data)
    return [["compare", "--publish", "published"], ["report", "--out", "page.html"]]


# --- Bombs


def compressed_blanks(folder: Path) -> Commands:
    """150 MB of blank lines in a file of 150 KB."""
    (folder / "bomb.csv.gz").write_bytes(gzip.compress(b"\n" * 150_000_000))
    return [["predict", "prior", "bomb.csv.gz", "--out", "out.csv"]]


def compressed_cell(folder: Path) -> Commands:
    """One cell of 50 MB in a small file."""
    row = b'id,prompt,response_a,response_b\n1,"' + b"a" * 50_000_000 + b'","[""b""]","[""c""]"\n'
    (folder / "bomb.csv.gz").write_bytes(gzip.compress(row))
    return [["predict", "prior", "bomb.csv.gz", "--out", "out.csv"]]


def huge_headers(folder: Path) -> Commands:
    """Weights whose header says that petabytes follow."""
    header = json.dumps({"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    content = len(header).to_bytes(8, "little") + header
    return _replace_files(folder, lambda file: file.suffix == ".safetensors", content)


CASES: tuple[Callable[[Path], Commands], ...] = (
    pickles_for_json, pickles_for_weights, pickles_for_tables, pickles_for_records, pickle_files_added,
    torch_archives, object_arrays, checkpoint_optimizer, checkpoint_scheduler, checkpoint_random_state,
    checkpoint_arguments, checkpoint_weights, checkpoint_scaler, model_names_a_module, model_names_a_path,
    model_names_a_package, parameters_name_a_class, encoder_of_a_run, custom_code, custom_model_type,
    pickled_weights, pickled_weights_beside, pickled_weights_listed, attention_kernel, quantization, adapter,
    sentence_modules, chat_template, yaml_tags, toml_templates, toml_names_code, values_are_code, csv_formulas,
    study_with_triggers, run_is_a_link, files_are_links, fold_is_a_link, labels_lead_out, inputs_lead_out,
    data_name_leads_out, compressed_blanks, compressed_cell, huge_headers,
)  # fmt: skip
"""What is planted; each function changes the folder of a case and returns the commands that then read it."""

COUNT = len(CASES)
"""Number of cases in a whole campaign. They are the same for every seed."""


# --- Checks


def prepare(folder: Path, seed: int, indices: range) -> None:
    """Train the runs of damaged run folders, and interrupt a fine-tuning after its first checkpoint."""
    run_folders.prepare(folder, seed, indices)
    text = (folder / "experiments" / "siamese.toml").read_text(encoding="utf-8")
    interrupted = text.replace("epochs = 1", "epochs = 3")
    (folder / "experiments" / "interrupted.toml").write_text(interrupted, encoding="utf-8")
    call(lambda: _interrupted_run(folder), folder, seconds=120)
    if not list((folder / "runs" / "interrupted").rglob("checkpoint-*")):
        raise RuntimeError("the interrupted fine-tuning left no checkpoint")


def _interrupted_run(folder: Path) -> None:
    """Start a fine-tuning that ends without a word when its first checkpoint is complete."""
    from pairrank.cli import app
    from pairrank.training import trainer

    whole = trainer.MarkComplete.on_save

    def on_save(self: Any, *arguments: Any, **options: Any) -> None:
        whole(self, *arguments, **options)
        os._exit(0)

    trainer.MarkComplete.on_save = on_save  # type: ignore[method-assign]
    sys.argv = ["pairrank", "run", "interrupted", "--data", "good", "--runs", "runs"]
    app.main()


def check(shared: Path, folder: Path, seed: int, index: int) -> list[str]:
    """Return the faults that a folder with planted code shows; [] if nothing ran or was written outside."""
    plant = CASES[index % len(CASES)]
    for name in ("runs", "experiments"):
        shutil.copytree(shared / name, folder / name)
    outside = _outside(folder)
    outside.mkdir()
    (outside / "precious.txt").write_text("precious\n", encoding="utf-8")
    commands = plant(folder)
    before, found = _state(outside), []
    for command in commands:
        arguments = [
            each.replace("DATA", str(shared / "good")).replace("ENCODER", str(shared / "encoder"))
            for each in command
        ]
        if command[0] not in ("describe", "list"):
            if "--data" not in command:
                arguments += ["--data", str(shared / "good")]
            if command[0] not in ("explore", "ratings"):
                arguments += ["--runs", "runs"]
        ended = run_command(arguments, folder, seconds=60)
        found += [f"{command[0]}: {fault}" for fault in faults_of(ended)]
    places = [folder, shared, outside, Path.cwd()]
    found += [f"planted code ran: {place / MARKER}" for place in places if (place / MARKER).exists()]
    if _state(outside) != before:
        found.append("files outside of the folder were changed")
    return found


def _state(folder: Path) -> dict[str, str]:
    """Return the hash of every file in a folder."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def describe(seed: int, index: int) -> str:
    """Return what is planted in a case, in words."""
    return CASES[index % len(CASES)].__doc__ or ""
