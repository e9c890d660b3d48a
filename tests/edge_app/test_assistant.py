"""One turn in, a stream of events out, also when it is stopped or fails. The engine is a fake, because only the order
of events matters here."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edge_app import settings
from edge_app.assistant import Assistant, Turn
from edge_app.events import (
    Answer,
    Answered,
    ContextTrimmed,
    Event,
    Failed,
    ImageEncoded,
    Progress,
    Ready,
    Routed,
    TokenText,
    TurnSaved,
)
from edge_app.storage.sessions import SessionStore
from edge_app.system import paths
from edge_app.turns.images import pictures as context
from models.core.errors import NeedsNetwork, UserError
from models.core.images import load_image
from models.core.types import Image, no_progress
from models.core.types import Progress as Report
from models.engine import PackedAdapter
from router.confidence.rule import Confidence, bundled_rule
from tests.edge_app.conftest import png, saved_image_names
from tests.edge_app.fakes import FakeEngine, FakeTokens


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def assistant(store: SessionStore, engine: FakeEngine) -> Iterator[Assistant]:
    assistant = Assistant(settings.load(paths.config_file()), store, engine.load)
    yield assistant
    assistant.close()


def final(events: list[Event]) -> Answer:
    assert isinstance(events[-1], Answered), events
    return events[-1].answer


def ask(assistant: Assistant, question: str = "What is this?", **turn: object) -> Answer:
    return final(list(assistant.answer(Turn(question, **turn))))  # type: ignore[arg-type]


# -- the stream -------------------------------------------------------------------------------------------


def test_events_come_in_their_order_and_add_up_to_the_answer(
    assistant: Assistant, engine: FakeEngine
) -> None:
    engine.loading = lambda report: report("load", "Loading", 0, None)
    events = list(assistant.answer(Turn("What is this?", images=(png(),))))
    kinds = [type(event) for event in events]
    assert kinds == [
        *(TurnSaved, Routed, Progress, Progress, ImageEncoded, Progress),
        *(TokenText, TokenText, TokenText, Answered),
    ]
    answer = final(events)
    assert answer.text == "A cat." == "".join(e.text for e in events if isinstance(e, TokenText))
    assert answer.evidence is not None
    assert answer.confidence == Confidence(bundled_rule()).judge(answer.evidence).probability
    assert answer.stop_reason == "stop"
    assert (answer.tokens.prompt, answer.tokens.image, answer.tokens.cached, answer.tokens.completion) == (
        20,
        4,
        2,
        3,
    )
    assert answer.tokens_per_second == pytest.approx(200)  # two decodes in 10 ms
    assert 0 < answer.timings.first_token < answer.timings.total  # type: ignore[operator]


def test_the_json_object_has_exactly_the_keys_that_scripts_rely_on(assistant: Assistant) -> None:
    printed = ask(assistant).as_json()
    assert set(printed) == {
        *(
            "answer",
            "adapter",
            "place",
            "mode",
            "confidence",
            "declined",
            "calibrated",
            "reason",
            "reason_kind",
            "model",
            "stop_reason",
            "tokens",
        ),
        *("timing_ms", "tokens_per_second", "session", "kept", "broken", "precision"),
    }
    assert set(printed["tokens"]) == {"prompt", "image", "cached", "completion"}
    assert set(printed["timing_ms"]) == {"route", "image", "prefill", "first_token", "total"}


def test_the_model_can_be_changed_between_turns(assistant: Assistant, engine: FakeEngine) -> None:
    assert ask(assistant).model == "edge-vlm-135m"
    assistant.use_model("smolvlm-256m")
    assert ask(assistant).model == "smolvlm-256m"
    assert not engine.closed
    assert ask(assistant, "Who are you?").text.count("smolvlm-256m")


def test_nothing_happens_before_the_first_event_is_asked_for(
    assistant: Assistant, engine: FakeEngine
) -> None:
    assistant.answer(Turn("?"))
    assert not engine.threads
    assert assistant.sessions is not None
    assert assistant.sessions.recent() == ()


def test_the_engine_only_ever_runs_on_its_own_thread(assistant: Assistant, engine: FakeEngine) -> None:
    ask(assistant, images=(png(),))
    list(assistant.prepare([png("blue")]))
    ask(assistant)
    assistant.close()
    assert engine.threads == {"inference"}
    assert engine.closed


def test_dropped_turns_are_told(assistant: Assistant, engine: FakeEngine) -> None:
    engine.dropped_turns = 3
    assert ContextTrimmed(3) in list(assistant.answer(Turn("?")))


def test_quality_mode_without_a_cloud_answers_here_and_says_why(assistant: Assistant) -> None:
    answer = ask(assistant, mode="quality")
    assert (answer.place, answer.mode) == ("local", "quality")
    assert "no cloud is set up" in answer.reason
    assert "cloud" not in ask(assistant, mode="fast").reason


def test_the_settings_sampling_is_used_unless_the_turn_has_its_own(
    store: SessionStore, engine: FakeEngine
) -> None:
    chosen = settings.load(paths.config_file(), temperature=0.7, seed=5, max_tokens=9)
    assistant = Assistant(chosen, store, engine.load)
    ask(assistant)
    assert (engine.calls[0].sampling.temperature, engine.calls[0].sampling.seed) == (0.7, 5)
    assert engine.calls[0].sampling.max_tokens == 9
    assistant.close()


# -- context ----------------------------------------------------------------------------------------------


def test_a_session_s_history_and_images_stay_in_view(
    assistant: Assistant, engine: FakeEngine, tmp_path: Path
) -> None:
    photo = tmp_path / "cat.png"
    photo.write_bytes(png())
    session = ask(assistant, "What is this?", images=(photo,)).session
    photo.unlink()  # the session has its own copy
    ask(assistant, "What colour is it?", session=session)
    messages = engine.calls[-1].messages
    assert [(m.role, m.text, len(m.images)) for m in messages] == [
        ("user", "What is this?", 1),
        ("assistant", "A cat.", 0),
        ("user", "What colour is it?", 0),
    ]
    assert messages[0].images[0].name == "cat.png"
    assert len(engine.encoded) == 1


def test_what_the_engine_has_encoded_is_never_decoded_again(
    assistant: Assistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "DECODED_BYTES", 300)
    session = ask(assistant, images=tuple(png(size=(8, 6 + n)) for n in range(4))).session

    def load(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(context, "load_image", load)
    for _ in range(2):
        ask(assistant, session=session)


def test_another_process_can_take_the_session_up_with_its_image(
    store: SessionStore, assistant: Assistant, engine: FakeEngine
) -> None:
    session = ask(assistant, images=(png(),)).session
    elsewhere = FakeEngine()
    other = Assistant(assistant.settings, store, elsewhere.load)
    events = list(other.answer(Turn("And?", session=session)))
    assert elsewhere.calls[0].messages[0].images[0].digest == engine.encoded[0]
    assert any(isinstance(event, ImageEncoded) for event in events)
    other.close()


def test_an_image_of_an_unanswered_turn_goes_with_the_next_question(
    assistant: Assistant, engine: FakeEngine
) -> None:
    def fail(_: int) -> None:
        raise UserError("Something is in the way.")

    engine.before_token = fail
    events = list(assistant.answer(Turn("What is this?", images=(png(),))))
    assert isinstance(events[0], TurnSaved)
    engine.before_token = lambda _: None
    ask(assistant, "And now?", session=events[0].session)
    assert [(m.role, m.text, len(m.images)) for m in engine.calls[-1].messages] == [("user", "And now?", 1)]


def test_the_system_prompt_belongs_to_the_session(assistant: Assistant, engine: FakeEngine) -> None:
    session = ask(assistant, system="Be brief.").session
    ask(assistant, session=session)
    assert engine.calls[-1].messages[0].text == "Be brief."
    ask(assistant, session=session, system="Be long.")
    ask(assistant, session=session)
    assert engine.calls[-1].messages[0].text == "Be long."


def test_blind_turns_encode_nothing(assistant: Assistant, engine: FakeEngine) -> None:
    ask(assistant, images=(png(),), see_images=False, use_words=False)
    assert engine.encoded == []
    assert (engine.calls[0].see_images, engine.calls[0].use_words) == (False, False)


def test_a_decoded_image_is_saved_so_that_it_can_be_read_again(
    assistant: Assistant, engine: FakeEngine
) -> None:
    decoded = load_image(png("green"))
    session = ask(assistant, images=(decoded,)).session
    assert assistant.sessions is not None and session is not None
    (saved,) = assistant.sessions.get(session).turns[0].images
    assert (load_image(saved.file).pixels == decoded.pixels).all()
    assert engine.encoded == [saved.digest]


def test_without_a_store_every_turn_stands_alone(engine: FakeEngine, home: Path) -> None:
    assistant = Assistant(settings.load(paths.config_file()), None, engine.load)
    assert ask(assistant, images=(png(),)).session is None
    assert not (home / "data" / "sessions.db").exists()
    assistant.close()


# -- mistakes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("turn", "words"),
    [
        (Turn("?", images=(Path("missing.png"),)), "missing.png"),
        (Turn("?", images=(b"not an image",)), "image"),
        (Turn("?", images=(png(), b"")), "image"),
        (Turn("  \n"), "empty"),
        (Turn("?", adapter="nobody"), "nobody"),
        (Turn("?", session="f00"), "f00"),
    ],
)
def test_a_mistake_is_one_failure_and_nothing_is_saved(assistant: Assistant, turn: Turn, words: str) -> None:
    (event,) = list(assistant.answer(turn))
    assert isinstance(event, Failed)
    assert event.exit_code == 1
    assert words in event.message
    assert assistant.sessions is not None
    assert assistant.sessions.recent() == ()
    assert saved_image_names() == set()


def test_offline_without_the_model_is_exit_code_3_and_the_question_is_kept(
    assistant: Assistant, engine: FakeEngine, store: SessionStore
) -> None:
    def offline(_: Report) -> None:
        raise NeedsNetwork("Not here.")

    engine.loading = offline
    events = list(assistant.answer(Turn("What is this?")))
    assert events[-1] == Failed("Not here.", 3)
    turn = store.get(store.latest()).turns[0]
    assert (turn.status, turn.error) == ("failed", "Not here.")


def test_a_defect_is_raised_as_it_is_and_the_turn_is_marked(
    assistant: Assistant, engine: FakeEngine, store: SessionStore
) -> None:
    def broken(number: int) -> None:
        if number == 1:
            raise ZeroDivisionError("a defect")

    engine.before_token = broken
    with pytest.raises(ZeroDivisionError):
        list(assistant.answer(Turn("?")))
    turn = store.get(store.latest()).turns[0]
    assert (turn.status, turn.answer) == ("failed", "A ")
    engine.before_token = lambda _: None
    assert ask(assistant).text == "A cat."  # the thread goes on


def test_a_lost_session_image_is_named(assistant: Assistant, store: SessionStore, engine: FakeEngine) -> None:
    session = ask(assistant, images=(png(),)).session
    for file in paths.images_directory().iterdir():
        file.unlink()
    other = Assistant(assistant.settings, store, engine.load)
    (event,) = list(other.answer(Turn("?", session=session)))
    assert isinstance(event, Failed)
    assert "gone" in event.message
    other.close()


# -- stopping ---------------------------------------------------------------------------------------------


def test_cancel_from_another_thread_keeps_the_partial_answer(
    assistant: Assistant, engine: FakeEngine, store: SessionStore
) -> None:
    def stop_at_the_second(number: int) -> None:
        if number == 1:
            thread = threading.Thread(target=assistant.cancel)
            thread.start()
            thread.join()

    engine.before_token = stop_at_the_second
    answer = ask(assistant)
    assert (answer.stop_reason, answer.text) == ("cancelled", "A ")
    turn = store.get(store.latest()).turns[0]
    assert (turn.status, turn.answer, turn.result) == ("stopped", "A ", replace(answer, evidence=None))


@pytest.mark.parametrize("during", ["load", "answer"])
def test_a_stopped_answer_that_cannot_be_saved_is_a_failure_and_no_crash(
    assistant: Assistant,
    engine: FakeEngine,
    store: SessionStore,
    monkeypatch: pytest.MonkeyPatch,
    during: str,
) -> None:
    def full(*_: object) -> None:
        raise UserError("The disk is full.")

    def cancel_and_tell(report: Report) -> None:
        assistant.cancel()
        report("pull", "", 0, None)

    if during == "load":
        engine.loading = cancel_and_tell
    else:
        engine.before_token = lambda _: assistant.cancel()
    monkeypatch.setattr(store, "finish_turn", full)
    assert list(assistant.answer(Turn("?")))[-1] == Failed("The disk is full.", 1)


def test_leaving_the_iterator_stops_the_answer_and_saves_it(
    assistant: Assistant, engine: FakeEngine, store: SessionStore
) -> None:
    engine.words = ("word ",) * 10_000
    engine.before_token = lambda _: time.sleep(0.001)
    events = assistant.answer(Turn("?"))
    for event in events:
        if isinstance(event, TokenText):
            break
    events.close()
    turn = store.get(store.latest()).turns[0]
    assert turn.status == "stopped"
    assert turn.answer.startswith("word ")


def test_leaving_after_the_very_first_event_leaves_no_turn_unfinished(
    assistant: Assistant, store: SessionStore
) -> None:
    events = assistant.answer(Turn("?"))
    assert isinstance(next(events), TurnSaved)
    events.close()
    assert store.get(store.latest()).turns[0].status in ("stopped", "complete")


def test_a_turn_that_is_stopped_while_it_is_planned_computes_nothing(
    assistant: Assistant, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = assistant._planner.plan

    def stopped(turn: Turn) -> object:
        assistant.cancel(turn)
        return plan(turn)

    monkeypatch.setattr(assistant._planner, "plan", stopped)
    last = list(assistant.answer(Turn("What is this?")))[-1]
    assert isinstance(last, Answered)
    assert (last.answer.stop_reason, last.answer.text, engine.calls) == ("cancelled", "", [])


def test_cancel_stops_between_the_tiles_of_an_image(store: SessionStore) -> None:
    cancelled = threading.Event()

    class TiledEngine(FakeEngine):
        def encode_image(
            self, image: Image, adapter: PackedAdapter | None = None, progress: Report = no_progress
        ) -> FakeTokens:
            for number in range(13):
                progress("encode", f"Looking at {image.name}", number, 13)
                assert cancelled.wait(60)
            return super().encode_image(image, adapter, progress)

    engine = TiledEngine()
    with Assistant(settings.Settings(), store, engine.load) as assistant:
        shown = []
        for event in assistant.answer(Turn("What is this?", images=(png(),), adapter="none")):
            if isinstance(event, Progress) and event.total == 13:
                shown.append(event.done)
                assistant.cancel()
                cancelled.set()
        assert isinstance(event, Answered)
        assert (event.answer.stop_reason, event.answer.text) == ("cancelled", "")
    assert (shown, engine.encoded) == ([0], [])


def test_cancel_stops_a_download(assistant: Assistant, engine: FakeEngine, store: SessionStore) -> None:
    def endless(report: Report) -> None:
        for done in range(1_000_000):
            report("pull", "Downloading", done, None)
            time.sleep(0.001)

    engine.loading = endless
    seen = 0
    for event in assistant.answer(Turn("?")):
        if isinstance(event, Progress):
            seen += 1
            if seen == 3:
                assistant.cancel()
    assert isinstance(event, Answered)
    assert (event.answer.stop_reason, event.answer.text, event.answer.confidence) == ("cancelled", "", None)
    assert store.get(store.latest()).turns[0].status == "stopped"


def test_an_answer_waiting_for_the_load_sees_its_progress_and_stops_at_once(
    assistant: Assistant, engine: FakeEngine, store: SessionStore
) -> None:
    go_on = threading.Event()

    def slow(report: Report) -> None:
        while not go_on.is_set():
            report("compile", "Compiling", 0, None)
            time.sleep(0.01)

    engine.loading = slow
    preparing: list[Event] = []
    loader = threading.Thread(target=lambda: preparing.extend(assistant.prepare()))
    loader.start()
    while not engine.threads:
        time.sleep(0.001)
    events = assistant.answer(Turn("?"))
    assert [type(next(events)) for _ in range(2)] == [TurnSaved, Routed]
    assert isinstance(next(events), Progress)
    assistant.cancel()
    remaining = list(events)
    assert final(remaining).stop_reason == "cancelled"
    assert store.get(store.latest()).turns[0].status == "stopped"
    assert not go_on.is_set()  # the load is still under way: it was not waited for
    go_on.set()
    loader.join()
    assert isinstance(preparing[-1], Ready)
    assert ask(assistant).text == "A cat."


def test_prepare_loads_and_encodes_ahead(assistant: Assistant, engine: FakeEngine) -> None:
    events = list(assistant.prepare([png()]))
    assert [type(event) for event in events] == [Ready, Progress, ImageEncoded]
    later = [e for e in assistant.answer(Turn("?", images=(png(),))) if isinstance(e, ImageEncoded)]
    assert [event.cached for event in later] == [True]
    assert len(set(engine.encoded)) == 1


def test_answers_wait_for_one_another(assistant: Assistant) -> None:
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda: answers.append(ask(assistant))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.text for answer in answers] == ["A cat."] * 4
    assert len({answer.session for answer in answers}) == 4


KILLED = """
import os, signal, time
from types import SimpleNamespace
from edge_app import settings
from edge_app.system import paths
from edge_app.assistant import Assistant, Turn
from edge_app.events import TokenText
from edge_app.storage.sessions import SessionStore
from edge_app.turns import local_answer
from tests.edge_app.fakes import FakeEngine

now = [0.0]
local_answer.time = SimpleNamespace(monotonic=lambda: now[0], perf_counter=time.perf_counter)

def before_token(number):
    now[0] = 0.1 * number

engine = FakeEngine(words=("word ",) * 1000, before_token=before_token)
assistant = Assistant(settings.load(paths.config_file()), SessionStore.open(), engine.load)
came = 0
for event in assistant.answer(Turn("How far?")):
    came += isinstance(event, TokenText)
    if came == 25:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_kill_9_costs_at_most_the_last_second_of_an_answer() -> None:
    """The clock is advanced by a tenth of a second with every word."""
    child = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, check=False)
    assert child.returncode == -9, child.stderr
    store = SessionStore.open()
    turn = store.get(store.latest()).turns[0]
    assert (turn.question, turn.status) == ("How far?", "interrupted")
    assert turn.answer.count("word") >= 25 - 11
    store.close()
