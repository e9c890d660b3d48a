"""Takes the screenshot of the chat for the README, with the real model and one question about one image.

    python docs/screenshot.py IMAGE QUESTION OUT.svg

No chat is saved.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path

from textual_image.widget import HalfcellImage

from edge_app.assistant import Assistant
from edge_app.engine.model_library import ModelLibrary
from edge_app.settings import load
from edge_app.system import paths
from edge_app.system.battery import battery
from edge_app.system.offline import switch
from edge_app.tui.app import DEFECTS_FILE, ChatApp
from edge_app.tui.dependencies import ChatDependencies

SIZE = (96, 30)
"""Columns and lines of the terminal."""


async def take(image: Path, question: str, out: Path) -> None:
    settings = load(paths.config_file())
    assistant = Assistant(settings, None)
    dependencies = ChatDependencies(
        settings=settings,
        backend=assistant,
        models=ModelLibrary(),
        sessions=None,
        adapters=assistant.adapters.names,
        described=assistant.adapters.all,
        preview=HalfcellImage,
        clock=time.monotonic,
        decisions=lambda: assistant.decisions,
        battery=battery,
        offline=switch,
        config=paths.config_file(),
        defects=paths.cache_directory() / DEFECTS_FILE,
    )
    app = ChatApp(dependencies)
    try:
        async with app.run_test(size=SIZE) as pilot:
            for _ in range(2):  # the second time without the messages of loading
                await app.chat.action_new()
                app.chat.composer.attach([image])
                await _idle(app)
                app.chat.composer.prompt.recall(question)
                await pilot.press("enter")
                await _idle(app)
                await pilot.pause(0.2)
            out.write_text(app.export_screenshot(title="edge-app"), encoding="utf-8")
    finally:
        assistant.close()


async def _idle(app: ChatApp) -> None:
    """Waits until the model is loaded, the images are encoded, and the answer has ended."""
    await asyncio.sleep(0.2)
    while any(worker.group in ("prepare", "attach", "send", "answer") for worker in app.workers):
        await asyncio.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", type=Path)
    parser.add_argument("question")
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    asyncio.run(take(given.image, given.question, given.out))


if __name__ == "__main__":
    main()
