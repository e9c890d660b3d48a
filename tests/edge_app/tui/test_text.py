"""What the chat says of progress, sizes and answers, in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edge_app.events import Progress
from edge_app.tui.text import answer_line, file_size, is_unsure, progress_text
from models.core.types import Stage
from tests.edge_app.tui.conftest import ANSWER


@pytest.mark.parametrize(("count", "text"), [(999, "999 bytes"), (32_400, "32 kB"), (3_250_000, "3.2 MB")])
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
    ],
)
def test_progress_says_how_far_it_is(
    stage: Stage, message: str, done: int, total: int | None, text: str
) -> None:
    assert progress_text(Progress(stage, message, done, total)) == text


def test_an_answers_line_names_model_adapter_confidence_speed_and_first_token() -> None:
    assert answer_line(ANSWER) == (
        "edge-vlm-135m · no adapter · confidence 0.90 · 12 tokens · 181 tokens/s · first token 0.21 s"
    )
    assert "adapter receipts" in answer_line(replace(ANSWER, adapter="receipts"))
    remote = answer_line(replace(ANSWER, place="cloud", model="big"))
    assert remote == "big · 12 tokens · 181 tokens/s · first token 0.21 s"


@pytest.mark.parametrize(
    ("changes", "unsure"),
    [
        ({"confidence": 0.9}, False),
        ({"confidence": 0.49}, True),  # likelier wrong than right
        ({"confidence": 0.6, "offer": "ask_cloud"}, True),  # not enough for its mode
        ({"confidence": None}, False),
        ({"confidence": 0.2, "place": "cloud"}, False),  # of the local answer that it took the place of
    ],
)
def test_which_answers_are_unsure(changes: dict[str, Any], unsure: bool) -> None:
    answer = replace(ANSWER, **changes)
    assert is_unsure(answer) == unsure
    assert (", low" in answer_line(answer)) == unsure


def test_an_answers_line_begins_with_why_it_is_not_whole() -> None:
    assert answer_line(replace(ANSWER, stop_reason="cancelled")).startswith("stopped · ")
    assert answer_line(replace(ANSWER, stop_reason="length")).startswith("cut off")
    assert answer_line(replace(ANSWER, stop_reason="content_filter")).startswith(
        "ended by the cloud's filter"
    )
