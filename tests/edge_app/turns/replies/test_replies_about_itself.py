"""Turns whose reply the app makes itself: about the assistant, or that the model does not speak the language."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.store.manifest import MANIFEST_FILE, AdapterManifest, Example, write_manifest
from edge_app import settings
from edge_app.answer import Answer
from edge_app.assistant import Assistant, Turn
from edge_app.events import Answered
from edge_app.system import paths
from edge_app.turns.replies.assistant_profile import model_languages
from models.model_config import read_languages
from tests.adapters.folders import put
from tests.edge_app.conftest import png
from tests.edge_app.fakes import FakeEngine, FakeRouter

GERMAN = "Was steht auf dem Schild hier?"


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


def ask(engine: FakeEngine, question: str, **turn: object) -> Answer:
    assistant = Assistant(settings.load(paths.config_file()), None, engine.load, router=FakeRouter())
    event = list(assistant.answer(Turn(question, **turn)))[-1]  # type: ignore[arg-type]
    assistant.close()
    assert isinstance(event, Answered), event
    return event.answer


def test_a_question_about_the_assistant_needs_no_model(engine: FakeEngine) -> None:
    answer = ask(engine, "who are you?")
    assert "edge-vlm-135m" in answer.text and "SmolLM2-135M" in answer.text
    assert (answer.declined, answer.confidence, answer.reason_kind) == (False, None, "about_assistant")
    assert engine.calls == []


def test_the_installed_adapters_are_named(engine: FakeEngine, home: Path) -> None:
    put(home / "data" / "adapters", "maps")
    assert "- maps" in ask(engine, "what can you do?").text


def test_with_an_image_a_greeting_is_a_greeting_and_a_question_is_a_question(engine: FakeEngine) -> None:
    assert ask(engine, "hi", images=(png(),)).text.startswith("Hello!")
    assert engine.calls == []
    assert ask(engine, "hi, what is this?", images=(png(),)).text == "A cat."


def test_a_system_prompt_makes_the_assistant_who_the_user_wants(engine: FakeEngine) -> None:
    assert ask(engine, "who are you?", system="You are a pirate.").text == "A cat."


def test_a_language_that_the_model_does_not_speak_is_declined_in_that_language(engine: FakeEngine) -> None:
    answer = ask(engine, GERMAN, images=(png(),))
    assert answer.text.startswith("Das Modell auf diesem Gerät versteht nur Englisch.")
    assert (answer.declined, answer.confidence, answer.reason_kind) == (True, None, "other_language")
    assert engine.calls == []


def test_an_adapter_whose_examples_are_in_the_language_answers(engine: FakeEngine, home: Path) -> None:
    folder = put(home / "data" / "adapters", "medical")
    example = Example("Was steht auf diesem Schild?")
    files = {file.name: "0" * 64 for file in folder.iterdir()}
    manifest = AdapterManifest(
        "medical", "1.0", "Reads signs.", "edge-vlm-135m", "", examples=(example,), files=files
    )
    (folder / MANIFEST_FILE).write_bytes(write_manifest(manifest))
    assert ask(engine, GERMAN, images=(png(),)).text == "A cat."
    assert ask(engine, GERMAN, images=(png(),), adapter="none").declined


def test_the_languages_of_a_model_are_read_from_its_folder_and_may_be_left_out(tmp_path: Path) -> None:
    assert model_languages("edge-vlm-135m") == {"en"}
    assert model_languages("unknown") == frozenset()
    assert read_languages(None) == read_languages(tmp_path) == ()
    for content in ("[]", "{", '{"languages": "en"}', "{}"):
        (tmp_path / "config.json").write_text(content)
        assert read_languages(tmp_path) == ()
    (tmp_path / "config.json").write_text('{"languages": ["en", "de"]}')
    assert read_languages(tmp_path) == ("en", "de")
