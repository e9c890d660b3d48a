"""One turn in, a stream of events out, also when it is stopped or fails. The engine is a fake, because only the order
of events matters here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_app import settings
from edge_app.assistant import Assistant, Turn
from edge_app.events import (
    Answered,
    ContextTrimmed,
    Failed,
    ImageEncoded,
    Progress,
    Routed,
    TokenText,
    TurnSaved,
)
from edge_app.storage.sessions import SessionStore
from edge_app.system import paths
from edge_app.turns.images import pictures as context
from models.core.errors import NeedsNetwork, UserError
from models.core.images import load_image
from models.core.types import Progress as Report
from router.confidence.rule import Confidence, bundled_rule
from tests.edge_app.conftest import png, saved_image_names
from tests.edge_app.fakes import FakeEngine, ask, final


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def assistant(store: SessionStore, engine: FakeEngine) -> Iterator[Assistant]:
    assistant = Assistant(settings.load(paths.config_file()), store, engine.load)
    yield assistant
    assistant.close()


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
