"""What the chat says of progress and sizes, in words."""

from __future__ import annotations

import pytest

from edge_app.events import Progress
from edge_app.tui.text import download_text, file_size, progress_text
from models.core.types import Stage


@pytest.mark.parametrize(
    ("count", "text"),
    [(999, "999 bytes"), (32_400, "32 kB"), (3_250_000, "3.2 MB"), (1_705_100_000, "1.7 GB")],
)
def test_file_sizes(count: int, text: str) -> None:
    assert file_size(count) == text


@pytest.mark.parametrize(
    ("stage", "message", "done", "total", "text"),
    [
        ("pull", "edge-vlm-135m", 49_000_000, 98_000_000, "edge-vlm-135m: 50% of 98.0 MB"),
        ("pull", "", 1_500_000, None, "Downloading the model: 1.5 MB"),
        ("compile", "Compiling the model…", 0, None, "Compiling the model"),
        ("pack", "", 15, 30, "Packing the weights: 50%"),
        ("encode", "Looking at \x1b[31mcat.png", 0, 1, "Looking at [31mcat.png"),
        ("encode", "Looking at cat.png", 2, 13, "Looking at cat.png, tile 3 of 13"),
        ("encode", "Looking at cat.png", 13, 13, "Looking at cat.png, tile 13 of 13"),
    ],
)
def test_progress_says_how_far_it_is(
    stage: Stage, message: str, done: int, total: int | None, text: str
) -> None:
    assert progress_text(Progress(stage, message, done, total)) == text


def test_a_download_is_a_share_or_what_it_waits_for() -> None:
    half = Progress("pull", "Downloading small: small.gguf", 50, 100)
    assert download_text("small", half) == "downloading small: 50%"
    waits = Progress("pull", "Another process is working on small; waiting for it", 0, None)
    assert download_text("small", waits) == waits.message
