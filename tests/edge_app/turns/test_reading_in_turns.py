"""The text in images in turns: when it is read, and whom it reaches."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import PIL.Image
import PIL.ImageDraw
import pytest

from adapters.store.manifest import AdapterManifest, PromptPolicy, ReadsText, write_manifest
from edge_app.assistant import Assistant, Turn
from edge_app.events import Event, Failed, Progress
from edge_app.schemas.answer_schema import parse_schema
from models.core.errors import UserError
from models.language.copying.policy import CopyPolicy
from models.ocr.reader import ReadingStopped
from tests.edge_app.conftest import png
from tests.edge_app.fakes import FakeEngine, ask, final
from tests.edge_app.turns.conftest import FakeReader, leases


def declare(
    directory: Path, name: str, ocr: ReadsText, words: bool = True, copies: CopyPolicy | None = None
) -> None:
    """Gives an adapter a manifest."""
    manifest = AdapterManifest(
        name, "1.0", "A test.", "edge-vlm-135m", "", reads=PromptPolicy(ocr, words), copies=copies,
        files=dict.fromkeys(("adapter_config.json", "adapter_model.safetensors"), "0" * 64),
    )  # fmt: skip
    (directory / name / "adapter.toml").write_bytes(write_manifest(manifest))


def read_events(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Progress) and event.stage == "read"]


def test_an_adapter_that_always_reads_gets_the_text_of_every_image_once(
    assistant: Assistant, engine: FakeEngine, reader: FakeReader, directory: Path, tmp_path: Path
) -> None:
    declare(directory, "receipts", "always")
    (tmp_path / "receipt.png").write_bytes(png())
    events = list(assistant.answer(Turn("Total?", images=(tmp_path / "receipt.png",), adapter="receipts")))
    assert read_events(events) == ["Reading the text in receipt.png"]
    (text,) = engine.calls[0].texts.values()
    assert text == "TOTAL 9.90"
    ask(assistant, "And the date?", adapter="receipts", session=final(events).session)
    assert engine.calls[1].texts == engine.calls[0].texts
    assert reader.read_all == 1


def test_a_document_is_read_while_the_question_is_still_typed(
    assistant: Assistant, engine: FakeEngine, reader: FakeReader, directory: Path
) -> None:
    declare(directory, "receipts", "always")
    page = document()
    assert len(read_events(list(assistant.prepare([png(), page])))) == 1
    for adapter in ("none", "receipts"):  # the text of a document is kept for both
        assert read_events(list(assistant.answer(Turn("?", images=(page,), adapter=adapter)))) == []
    assert [list(call.texts.values()) for call in engine.calls] == [["TOTAL 9.90"]] * 2
    assert (reader.read_documents, reader.read_all) == (1, 0)


def test_the_engine_is_told_how_an_adapter_copies_but_not_beside_a_schema_or_in_a_sum(
    assistant: Assistant, engine: FakeEngine, directory: Path
) -> None:
    copies = CopyPolicy(("Not there.",), margin=1.5)
    declare(directory, "receipts", "always", copies=copies)
    page = document()
    ask(assistant, images=(page,), adapter="receipts")
    ask(assistant, images=(page,), adapter="receipts:0.5,medical:0.5")
    ask(assistant, images=(page,), adapter="none")
    assert [call.copying for call in engine.calls] == [copies, None, None]
    schema = parse_schema({"type": "array", "items": {"type": "string"}})
    list(assistant.answer(Turn("?", images=(page,), adapter="receipts", schema=schema)))
    assert (engine.calls[3].copying, engine.calls[3].grammar is None) == (None, False)


def test_an_adapter_that_never_reads_gets_no_text(
    assistant: Assistant, engine: FakeEngine, reader: FakeReader, directory: Path
) -> None:
    declare(directory, "medical", "never")
    assert read_events(list(assistant.answer(Turn("?", images=(document(),), adapter="medical")))) == []
    assert engine.calls[0].texts == {}
    assert reader.read_documents == 0


@pytest.mark.parametrize("adapter", ["none", "receipts"])
def test_otherwise_documents_are_read_and_photos_are_not(
    assistant: Assistant, engine: FakeEngine, reader: FakeReader, adapter: str
) -> None:
    photo = list(assistant.answer(Turn("?", images=(png(),), adapter=adapter)))
    assert (read_events(photo), engine.calls[0].texts) == ([], {})
    page = list(assistant.answer(Turn("?", images=(document(),), adapter=adapter)))
    assert len(read_events(page)) == 1
    assert list(engine.calls[1].texts.values()) == ["TOTAL 9.90"]
    reader.page = None
    ask(assistant, images=(document(shift=3),), adapter=adapter)
    assert engine.calls[2].texts == {}


def test_a_blind_turn_reads_nothing(assistant: Assistant, engine: FakeEngine, directory: Path) -> None:
    declare(directory, "receipts", "always")
    ask(assistant, images=(png(),), adapter="receipts", see_images=False)
    assert engine.calls[0].texts == {}


def test_reading_can_be_stopped(
    assistant: Assistant, reader: FakeReader, directory: Path, engine: FakeEngine
) -> None:
    declare(directory, "receipts", "always")

    def looks(cancel: threading.Event | None) -> None:
        assistant.cancel()
        assert cancel is not None and cancel.is_set()
        raise ReadingStopped

    reader.looks = looks
    answer = ask(assistant, images=(png(),), adapter="receipts")
    assert (answer.stop_reason, answer.adapter) == ("cancelled", "receipts")
    assert engine.calls == []
    assert leases(assistant) == 0


def test_text_that_cannot_be_read_is_one_sentence(
    assistant: Assistant, reader: FakeReader, directory: Path
) -> None:
    declare(directory, "receipts", "always")

    def looks(_: threading.Event | None) -> None:
        raise UserError("The text cannot be read.")

    reader.looks = looks
    assert list(assistant.answer(Turn("?", images=(png(),), adapter="receipts")))[-1] == Failed(
        "The text cannot be read.", 1
    )


def document(shift: int = 0) -> bytes:
    """White, with rows of thin black strokes."""
    page = PIL.Image.new("RGB", (300, 400), "white")
    draw = PIL.ImageDraw.Draw(page)
    for top in range(20 + shift, 380, 20):
        for left in range(20, 280, 8):
            draw.line((left, top, left, top + 10), fill="black", width=2)
    buffer = io.BytesIO()
    page.save(buffer, "PNG")
    return buffer.getvalue()
