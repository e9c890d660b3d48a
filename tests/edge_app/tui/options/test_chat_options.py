"""What is set for one chat alone: parsed, sent with its questions, shown, saved, and gone in the next chat."""

from __future__ import annotations

import pytest

from edge_app.images.image_detail import DETAILS
from edge_app.settings import Settings
from edge_app.storage.sessions import SessionStore
from edge_app.tui.app import ChatApp
from edge_app.tui.options.chat_options import ChatOptions
from models.core.errors import UserError
from models.core.types import Sampling
from tests.edge_app.tui.conftest import MakeApp, ScriptedAssistant, notice, press, settled, type_text


def facts(app: ChatApp) -> str:
    return " | ".join(fact.text for fact in app.chat.query_one("StatusLine").facts())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("temperature", "0.7", 0.7),
        ("max_tokens", "64", 64),
        ("seed", "0", 0),
        ("detail", DETAILS[-1], DETAILS[-1]),
    ],
)
def test_an_option_is_read_used_and_taken_back(name: str, typed: str, value: object) -> None:
    options = ChatOptions().with_value(name, typed)

    assert options.as_json() == {name: value}
    assert ChatOptions.from_json(options.as_json()) == options
    assert options.with_value(name, "default") == ChatOptions()
    sampling = options.sampling(Sampling(max_tokens=9))
    assert name == "detail" or getattr(sampling, name) == value


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        *(("temperature", text) for text in ("", "hot", "-0.1", "5.1", "nan", "inf")),
        *(("max_tokens", text) for text in ("0", "1.5", "many", "10000000")),
        *(("seed", text) for text in ("-1", "x", str(2**63))),
        *(("detail", "closely"), ("flavour", "sweet")),
    ],
)
def test_a_value_that_cannot_be_is_refused_in_one_sentence(name: str, typed: str) -> None:
    with pytest.raises(UserError) as refused:
        ChatOptions().with_value(name, typed)
    assert "\n" not in str(refused.value)


def test_a_limit_is_told_in_digits() -> None:
    with pytest.raises(UserError, match="from 1 to 1,000,000, or default; not 0"):
        ChatOptions().with_value("max_tokens", "0")


def test_saved_options_that_this_version_does_not_know_are_left_out() -> None:
    assert ChatOptions.from_json({"mirostat": 2, "temperature": "cold", "seed": 4}) == ChatOptions(seed=4)


def test_only_what_differs_from_the_settings_is_shown() -> None:
    options = ChatOptions(temperature=0.5, max_tokens=64)
    assert options.words(Settings(temperature=0.5)) == ("max tokens 64",)


async def test_set_holds_for_this_chat_and_is_saved_with_it(
    make_app: MakeApp, assistant: ScriptedAssistant, store: SessionStore
) -> None:
    saved = store.begin_turn(session=None, question="One?", images=(), system=None)
    app = make_app(store, session=saved.session)
    async with app.run_test() as pilot:
        await settled(pilot)
        for command in ("/set temperature 0.7", "/set detail high", "/set max_tokens=64"):
            await type_text(pilot, command)
            await press(pilot, "enter")
            await settled(pilot)
        assert "temperature 0.7 | max tokens 64 | detail high" in facts(app)
        assert store.get(saved.session).options == {"temperature": 0.7, "max_tokens": 64, "detail": "high"}
        await type_text(pilot, "Two?")
        await press(pilot, "enter")
        await settled(pilot)
        (turn,) = assistant.turns
        assert turn.sampling is not None
        assert (turn.sampling.temperature, turn.sampling.max_tokens, turn.detail) == (0.7, 64, "high")

        await app.chat.run_command("new", "")
        await settled(pilot)
        assert "temperature" not in facts(app)
        await app.chat.run_command("set", "seed -4")
        await settled(pilot)
        assert "seed is a whole number" in notice(app)


async def test_the_system_prompt_goes_with_the_next_question_and_off_takes_it_back(
    make_app: MakeApp, assistant: ScriptedAssistant
) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        for command, system, shown in (
            ("/system Answer in one word.", "Answer in one word.", True),
            ("/system off", "", False),
        ):
            await type_text(pilot, command)
            await press(pilot, "enter")
            await settled(pilot)
            assert ("own system prompt" in facts(app)) is shown
            await type_text(pilot, "hello")
            await press(pilot, "enter")
            await settled(pilot)
            assert assistant.turns[-1].system == system
        await app.chat.run_command("system", "")
        await settled(pilot)
        assert notice(app) == "There is no system prompt."
