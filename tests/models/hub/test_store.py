"""The store: a model is pulled whole or not at all, whatever interrupts the pull."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import filelock
import pytest

from models.core.errors import NeedsNetwork, UserError
from models.hub import download
from models.hub.store import ModelFiles, ModelStore
from tests.models.hub.loopback import LoopbackServer
from tests.models.tiny_models import CONTENTS, NAME, publish

OTHER = "edge-vlm-135m"
REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackServer]:
    monkeypatch.setattr(download, "FIRST_PAUSE", 0.01)
    with LoopbackServer() as server:
        monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")
        yield server


@pytest.fixture
def root(tmp_path: Path, server: LoopbackServer) -> Path:
    """An empty store whose catalog has a small model on the loopback server."""
    publish(server, tmp_path / "models")
    return tmp_path / "models"


def is_whole(files: ModelFiles | None) -> bool:
    return files is not None and all(files.files[role].read_bytes() == CONTENTS[role] for role in CONTENTS)


def test_a_pulled_model_is_found_listed_and_needs_no_network_again(
    root: Path, server: LoopbackServer
) -> None:
    store = ModelStore(root)
    assert store.find(NAME) is None
    assert not any(status.pulled for status in store.list())
    files = store.pull(NAME)
    assert is_whole(files)
    assert files.directory == root / NAME
    assert files.family == "f"
    assert len(files.digests["vision_tower"]) == len(files.digest) == 64
    server.requests.clear()
    assert store.pull(NAME, offline=True) == files == ModelStore(root).find(NAME)
    assert server.requests == []
    assert [status.entry.name for status in store.list() if status.pulled] == [NAME]
    assert store.list()[0].entry.name == NAME
    assert store.show(NAME).pulled


def test_progress_counts_the_bytes_of_all_files_together(root: Path) -> None:
    reports: list[tuple[str, str, int, int | None]] = []
    store = ModelStore(root)
    store.pull(NAME, lambda *report: reports.append(report))
    total = store.catalog.entry(NAME).download_size
    assert {(stage, size) for stage, _, _, size in reports} == {("pull", total)}
    counts = [count for _, _, count, _ in reports]
    assert counts == sorted(counts)
    assert counts[-1] == total
    assert "language_model.bin" in reports[0][1]


def test_offline_with_nothing_pulled_is_one_clear_sentence(root: Path, server: LoopbackServer) -> None:
    with pytest.raises(NeedsNetwork) as caught:
        ModelStore(root).pull("edge-vlm-135m", offline=True)
    assert str(caught.value) == (
        "The model edge-vlm-135m is not on this machine and the app is offline; "
        "run `edge-app models pull edge-vlm-135m` once with a network (116 MB)"
    )
    assert server.requests == []


def test_an_unknown_model_is_refused(root: Path) -> None:
    for action in (ModelStore(root).pull, ModelStore(root).show, ModelStore(root).remove):
        with pytest.raises(UserError, match="no model named 'other'"):
            action("other")


@pytest.mark.parametrize("damage", ["manifest", "missing", "short"])
def test_a_damaged_model_counts_as_absent_and_is_pulled_again(root: Path, damage: str) -> None:
    store = ModelStore(root)
    files = store.pull(NAME)
    if damage == "manifest":
        (files.directory / "model.json").write_text("{")
    elif damage == "missing":
        files.files["vision_tower"].unlink()
    else:
        files.files["vision_tower"].write_bytes(b"short")
    assert store.find(NAME) is None
    assert is_whole(store.pull(NAME))


def test_a_model_of_an_earlier_catalog_is_replaced(root: Path) -> None:
    ModelStore(root).pull(NAME)
    manifest = root / NAME / "model.json"
    content = json.loads(manifest.read_text())
    content["files"]["language_model"][2] = "0" * 64
    manifest.write_text(json.dumps(content))
    (root / ".staging" / f"{NAME}@0123").mkdir()
    assert ModelStore(root).find(NAME) is None
    assert is_whole(ModelStore(root).pull(NAME))
    assert [path.name for path in (root / ".staging").iterdir()] == [f"{NAME}.lock"]


def test_an_interrupted_pull_continues_where_it_stopped(root: Path, server: LoopbackServer) -> None:
    server.cuts = [100_000, *[0] * (download.ATTEMPTS - 1)]
    with pytest.raises(NeedsNetwork, match="kept"):
        ModelStore(root).pull(NAME)
    assert ModelStore(root).find(NAME) is None
    server.requests.clear()
    server.cuts.clear()
    assert is_whole(ModelStore(root).pull(NAME))
    assert "bytes=100000-" in [wanted for _, wanted in server.requests]


def test_a_full_disk_is_reported_before_anything_is_downloaded(
    root: Path, server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(root)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    with pytest.raises(UserError, match="1 MB free"):
        ModelStore(root).pull(NAME)
    assert server.requests == []


def test_a_place_that_cannot_be_written_is_named(root: Path) -> None:
    catalog = ModelStore(root).catalog
    place = root.parent / "file"
    place.write_text("in the way")
    with pytest.raises(UserError, match="file"):
        ModelStore(place, catalog).pull(NAME)


def test_removing_frees_the_model_and_what_is_unfinished(root: Path, server: LoopbackServer) -> None:
    store = ModelStore(root)
    assert store.remove(NAME) == 0
    store.pull(NAME)
    assert store.remove(NAME) >= sum(map(len, CONTENTS.values()))
    assert store.find(NAME) is None
    server.cuts = [100_000, *[0] * (download.ATTEMPTS - 1)]
    with pytest.raises(NeedsNetwork):
        store.pull(NAME)
    assert store.remove(NAME) >= 100_000
    assert [path.name for path in (root / ".staging").iterdir()] == [f"{NAME}.lock"]


class _LeaveError(Exception):
    """What a progress callback may raise to stop waiting."""


def test_a_second_process_waits_and_says_so(root: Path) -> None:
    def leave(_stage: str, message: str, _done: int, _total: int | None) -> None:
        raise _LeaveError(message)

    (root / ".staging").mkdir()
    with (
        filelock.FileLock(root / ".staging" / f"{NAME}.lock", is_singleton=False),
        pytest.raises(_LeaveError, match="Another process"),
    ):
        ModelStore(root).pull(NAME, leave)


def run(root: Path, *arguments: str, module: str | None = None) -> subprocess.Popen[str]:
    code = f"import pathlib, models.hub.store as s; s.ModelStore(pathlib.Path({str(root)!r})).pull({NAME!r})"
    command = ["-m", module, str(root), *arguments] if module else ["-c", code]
    return subprocess.Popen([sys.executable, *command], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_two_processes_that_pull_at_once_download_once(root: Path, server: LoopbackServer) -> None:
    server.pause = 0.02
    processes = [run(root), run(root)]
    assert [process.wait(240) for process in processes] == [0, 0]
    assert is_whole(ModelStore(root).find(NAME))
    assert len(server.requests) == 4  # two index pages, two wheels


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the loop forks its victims")
def test_kill_9_at_every_event_leaves_nothing_or_a_whole_model(root: Path) -> None:
    process = run(root, module="tests.models.hub.crash_loop")
    output, _ = process.communicate(timeout=250)
    assert process.returncode == 0
    assert int(output) > 20


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the loop forks its victims")
def test_kill_9_while_a_folder_becomes_a_model_leaves_nothing_or_a_whole_model(tmp_path: Path) -> None:
    source, root = tmp_path / "source", tmp_path / "models"
    for folder in (source, root):
        folder.mkdir()
    for role, content in CONTENTS.items():
        (source / role).write_bytes(content)
    process = run(root, str(source), module="tests.models.hub.crash_loop")
    output, _ = process.communicate(timeout=250)
    assert process.returncode == 0
    assert int(output) > 20
    assert {role: (source / role).read_bytes() for role in CONTENTS} == CONTENTS


def received(root: Path) -> int:
    """Bytes of the files that a pull has not finished."""
    return sum(part.stat().st_size for part in (root / ".staging").rglob("*.part"))


@pytest.mark.slow
def test_kill_9_in_the_middle_of_a_pull_several_times(root: Path, server: LoopbackServer) -> None:
    server.stalls = True
    for _ in range(3):
        before, deadline = received(root), time.monotonic() + 240
        process = run(root)
        while received(root) <= before:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert ModelStore(root).find(NAME) is None
    server.stalls = False
    assert is_whole(ModelStore(root).pull(NAME))
    resumed = [int(wanted.removeprefix("bytes=").rstrip("-")) for _, wanted in server.requests if wanted]
    assert len(resumed) == 3 and sorted(set(resumed)) == resumed


def test_the_default_model_is_whole(model_files: ModelFiles) -> None:
    assert set(model_files.files) == {"language_model", "vision_tower"}
    assert all(path.exists() for path in model_files.files.values())


def test_the_identity_changes_with_what_the_app_bundles(root: Path) -> None:
    catalog = root / "catalog.toml"
    catalog.write_text(catalog.read_text().replace("[models.tiny]\n", '[models.tiny]\nbundled = "ours"\n'))
    (root / "ours" / "base_lora").mkdir(parents=True)
    (root / "ours" / "base_lora" / "adapter_model.safetensors").write_bytes(b"one")
    store = ModelStore(root)
    before = store.identity(NAME)
    (root / "ours" / "README.md").write_text("What it is good at.")
    assert store.identity(NAME) == before
    (root / "ours" / "base_lora" / "adapter_model.safetensors").write_bytes(b"two")
    assert store.identity(NAME) != before


def test_the_base_digest_covers_the_published_weights_and_the_projector_alone(root: Path) -> None:
    bundle(root, projector=b"a projector", base_lora=b"one", config='{"projector": "projector.safetensors"}')
    before = ModelStore(root).base_digests(NAME)
    again = '{"projector": "projector.safetensors", "prompt": {"image_suffix": ","}}'
    bundle(root, projector=b"a projector", base_lora=b"two", config=again)
    assert ModelStore(root).base_digests(NAME).current == before.current
    bundle(root, projector=b"another", base_lora=b"two", config=again)
    after = ModelStore(root).base_digests(NAME)
    assert after.current != before.current
    assert before.current not in after.accepted


def test_the_identity_that_earlier_versions_wrote_is_an_accepted_base_digest(root: Path) -> None:
    bundle(root, projector=b"a projector", base_lora=b"one", config='{"projector": "projector.safetensors"}')
    store = ModelStore(root)
    base, identity = store.base_digests(NAME), store.identity(NAME)
    assert identity != base.current
    assert base.accepted == {identity, base.current}


def test_without_bundled_files_the_base_digest_is_what_earlier_versions_wrote(root: Path) -> None:
    store = ModelStore(root)
    assert store.base_digests(NAME).current == store.identity(NAME)


def test_the_base_digest_of_version_0_1_0_is_accepted_by_the_default_model(root: Path) -> None:
    of_0_1_0 = "3b11220a66d3daac936d2e549da0248729f1ec8b5ecccc516e317b48d87c6c15"
    assert of_0_1_0 in ModelStore(root).base_digests(OTHER).accepted


@pytest.mark.parametrize("value", ['"0000"', '["0000"]', "[1]"])
def test_an_earlier_base_digest_that_is_none_is_refused(root: Path, value: str) -> None:
    catalog = root / "catalog.toml"
    line = f"[models.tiny]\nearlier_base_digests = {value}\n"
    catalog.write_text(catalog.read_text().replace("[models.tiny]\n", line))
    with pytest.raises(UserError, match="earlier_base_digests"):
        ModelStore(root)


def bundle(root: Path, *, projector: bytes, base_lora: bytes, config: str) -> None:
    """Writes the folder of bundled files of the model NAME, and names it in the catalog."""
    catalog = root / "catalog.toml"
    if "bundled" not in catalog.read_text():
        catalog.write_text(
            catalog.read_text().replace("[models.tiny]\n", '[models.tiny]\nbundled = "ours"\n')
        )
    (root / "ours" / "base_lora").mkdir(parents=True, exist_ok=True)
    (root / "ours" / "base_lora" / "adapter_model.safetensors").write_bytes(base_lora)
    (root / "ours" / "projector.safetensors").write_bytes(projector)
    (root / "ours" / "config.json").write_text(config)
