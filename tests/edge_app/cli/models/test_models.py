"""`edge-app models`: lists, pulls, chooses, shows and removes models."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge_app.system import paths
from tests.edge_app.cli.conftest import Run
from tests.edge_app.fakes import FakeEngine
from tests.models.tiny_directory import write_directory


def test_models_list_and_show_without_anything_pulled(run: Run) -> None:
    listed = json.loads(run("models", "list", "--json").stdout)
    assert [m["name"] for m in listed if m["default"]] == ["edge-vlm-135m"]
    assert not any(m["pulled"] for m in listed)
    assert "not pulled" in run("models", "list").stdout
    shown = json.loads(run("models", "show", "edge-vlm-135m", "--json").stdout)
    assert {f["role"] for f in shown["files"]} == {"language_model", "vision_tower"}
    assert (shown["precision"], shown["precision_reason"]) == ("int8", "large_model")
    assert shown["commit"] is None
    assert all(len(f["sha256"]) == 64 and f["path"] is None for f in shown["files"])
    assert "vision_tower" in run("models", "show", "edge-vlm-135m").stdout
    assert run("models", "remove", "edge-vlm-135m").stderr == "edge-vlm-135m was not here.\n"


def in_use(run: Run) -> list[str]:
    return [m["name"] for m in json.loads(run("models", "list", "--json").stdout) if m["in_use"]]


def test_a_chosen_model_is_remembered(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert in_use(run) == ["edge-vlm-135m"]
    outcome = run("models", "use", "smolvlm-500m")
    assert (outcome.code, outcome.stdout) == (0, "")
    assert "edge-app models pull smolvlm-500m" in outcome.stderr
    assert in_use(run) == ["smolvlm-500m"]
    monkeypatch.setenv("EDGE_APP_MODEL", "smolvlm-256m")
    assert in_use(run) == ["smolvlm-256m"]
    assert "EDGE_APP_MODEL" in run("models", "use", "edge-vlm-135m").stderr
    monkeypatch.delenv("EDGE_APP_MODEL")
    assert in_use(run) == ["edge-vlm-135m"]


def test_an_unknown_model_cannot_be_chosen(run: Run) -> None:
    outcome = run("models", "use", "gpt")
    assert outcome.code == 1
    assert "'gpt'" in outcome.stderr
    assert "smolvlm-500m" in outcome.stderr
    assert in_use(run) == ["edge-vlm-135m"]


def test_the_model_option_chooses_for_one_command(run: Run, engine: FakeEngine) -> None:
    outcome = run("ask", "Is it a cat?", "--model", "smolvlm-256m", "--json")
    assert json.loads(outcome.stdout)["model"] == "smolvlm-256m"
    assert len(engine.calls) == 1
    assert in_use(run) == ["edge-vlm-135m"]


def test_models_pull_offline_is_code_3(run: Run) -> None:
    outcome = run("models", "pull", "edge-vlm-135m", "--offline")
    assert (outcome.code, outcome.stdout) == (3, "")
    assert "offline" in outcome.stderr


def test_a_model_from_a_file_is_pulled_listed_and_removed(run: Run, tmp_path: Path) -> None:
    content = b"weights"
    digest = hashlib.sha256(content).hexdigest()
    (tmp_path / "w.bin").write_bytes(content)
    paths.ensure(paths.models_directory())
    (paths.models_directory() / "catalog.toml").write_text(
        f"""
        [models.mine]
        description = "A test"
        family = "test"
        licence = "none"
        [models.mine.files.language_model]
        name = "w.bin"
        size = {len(content)}
        sha256 = "{digest}"
        source = "file:{tmp_path / "w.bin"}"
        """
    )
    outcome = run("models", "pull", "mine")
    assert outcome.code == 0, outcome.stderr
    assert (paths.models_directory() / "mine" / "w.bin").read_bytes() == content
    assert json.loads(run("models", "show", "mine", "--json").stdout)["pulled"]
    packed = paths.ensure(paths.cache_directory() / "packed") / f"{digest[:32]}-v1.pack"
    packed.write_bytes(bytes(2_000_000))
    assert run("models", "remove", "mine").stderr == "Removed mine (2.0 MB).\n"
    assert not packed.exists()
    assert not json.loads(run("models", "show", "mine", "--json").stdout)["pulled"]


def test_a_folder_becomes_a_model_and_stays_when_the_model_is_removed(run: Run, tmp_path: Path) -> None:
    folder = write_directory(tmp_path / "Tiny Llama")
    outcome = run("models", "pull", f"file:{folder}", "--offline", "--json")
    assert outcome.code == 0, outcome.stderr
    assert "tiny-llama: " in outcome.stderr
    assert "of memory" in outcome.stderr
    shown = json.loads(outcome.stdout)
    assert (shown["name"], shown["family"], shown["pulled"]) == ("tiny-llama", "llama", True)
    assert shown["origin"] == f"file:{folder}"
    assert (shown["precision"], shown["precision_reason"]) == ("float", "small_model")
    assert "float; its speed is no concern" in run("models", "show", "tiny-llama").stdout
    assert run("models", "use", "tiny-llama").code == 0
    assert in_use(run) == ["tiny-llama"]
    assert run("models", "pull", f"file:{folder}", "--name", "other").code == 0
    assert "Removed tiny-llama" in run("models", "remove", "tiny-llama").stderr
    assert run("models", "show", "tiny-llama").code == 1
    asked = run("ask", "hi")
    assert (asked.code, asked.stdout) == (1, "")
    assert "no model named 'tiny-llama'" in asked.stderr
    assert "`edge-app models use edge-vlm-135m` chooses the default" in asked.stderr
    assert (folder / "model.safetensors").exists()


def test_a_bad_entry_of_an_added_model_is_said_and_can_be_removed(run: Run, tmp_path: Path) -> None:
    assert run("models", "pull", f"file:{write_directory(tmp_path / 'tiny')}").code == 0
    (paths.models_directory() / ".added" / "tiny.toml").write_text("[")
    listed = run("models", "list", "--json")
    assert listed.code == 0
    assert "tiny" not in [model["name"] for model in json.loads(listed.stdout)]
    assert "`edge-app models remove tiny`" in listed.stderr
    assert "Removed tiny" in run("models", "remove", "tiny").stderr
    assert run("models", "list").stderr == ""


def test_a_large_model_without_a_terminal_needs_yes(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_directory(tmp_path / "tiny")
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=1_000_000))
    refused = run("models", "pull", f"file:{folder}")
    assert (refused.code, refused.stdout) == (1, "")
    assert "--yes" in refused.stderr
    assert "1.0 MB of memory in all" in refused.stderr
    assert run("models", "show", "tiny").code == 1
    assert run("models", "pull", f"file:{folder}", "--yes").code == 0
    named = run("models", "pull", "smolvlm-256m", "--offline")
    assert (named.code, "--yes" in named.stderr) == (1, True)


def test_a_repository_is_not_asked_for_offline(run: Run) -> None:
    outcome = run("models", "pull", "hf:owner/repo", "--offline")
    assert (outcome.code, outcome.stdout) == (3, "")
    assert "offline" in outcome.stderr


def test_options_of_a_source_do_not_fit_a_name(run: Run) -> None:
    assert run("models", "pull", "smolvlm-256m", "--name", "small").code == 2
    assert run("models", "pull", "hf:owner").code == 1
