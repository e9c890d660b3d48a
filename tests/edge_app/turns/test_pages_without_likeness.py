"""A question that is surely one about a page goes to the adapter for any page when the image has lines of text."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from adapters.store.manifest import AdapterManifest, write_manifest
from edge_app.assistant import Assistant, Turn
from edge_app.events import Failed
from edge_app.turns.adapter_choice import LIKE_A_PAGE, SURE_QUESTION
from models.ocr.reader import GLANCE_LINES, ReadingStopped
from router.choice import Candidate, Choice, Query
from router.types import Reason
from tests.edge_app.conftest import png
from tests.edge_app.fakes import FakeEngine, ask
from tests.edge_app.turns.conftest import FakeReader

NONE = Reason("no_adapter_suits", {"adapter": "receipts", "image": -0.1, "question": 0.99})


@dataclass
class Undecided:
    """Chooses no adapter, with one candidate."""

    candidate: Candidate = field(default_factory=lambda: Candidate("receipts", -0.5, -0.1, 0.99))
    asked: list[Query] = field(default_factory=list)

    def choose(self, query: Query, installed: Collection[str]) -> Choice:
        del installed
        self.asked.append(query)
        return Choice(None, 0.6, NONE, (self.candidate,))


@pytest.fixture
def router() -> Undecided:
    return Undecided()


@pytest.fixture(autouse=True)
def for_any_page(directory: Path) -> None:
    manifest = AdapterManifest(
        "receipts", "1.0", "A test.", "edge-vlm-135m", "", any_page=True,
        files=dict.fromkeys(("adapter_config.json", "adapter_model.safetensors"), "0" * 64),
    )  # fmt: skip
    (directory / "receipts" / "adapter.toml").write_bytes(write_manifest(manifest))


def test_an_image_with_lines_of_text_goes_to_the_adapter_for_any_page(
    assistant: Assistant, engine: FakeEngine, reader: FakeReader
) -> None:
    reader.lines = GLANCE_LINES
    answer = ask(assistant, "What is the tracking number?", images=(png(),))
    assert (answer.adapter, len(engine.calls)) == ("receipts", 1)
    assert "the image is a page of text, and receipts answers such questions" in answer.reason


def test_an_image_without_them_goes_to_none(assistant: Assistant, reader: FakeReader) -> None:
    reader.lines = GLANCE_LINES - 1
    assert ask(assistant, "What is the tracking number?", images=(png(),)).adapter is None


@pytest.mark.parametrize(
    "candidate",
    [
        Candidate("receipts", -0.5, -0.1, SURE_QUESTION - 0.01),
        Candidate("receipts", -0.5, LIKE_A_PAGE - 0.01, 0.99),
        Candidate("receipts", -0.5, None, 0.99),
        Candidate("receipts", -0.5, -0.1, None),
        Candidate("medical", -0.5, -0.1, 0.99),
    ],
)
def test_without_a_sure_question_and_some_likeness_the_image_is_not_looked_at(
    assistant: Assistant, reader: FakeReader, router: Undecided, candidate: Candidate
) -> None:
    def looks(_: object) -> None:
        raise AssertionError

    router.candidate, reader.lines, reader.looks = candidate, GLANCE_LINES, looks
    choice = list(assistant.route(Turn("What is the tracking number?", images=(png(),))))
    assert not any(isinstance(event, Failed) for event in choice)


def test_a_question_without_an_image_is_not_looked_at(assistant: Assistant, reader: FakeReader) -> None:
    reader.lines = GLANCE_LINES
    assert ask(assistant, "What is the tracking number?").adapter is None


def test_a_look_that_is_stopped_ends_the_turn(assistant: Assistant, reader: FakeReader) -> None:
    def looks(_: object) -> None:
        raise ReadingStopped

    reader.lines, reader.looks = GLANCE_LINES, looks
    answer = ask(assistant, "What is the tracking number?", images=(png(),))
    assert answer.stop_reason == "cancelled"
