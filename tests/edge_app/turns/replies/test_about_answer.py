"""Questions about the answer before: "are you sure?" and "why?"."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_app import settings
from edge_app.answer import Answer, Timing, TokenCounts
from edge_app.answer_text import needs_help
from edge_app.assistant import Assistant, Turn
from edge_app.events import Answered
from edge_app.storage.sessions import SessionStore
from edge_app.system import paths
from edge_app.turns.replies.about_answer import asks_about_answer, how_sure, no_reason
from tests.adapters.folders import put
from tests.edge_app.conftest import png
from tests.edge_app.fakes import FakeEngine, FakeRouter


def answer(confidence: float | None, text: str = "forest", **fields: object) -> Answer:
    given: dict[str, object] = {"adapter": "maps", "place": "local", "calibrated": True, **fields}
    return Answer(
        text=text,
        mode="auto",
        confidence=confidence,
        reason="",
        model="m",
        stop_reason="stop",
        tokens=TokenCounts(20, 4, 0, 2),
        timings=Timing(0, 0, 0, 0, 0),
        tokens_per_second=None,
        session=None,
        **given,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    "question",
    ["are you sure?", "Really?", "r u sure", "hm, you sure?", "Is that right?", "How sure are you?", "sure?"],
)
def test_doubt_is_recognised(question: str) -> None:
    assert asks_about_answer(question) == "doubt"


@pytest.mark.parametrize(
    "question", ["why?", "How do you know that?", "But why is that?", "Explain, please."]
)
def test_a_question_for_reasons_is_recognised(question: str) -> None:
    assert asks_about_answer(question) == "reason"


@pytest.mark.parametrize(
    "question",
    [
        "Are you sure it is a circle?",
        "Why is the bar red?",
        "And its colour?",
        "Is it right of the tree?",
        "",
    ],
)
def test_a_question_about_the_image_is_not_about_the_answer(question: str) -> None:
    assert asks_about_answer(question) is None


def test_it_is_told_in_words_and_as_a_number_how_sure_the_answer_is() -> None:
    assert how_sure(answer(0.953)) == 'Yes, I am sure: "forest" is right with a probability of 95%.'
    assert (how_sure(answer(0.7)) or "").startswith(
        'I am fairly sure: "forest" is right with a probability of 70%.'
    )
    assert (how_sure(answer(0.2)) or "").startswith('No, I am not sure: "forest"')
    assert "not calibrated" in (how_sure(answer(0.9, calibrated=False)) or "")
    assert "my answer is right" in (how_sure(answer(0.9, "word " * 40)) or "")
    assert (how_sure(answer(None, declined=True)) or "").startswith("No, I do not know")
    assert how_sure(answer(None)) is None
    assert how_sure(answer(0.9, place="cloud")) is None


def test_no_reason_is_invented() -> None:
    assert no_reason(answer(0.953)).endswith('image. I am sure: "forest" is right with a probability of 95%.')
    assert no_reason(answer(None)) == "I cannot explain that answer; I only read it off the image."
    assert no_reason(answer(None, declined=True)) == "I do not know the answer to that question."


def ask(engine: FakeEngine, store: SessionStore, questions: list[str], **first: object) -> list[Answer]:
    assistant = Assistant(settings.load(paths.config_file()), store, engine.load, router=FakeRouter())
    answers: list[Answer] = []
    for number, question in enumerate(questions):
        turn = Turn(
            question, session=answers[-1].session if answers else None, **(first if not number else {})
        )  # type: ignore[arg-type]
        event = list(assistant.answer(turn))[-1]
        assert isinstance(event, Answered), event
        answers.append(event.answer)
    assistant.close()
    return answers


def test_the_app_answers_doubt_without_the_model(store: SessionStore, home: Path) -> None:
    put(home / "data" / "adapters", "medical")
    engine = FakeEngine()
    first, doubt, again, reason = ask(
        engine, store, ["What is this?", "Are you sure?", "really?", "why?"], images=(png(),)
    )
    assert first.adapter == "medical" and first.confidence is not None
    assert first.text in doubt.text and f"{round(100 * first.confidence)}%" in doubt.text
    assert (doubt.declined, doubt.confidence) == (needs_help(first), None)
    assert again.text == doubt.text, "the question is still about the first answer"
    assert reason.declined and reason.text.startswith("I cannot explain that answer")
    assert len(engine.calls) == 1


def test_doubt_about_an_unsure_answer_is_a_decline(store: SessionStore) -> None:
    engine = FakeEngine(words=("I cannot tell.",))
    first, doubt = ask(engine, store, ["What is this?", "Are you sure?"], images=(png(),))
    assert first.declined and doubt.declined
    assert doubt.text.startswith("No, I do not know")


def test_what_was_said_about_the_answer_is_not_read_by_the_model(store: SessionStore) -> None:
    engine = FakeEngine()
    ask(engine, store, ["What is this?", "Are you sure?", "What colour is it?"], images=(png(),))
    assert [m.text for m in engine.calls[-1].messages if m.role == "user"] == [
        "What is this?",
        "What colour is it?",
    ]


def test_without_an_answer_before_the_model_answers(store: SessionStore) -> None:
    engine = FakeEngine()
    (only,) = ask(engine, store, ["Are you sure?"], images=(png(),))
    assert only.text == "A cat." and len(engine.calls) == 1
