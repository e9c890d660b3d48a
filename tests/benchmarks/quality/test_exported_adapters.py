"""An adapter that was exported for llama.cpp answers there as it does here. Skipped without llama-cpp-python."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.store import adapter_store
from adapters.store.adapter_store import InstalledAdapter
from adapters.store.manifest import MANIFEST_FILE, parse_manifest
from benchmarks.quality import exported_adapters
from benchmarks.quality.exported_adapters import compare, prompts
from benchmarks.speed import peer
from edge_app.system import paths
from models.hub.store import ModelFiles

INTERPRETER = peer.python()
"""Found here, because tests run without the variables of this app."""


def test_prompts_are_receipts_with_a_question_from_a_seed() -> None:
    made = prompts(10)
    assert made == prompts(10) and made != prompts(10, seed=1)
    assert all("TOTAL" in text and text.endswith(("?", "JSON.")) for text in made)


def test_without_the_peer_the_way_to_get_it_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peer, "python", lambda: None)
    assert exported_adapters.main([]) == 2
    assert peer.PEER in capsys.readouterr().err


@pytest.mark.skipif(INTERPRETER is None, reason="llama-cpp-python is not installed")
def test_both_runtimes_give_the_same_answers(
    model_files: ModelFiles, engine_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "cache_directory", lambda: engine_cache)
    folder = adapter_store.bundled_folder("receipts")
    manifest = parse_manifest((folder / MANIFEST_FILE).read_bytes(), folder / MANIFEST_FILE)
    assert INTERPRETER is not None
    adapter = InstalledAdapter("receipts", folder, manifest)
    for row in compare(adapter, model_files, INTERPRETER, 3, "float"):
        assert row.first is None, row
