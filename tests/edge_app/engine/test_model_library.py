"""The models of a user: downloads with progress that can be stopped, and the offer that is made once."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from edge_app.engine import model_library
from edge_app.engine.model_library import OFFERED_FILE, ModelLibrary
from edge_app.events import Failed, Progress
from edge_app.system import paths
from edge_app.system.offline import switch
from models.core.errors import UserError
from models.core.types import Progress as ProgressCallback
from models.hub.store import ModelStore

CONTENT = b"weights" * 1000
SMALL = """
[models.small]
description = "A small one"
family = "llama"
licence = "Apache-2.0"
memory = 1000
{better}

[models.small.files.language_model]
name = "small.gguf"
size = {size}
sha256 = "{sha256}"
source = "file:small.source"
"""


@pytest.fixture
def catalog(home: Path) -> Path:
    """The user's own catalog, with the model "small", whose file is beside it."""
    folder = paths.ensure(paths.models_directory())
    assert folder.is_relative_to(home)
    (folder / "small.source").write_bytes(CONTENT)
    return write(folder, "")


def write(folder: Path, better: str) -> Path:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    file = folder / "catalog.toml"
    file.write_text(SMALL.format(better=better, size=len(CONTENT), sha256=sha256))
    return file


def test_a_pull_shows_its_progress_and_then_the_model_is_here(catalog: Path) -> None:
    del catalog
    library = ModelLibrary()
    assert "small" in library.names()
    assert not library.show("small").pulled
    events = list(library.pull("small"))
    assert events
    assert all(isinstance(event, Progress) for event in events)
    assert library.show("small").pulled
    assert library.list()[0].entry.name == "small"


def test_what_cannot_be_pulled_is_one_event_with_a_sentence(catalog: Path) -> None:
    (catalog.parent / "small.source").write_bytes(b"other")
    last = list(ModelLibrary().pull("small"))[-1]
    assert isinstance(last, Failed)
    assert "small" in last.message
    with pytest.raises(UserError, match="There is no model named 'nothing'"):
        ModelLibrary().show("nothing")


def test_offline_nothing_is_downloaded(home: Path) -> None:
    del home
    switch.turn_on()
    (event,) = ModelLibrary().pull("smolvlm-256m")
    assert isinstance(event, Failed)
    assert "offline" in event.message


def test_a_pull_that_is_closed_early_stops_at_its_next_piece(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del home
    ended = threading.Event()

    def endless(store: ModelStore, name: str, progress: ProgressCallback, *, offline: bool) -> None:
        del store, offline
        try:
            while True:
                progress("pull", name, 0, None)
        finally:
            ended.set()

    monkeypatch.setattr(ModelStore, "pull", endless)
    events = ModelLibrary().pull("edge-vlm-135m")
    assert isinstance(next(events), Progress)
    events.close()
    assert ended.wait(240)


def test_a_better_model_is_offered_once_and_never_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del home
    monkeypatch.setattr(model_library, "_memory", lambda: 16 * 10**9)
    offered = ModelLibrary().offer("edge-vlm-135m")
    assert offered is not None
    assert offered.entry.name == "smolvlm-500m"
    assert ModelLibrary().offer("edge-vlm-135m") is None
    assert (paths.models_directory() / OFFERED_FILE).exists()


def test_only_a_model_that_fits_into_the_memory_is_offered(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del home
    monkeypatch.setattr(model_library, "_memory", lambda: 10**9)
    offered = ModelLibrary().offer("edge-vlm-135m")
    assert offered is not None
    assert offered.entry.name == "smolvlm-256m"
    monkeypatch.setattr(model_library, "_memory", lambda: 10**8)
    assert ModelLibrary().offer("edge-vlm-135m") is None


def test_a_model_without_a_better_one_offers_nothing(catalog: Path) -> None:
    assert ModelLibrary().offer("small") is None
    write(catalog.parent, 'better = ["not-in-the-catalog"]')
    assert ModelLibrary().offer("small") is None
    assert ModelLibrary().offer("unknown") is None
