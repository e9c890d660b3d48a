"""A request to read the text in an image is answered with that text; no model takes part in it."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import PIL.Image
import PIL.ImageDraw
import pytest

from edge_app import settings
from edge_app.assistant import Assistant, Turn
from edge_app.events import Event, Failed, Routed, TokenText
from edge_app.storage.sessions import SessionStore
from edge_app.system import paths
from edge_app.turns.replies.text_replies import FIELD_RIGHT, NO_TEXT, share_right
from models.core.errors import UserError
from models.core.types import Image, TextLine
from models.ocr.page_layout import PageText
from models.ocr.reader import ReadingStopped
from tests.adapters.folders import put
from tests.edge_app.conftest import png
from tests.edge_app.fakes import FakeEngine, FakeRouter, final

PAGE = PageText(
    (
        TextLine("ACME", 0.9, (0.1, 0.1, 0.3, 0.2)),
        TextLine("TOTAL", 0.8, (0.1, 0.4, 0.3, 0.5)),
        TextLine("9.90", 0.8, (0.6, 0.4, 0.8, 0.5)),
    )
)


@dataclass
class FakeReader:
    """Finds the same text in every image. document: what is found when only documents are read. error: raised."""

    page: PageText = PAGE
    document: PageText | None = None
    error: Exception | None = None

    def read(self, image: Image, cancel: threading.Event | None = None) -> PageText:
        del image, cancel
        if self.error is not None:
            raise self.error
        return self.page

    def read_document(self, image: Image, cancel: threading.Event | None = None) -> PageText | None:
        del image, cancel
        return self.document


@pytest.fixture
def reader() -> FakeReader:
    return FakeReader()


@pytest.fixture
def assistant(store: SessionStore, engine: FakeEngine, reader: FakeReader, home: Path) -> Iterator[Assistant]:
    put(home / "data" / "adapters", "receipts", 1)
    chosen = settings.load(paths.config_file())
    assistant = Assistant(chosen, store, engine.load, router=FakeRouter(), reader=reader)
    yield assistant
    assistant.close()


def drawn_page() -> bytes:
    """White, with thin lines, as a page of text has."""
    picture = PIL.Image.new("RGB", (200, 200), "white")
    for x in range(10, 200, 20):
        PIL.ImageDraw.Draw(picture).line((x, 20, x, 180), "black", 2)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def events_of(assistant: Assistant, question: str = "Read the text.", **turn: object) -> list[Event]:
    return list(assistant.answer(Turn(question, **{"images": (png(),), **turn})))  # type: ignore[arg-type]


@pytest.mark.parametrize("adapter", ["auto", "none", "receipts"])
def test_the_answer_is_the_read_text(
    assistant: Assistant, engine: FakeEngine, store: SessionStore, adapter: str
) -> None:
    events = events_of(assistant, adapter=adapter)
    answer = final(events)
    assert answer.text == "ACME\nTOTAL 9.90"
    assert "".join(event.text for event in events if isinstance(event, TokenText)) == answer.text
    assert (answer.place, answer.adapter, answer.declined, answer.calibrated) == ("local", None, False, False)
    assert (answer.reason, answer.reason_kind) == ("local: the text that was read in the image", "text_read")
    assert answer.confidence == pytest.approx(share_right(PAGE.probability))
    assert not engine.calls and not engine.encoded
    assert store.get(store.latest()).turns[-1].answer == answer.text


def test_text_is_vouched_for_less_than_the_recogniser_does_and_less_where_it_is_unsure() -> None:
    shares = [share_right(recognition) for recognition in (0.0, 0.6, 0.9, 0.98)]
    assert shares == sorted(shares)
    assert all(
        0 < share < recognition for share, recognition in zip(shares[1:], (0.6, 0.9, 0.98), strict=True)
    )


def test_the_route_is_told_once(assistant: Assistant) -> None:
    (routed,) = [event for event in events_of(assistant) if isinstance(event, Routed)]
    assert (routed.route.adapter, routed.route.place, routed.route.reason_kind) == (
        None,
        "local",
        "text_read",
    )


def test_an_image_without_text_is_declined(assistant: Assistant, reader: FakeReader) -> None:
    reader.page = PageText(())
    answer = final(events_of(assistant))
    assert (answer.text, answer.declined, answer.confidence) == (NO_TEXT, True, None)


def test_the_image_of_an_earlier_question_is_read(assistant: Assistant) -> None:
    first = final(events_of(assistant, "What is this?", adapter="none"))
    answer = final(events_of(assistant, "Read it to me.", images=(), session=first.session))
    assert answer.text == "ACME\nTOTAL 9.90"


def test_another_question_is_for_the_model(assistant: Assistant, engine: FakeEngine) -> None:
    assert final(events_of(assistant, "What is the total?", adapter="receipts")).text == "A cat."
    assert engine.calls


def test_an_unreadable_image_is_an_error(assistant: Assistant, reader: FakeReader) -> None:
    reader.error = UserError("The text in it cannot be read.")
    assert events_of(assistant)[-1] == Failed("The text in it cannot be read.", 1)


def test_a_stopped_reading_is_a_stopped_answer(assistant: Assistant, reader: FakeReader) -> None:
    reader.error = ReadingStopped()
    answer = final(events_of(assistant))
    assert (answer.text, answer.stop_reason) == ("", "cancelled")


LINES = PageText(
    tuple(
        TextLine(text, 0.8, (0.1, 0.05 * n, 0.9, 0.05 * n + 0.03))
        for n, text in enumerate(
            ("Harbour Office", "Phone: 0123 456789", "a", "b", "c", "d", "e", "f", "The last boat")
        )
    )
)


def test_a_labelled_field_is_answered_without_the_model(
    assistant: Assistant, engine: FakeEngine, reader: FakeReader
) -> None:
    reader.document = LINES
    answer = final(events_of(assistant, "What is the phone number?", adapter="none", images=(drawn_page(),)))
    assert (answer.text, answer.adapter, answer.declined) == ("0123 456789", None, False)
    assert answer.confidence == pytest.approx(FIELD_RIGHT * 0.8)
    assert answer.reason == "local: read in a labelled field; confidence 0.52"
    assert not engine.calls


def test_an_adapter_answers_questions_about_fields_itself(assistant: Assistant, reader: FakeReader) -> None:
    reader.document = LINES
    assert (
        final(
            events_of(assistant, "What is the phone number?", adapter="receipts", images=(drawn_page(),))
        ).text
        == "A cat."
    )


def test_the_plain_model_gets_the_lines_nearest_to_the_question(
    assistant: Assistant, engine: FakeEngine, reader: FakeReader
) -> None:
    reader.document = LINES
    final(events_of(assistant, "Which boat is it?", adapter="none", images=(drawn_page(),)))
    (call,) = engine.calls
    (text,) = call.texts.values()
    assert text.split("\n") == ["Harbour Office", "Phone: 0123 456789", "a", "b", "c", "The last boat"]
    assert not call.use_words


def test_a_photo_is_asked_about_as_before(assistant: Assistant, engine: FakeEngine) -> None:
    final(events_of(assistant, "What is the phone number?", adapter="none"))
    (call,) = engine.calls
    assert not call.texts
    assert call.use_words
