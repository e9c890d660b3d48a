"""The chat over the real engine and the real default model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import PIL.Image
import pytest
import textual_image.widget
from textual.pilot import Pilot
from textual.widgets import Static

from edge_app.assistant import Assistant
from edge_app.engine.model_library import ModelLibrary
from edge_app.settings import Settings
from edge_app.storage.sessions import SessionStore
from edge_app.system import paths
from edge_app.system.battery import battery
from edge_app.system.offline import switch
from edge_app.tui.app import ChatApp
from edge_app.tui.conversation.answer_view import AnswerView
from edge_app.tui.dependencies import ChatDependencies
from models.hub.store import ModelFiles
from tests.edge_app.conftest import picture
from tests.edge_app.tui.conftest import type_text

pytestmark = pytest.mark.slow


@pytest.fixture
def app(
    model_files: ModelFiles, engine_cache: Path, home: Path, store: SessionStore, tmp_path: Path
) -> Iterator[ChatApp]:
    """A home of its own that shares the pulled model, and what was compiled for it, with earlier runs."""
    engine_cache.mkdir(parents=True, exist_ok=True)
    (home / "data").mkdir(parents=True, exist_ok=True)
    (home / "data" / "models").symlink_to(model_files.directory.parent)
    (home / "cache").symlink_to(engine_cache)
    settings = Settings(max_tokens=1500)  # a story is longer than it takes to press a key
    assistant = Assistant(settings, store)
    yield ChatApp(
        ChatDependencies(
            settings=settings,
            backend=assistant,
            models=ModelLibrary(),
            sessions=store,
            adapters=assistant.adapters.names,
            described=assistant.adapters.all,
            preview=textual_image.widget.HalfcellImage,
            clock=time.monotonic,
            decisions=lambda: assistant.decisions,
            battery=battery,
            offline=switch,
            config=paths.config_file(),
            defects=tmp_path / "chat-errors.log",
        )
    )
    assistant.close()


async def until_idle(pilot: Pilot[None], app: ChatApp) -> None:
    await pilot.pause(0.2)
    while any(worker.group in ("prepare", "attach", "send", "answer") for worker in app.workers):
        await pilot.pause(0.05)


async def test_a_photo_is_attached_asked_about_stopped_and_saved(
    app: ChatApp, store: SessionStore, tmp_path: Path
) -> None:
    photo: PIL.Image.Image = picture("#b02020", "#f0e0c0").resize((320, 240))
    photo.save(tmp_path / "photo.png")
    async with app.run_test() as pilot:
        app.chat.composer.attach([tmp_path / "photo.png"])
        await until_idle(pilot, app)
        await type_text(pilot, "What is in this picture?")
        await pilot.press("enter")
        await until_idle(pilot, app)
        answer = app.chat.query_one(AnswerView)
        assert answer.text.strip(), answer.query_one(".answer-line", Static).content
        assert "tokens/s" in str(answer.query_one(".answer-line", Static).content)

        asked, told = app.chat.session, answer.text
        await type_text(pilot, "/new")
        await pilot.press("enter")
        await until_idle(pilot, app)
        await type_text(pilot, "Write a long story about a fox.")
        app.simulate_key(
            "enter"
        )  # the pilot's keys wait up to two seconds each for a processor that is not busy
        while not any(view.text for view in app.chat.query(AnswerView)):
            await asyncio.sleep(0.01)
        app.simulate_key("escape")
        await until_idle(pilot, app)
        assert str(app.chat.query(".answer-line").last(Static).content).startswith("stopped")
    assert asked is not None
    assert app.chat.session is not None
    (first,) = store.get(asked).turns
    (second,) = store.get(app.chat.session).turns
    assert (first.status, second.status) == ("complete", "stopped")
    assert first.answer == told
    assert [image.name for image in first.images] == ["photo.png"]
