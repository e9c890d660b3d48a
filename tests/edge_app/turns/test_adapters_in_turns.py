"""Adapters in turns: the choice, the text that is read for one, and its lease while it answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from adapters.store.manifest import AdapterManifest, PromptPolicy, ReadsText, write_manifest
from edge_app import settings
from edge_app.assistant import Assistant, Turn
from edge_app.events import Answer, Answered, Event, Failed, ImageEncoded, Progress, Routed, TurnSaved
from edge_app.schemas.answer_schema import parse_schema
from edge_app.storage.sessions import SessionStore
from edge_app.system import paths
from models.core.errors import UserError
from models.core.types import Image, TextLine
from models.language.copying.policy import CopyPolicy
from models.ocr.page_layout import PageText
from models.ocr.reader import ReadingStopped
from tests.adapters.folders import put, remove
from tests.edge_app.conftest import png
from tests.edge_app.fakes import FakeEngine, FakeRouter

PAGE = PageText((TextLine("TOTAL 9.90", 0.99, (0.1, 0.1, 0.9, 0.2)),))


@dataclass
class FakeReader:
    """Finds the same text in every image. looks: called during a reading."""

    page: PageText | None = PAGE
    looks: Callable[[threading.Event | None], None] = lambda _: None
    read_all: int = 0
    read_documents: int = 0

    def read(self, image: Image, cancel: threading.Event | None = None) -> PageText:
        del image
        self.read_all += 1
        self.looks(cancel)
        return PAGE

    def read_document(self, image: Image, cancel: threading.Event | None = None) -> PageText | None:
        del image
        self.read_documents += 1
        self.looks(cancel)
        return self.page


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def router() -> FakeRouter:
    return FakeRouter()


@pytest.fixture
def reader() -> FakeReader:
    return FakeReader()


@pytest.fixture
def directory(home: Path) -> Path:
    for seed, name in enumerate(("medical", "receipts")):
        put(home / "data" / "adapters", name, seed)
    return home / "data" / "adapters"


@pytest.fixture
def assistant(
    store: SessionStore, engine: FakeEngine, router: FakeRouter, reader: FakeReader, directory: Path
) -> Iterator[Assistant]:
    del directory
    chosen = settings.load(paths.config_file())
    assistant = Assistant(chosen, store, engine.load, router=router, reader=reader)
    yield assistant
    assistant.close()


def final(events: list[Event]) -> Answer:
    assert isinstance(events[-1], Answered), events
    return events[-1].answer


def ask(assistant: Assistant, question: str = "What is this?", **turn: object) -> Answer:
    return final(list(assistant.answer(Turn(question, **turn))))  # type: ignore[arg-type]


def declare(
    directory: Path, name: str, ocr: ReadsText, words: bool = True, copies: CopyPolicy | None = None
) -> None:
    """Gives an adapter a manifest."""
    manifest = AdapterManifest(
        name, "1.0", "A test.", "edge-vlm-135m", "", reads=PromptPolicy(ocr, words), copies=copies,
        files=dict.fromkeys(("adapter_config.json", "adapter_model.safetensors"), "0" * 64),
    )  # fmt: skip
    (directory / name / "adapter.toml").write_bytes(write_manifest(manifest))


def leases(assistant: Assistant) -> int:
    engines = assistant._pool.residents().values()
    return sum(each.leases for engine in engines for each in engine.bank.residents())


# -- which one --------------------------------------------------------------------------------------------


def test_a_named_adapter_reaches_the_engine_and_the_answer_says_so(
    assistant: Assistant, engine: FakeEngine
) -> None:
    answer = ask(assistant, adapter="receipts")
    assert answer.adapter == "receipts"
    assert engine.calls[0].adapter is not None
    assert engine.calls[0].adapter.name == "receipts"
    assert ask(assistant, adapter="none").adapter is None
    assert engine.calls[1].adapter is None


def test_adapters_can_be_summed(assistant: Assistant, engine: FakeEngine) -> None:
    answer = ask(assistant, adapter="receipts:0.50, medical:0.5")
    assert answer.adapter == "receipts:0.5,medical:0.5"
    assert engine.calls[0].adapter is not None
    assert (engine.calls[0].adapter.name, engine.calls[0].adapter.lora.rank) == (
        "receipts:0.5,medical:0.5",
        32,
    )


@pytest.mark.parametrize(
    ("adapter", "sentence"),
    [
        ("recipts", "There is no adapter named 'recipts'; did you mean receipts?"),
        ("receipts:0.5,medicine:0.5", "There is no adapter named 'medicine'; did you mean medical?"),
        (
            "receipts:much",
            "'receipts:much' gives receipts the scale 'much'; a number from -10 to 10 is needed.",
        ),
    ],
)
def test_a_mistake_in_the_adapter_is_one_sentence_and_nothing_is_saved(
    assistant: Assistant, store: SessionStore, adapter: str, sentence: str
) -> None:
    assert list(assistant.answer(Turn("?", adapter=adapter))) == [Failed(sentence, 1)]
    assert store.recent() == ()


def test_auto_takes_what_the_router_chooses_once_the_image_was_looked_at(
    assistant: Assistant, router: FakeRouter, engine: FakeEngine
) -> None:
    events = list(assistant.answer(Turn("How many?", images=(png(),))))
    kinds = [type(event) for event in events if not isinstance(event, Progress)]
    assert kinds[:3] == [TurnSaved, ImageEncoded, Routed]
    (routed,) = [event for event in events if isinstance(event, Routed)]
    assert (routed.route.adapter, routed.route.probability) == ("medical", 0.9)
    assert routed.milliseconds > 0
    answer = final(events)
    assert (answer.adapter, "it looks like its examples" in answer.reason) == ("medical", True)
    assert engine.calls[0].adapter is not None
    ((query, installed),) = router.asked
    assert (query.question, query.image is not None) == ("How many?", True)
    assert tuple(installed) == ("medical", "receipts")


def test_auto_may_find_that_none_fits(assistant: Assistant, router: FakeRouter, engine: FakeEngine) -> None:
    router.adapter = None
    assert ask(assistant).adapter is None
    assert engine.calls[0].adapter is None


def test_a_later_question_is_routed_by_the_image_shown_last(assistant: Assistant, router: FakeRouter) -> None:
    session = ask(assistant, images=(png(),)).session
    ask(assistant, "And the date?", session=session)
    assert [query.image is not None for query, _ in router.asked] == [True, True]


def test_a_follow_up_is_routed_with_the_turn_that_it_follows(
    assistant: Assistant, router: FakeRouter
) -> None:
    session = ask(assistant, "How many?", images=(png("red"),)).session
    ask(assistant, "And its colour?", session=session)
    ask(assistant, "And these?", images=(png("blue"),), session=session)
    followed = [(query.previous_question, query.previous_adapter) for query, _ in router.asked]
    assert followed == [(None, None), ("How many?", "medical"), (None, None)]


def test_a_blind_turn_is_routed_blindly(assistant: Assistant, router: FakeRouter) -> None:
    ask(assistant, images=(png(),), see_images=False)
    assert [query.image is None for query, _ in router.asked] == [True]


def test_without_adapters_nothing_is_looked_for(
    assistant: Assistant, router: FakeRouter, directory: Path
) -> None:
    remove(directory, "medical")
    remove(directory, "receipts")
    events = list(assistant.answer(Turn("?", images=(png(),))))
    assert [type(event) for event in events[:2]] == [TurnSaved, Routed]
    assert router.asked == []


def test_route_only_says_what_would_be_chosen(
    assistant: Assistant, engine: FakeEngine, store: SessionStore
) -> None:
    (routed,) = assistant.route(Turn("?", images=(png(),)))
    assert isinstance(routed, Routed)
    assert routed.route.adapter == "medical"
    (named,) = assistant.route(Turn("?", adapter="receipts"))
    assert isinstance(named, Routed)
    assert named.route.adapter == "receipts"
    assert isinstance(next(assistant.route(Turn("?", adapter="nobody"))), Failed)
    assert engine.calls == []
    assert store.recent() == ()


# -- while it is in use -----------------------------------------------------------------------------------


def test_an_adapter_removed_while_it_answers_answers_on(
    assistant: Assistant, engine: FakeEngine, directory: Path
) -> None:
    engine.before_token = lambda number: remove(directory, "receipts") if number == 1 else None
    assert ask(assistant, adapter="receipts").text == "A cat."
    (failed,) = assistant.answer(Turn("?", adapter="receipts"))
    assert isinstance(failed, Failed)
    assert "'receipts'" in failed.message
    assert leases(assistant) == 0


def test_an_adapter_replaced_while_it_answers_is_the_new_one_for_the_next_turn(
    assistant: Assistant, engine: FakeEngine, directory: Path
) -> None:
    def replace(number: int) -> None:
        if number == 1:
            put(directory, "receipts", 9)

    engine.before_token = replace
    ask(assistant, adapter="receipts")
    engine.before_token = lambda _: None
    ask(assistant, adapter="receipts")
    first, second = (call.adapter for call in engine.calls)
    assert first is not None and second is not None
    assert first.generation != second.generation


def test_a_damaged_adapter_is_one_sentence(
    assistant: Assistant, directory: Path, store: SessionStore
) -> None:
    (directory / "receipts" / "adapter_model.safetensors").write_bytes(b"damaged")
    last = list(assistant.answer(Turn("?", adapter="receipts")))[-1]
    assert isinstance(last, Failed)
    assert "adapter_model.safetensors" in last.message
    assert store.get(store.latest()).turns[0].error == last.message
    assert leases(assistant) == 0


@pytest.mark.parametrize("way", ["cancel", "mistake", "defect", "leave"])
def test_however_an_answer_ends_its_adapter_is_released(
    assistant: Assistant, engine: FakeEngine, way: str
) -> None:
    def happens(number: int) -> None:
        if number == 1:
            assert leases(assistant) == 1
            if way == "cancel":
                assistant.cancel()
            elif way != "leave":
                raise UserError("The disk is full.") if way == "mistake" else ZeroDivisionError

    engine.before_token = happens
    events = assistant.answer(Turn("?", adapter="receipts"))
    if way == "leave":
        next(events)
        events.close()
    elif way == "defect":
        with pytest.raises(ZeroDivisionError):
            list(events)
    else:
        list(events)
    assert leases(assistant) == 0


def test_prefetching_loads_the_adapter_and_reports_no_errors(assistant: Assistant) -> None:
    assistant.prefetch("receipts")  # there is no engine yet
    ask(assistant, adapter="none")
    for adapter in ("auto", "none", "nobody", "a,,b"):
        assistant.prefetch(adapter)
    assistant.prefetch("receipts")
    (resident,) = assistant._pool.residents().values()
    bank = resident.bank
    bank.close()  # waits for what is under way
    assert [each.spec for each in bank.residents()] == ["receipts"]


# -- reading the text in images ---------------------------------------------------------------------------


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
    page = png()
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
    import io

    import PIL.Image
    import PIL.ImageDraw

    page = PIL.Image.new("RGB", (300, 400), "white")
    draw = PIL.ImageDraw.Draw(page)
    for top in range(20 + shift, 380, 20):
        for left in range(20, 280, 8):
            draw.line((left, top, left, top + 10), fill="black", width=2)
    buffer = io.BytesIO()
    page.save(buffer, "PNG")
    return buffer.getvalue()
