"""Answers of this device and of the cloud: where they are from, how sure they are, and what may be done about it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from textual.pilot import Pilot
from textual.widgets import Markdown, Static

from edge_app.events import (
    Answered,
    CloudFailed,
    Escalated,
    Event,
    Failed,
    Route,
    Routed,
    TokenText,
    TurnSaved,
)
from edge_app.storage.sessions import SessionStore
from edge_app.tui.app import ChatApp
from edge_app.tui.conversation.answer_view import AnswerView, OtherAnswer
from edge_app.tui.conversation.messages import QuestionView
from edge_app.tui.status import StatusLine
from edge_app.tui.windows.route_window import RouteWindow
from router.choice import Candidate
from tests.edge_app.tui.conftest import (
    ANSWER,
    MakeApp,
    ScriptedAssistant,
    notice,
    opened,
    press,
    settled,
    type_text,
)

CLOUD = {"cloud_url": "https://api.example.com", "cloud_model": "big"}
LOCAL = replace(
    ANSWER, text="A dog.", adapter="medical", confidence=0.41, offer="ask_cloud", reason="local: it fits"
)
REASON = "cloud: local confidence 0.41 below 0.60"
REMOTE = replace(
    ANSWER, text="A cat.", place="cloud", model="big", confidence=0.41, reason=REASON, kept="A dog."
)
ROUTED = Routed(
    Route(
        "medical",
        "local",
        "the image is like those of medical",
        0.71,
        (
            Candidate("medical", 1.3, 0.8, 0.2),
            Candidate("receipts", 0.4, 0.5, None),
            Candidate("shapes", -2, 0, None),
        ),
    ),
    "auto",
    3.2,
)
BEGUN: list[Event] = [TurnSaved("0123456789ab", 7), ROUTED]


async def ask(pilot: Pilot[None], question: str = "What is this?") -> None:
    await type_text(pilot, question)
    await press(pilot, "enter")


def said(app: ChatApp, selector: str) -> str:
    """Of the last answer; empty when it is not shown."""
    found = app.chat.query(AnswerView).last().query_one(selector, Static)
    return str(found.content) if found.display else ""


def shown(app: ChatApp) -> str:
    return app.chat.query(AnswerView).last().query_one(Markdown).source


def other(app: ChatApp) -> OtherAnswer:
    return app.chat.query(OtherAnswer).last()


async def test_an_answer_of_the_cloud_takes_the_place_of_the_local_one_which_is_kept_below(
    make_app: MakeApp, assistant: ScriptedAssistant
) -> None:
    assistant.script = [
        *BEGUN, TokenText("A dog."), Escalated(REASON, 0.6, 0.41), TokenText("A "), TokenText("cat."), Answered(REMOTE)
    ]  # fmt: skip
    app = make_app(**CLOUD)
    async with app.run_test(size=(120, 30)) as pilot:
        await ask(pilot)
        view = app.chat.query_one(AnswerView)
        assert shown(app) == view.text == "A cat."
        assert said(app, ".answer-line") == "from the cloud · 181 tokens/s"
        assert str(other(app).query_one(".other-title", Static).content) == (
            "▸ The answer from this device (O unfolds it): A dog."
        )
        await press(pilot, "shift+tab", "o")
        assert other(app).query_one(".other-text", Static).display
        await press(pilot, "o")
        assert not other(app).query_one(".other-text", Static).display
        assert app.chat.query_one(StatusLine).sure == ""


async def test_the_local_answer_can_be_read_until_the_cloud_begins(
    make_app: MakeApp, assistant: ScriptedAssistant
) -> None:
    assistant.script = [*BEGUN, TokenText("A dog."), Escalated(REASON), Answered(LOCAL)]
    app = make_app(**CLOUD)
    async with app.run_test() as pilot:
        await settled(pilot)
        view = await app.chat.conversation.ask("What?", [], "Esc")
        await view.append("A dog.")
        view.escalate(REASON)
        assert shown(app) == "A dog."
        assert said(app, ".waiting") == f"Asking the {REASON} · 0.00 s · Esc stops it"
        await view.append("A cat")
        assert shown(app) == "A cat"
        assert other(app).text == "A dog."


@pytest.mark.parametrize("broken", ["", "A ca"])
async def test_a_cloud_that_fails_leaves_the_local_answer_and_says_so(
    make_app: MakeApp, assistant: ScriptedAssistant, broken: str
) -> None:
    assistant.script = [
        *BEGUN,
        TokenText("A dog."),
        Escalated(REASON, 0.6, 0.41),
        *([TokenText(broken)] if broken else []),
        CloudFailed("The cloud at api.example.com took too long.", "A dog."),
        Answered(
            replace(
                LOCAL,
                broken=broken or None,
                reason="local: it fits; the cloud at api.example.com took too long",
            )
        ),
    ]
    assistant.cloud_state = "failing"
    app = make_app(**CLOUD)
    async with app.run_test(size=(120, 30)) as pilot:
        await ask(pilot)
        assert shown(app) == "A dog."
        assert said(app, ".speaker") == "Assistant  local answer kept"
        assert other(app).display == bool(broken)
        assert other(app).text == broken
        assert "cloud api.example.com, failing" in str(app.chat.query_one("#status-facts", Static).content)
        assistant.script = [*BEGUN, Escalated("cloud: as asked"), TokenText("A cat."), Answered(REMOTE)]
        assistant.cloud_state = "ready"
        await ask(pilot)
        assert "failing" not in str(app.chat.query_one("#status-facts", Static).content)


async def test_a_cloud_that_is_asked_first_and_fails_hands_over_to_this_device(
    make_app: MakeApp, assistant: ScriptedAssistant
) -> None:
    sure = replace(LOCAL, confidence=0.9, offer=None)
    assistant.script = [
        *BEGUN, Escalated("cloud: mode quality"), CloudFailed("The cloud is down.", None),
        TokenText("A dog."), Answered(sure)
    ]  # fmt: skip
    app = make_app(**CLOUD)
    async with app.run_test(size=(120, 30)) as pilot:
        await ask(pilot)
        assert shown(app) == "A dog."
        assert said(app, ".speaker") == "Assistant  local answer kept"
        assert not other(app).display
        assert app.chat.query_one(StatusLine).sure == "sure, 90%"


async def test_a_doubtful_answer_is_marked_and_offers_the_cloud_and_the_next_adapter(
    make_app: MakeApp, assistant: ScriptedAssistant
) -> None:
    assistant.script = [*BEGUN, TokenText("A dog."), Answered(LOCAL)]
    assistant.cloud = [Escalated("cloud: as asked"), TokenText("A cat."), Answered(REMOTE)]
    app = make_app(**CLOUD)
    async with app.run_test(size=(130, 30)) as pilot:
        await ask(pilot)
        assert said(app, ".answer-line") == (
            "on this device · unsure, 41%: F6 asks the cloud, F7 tries receipts"
            " · adapter medical, 181 tokens/s"
        )
        assert app.chat.query_one(StatusLine).sure == "unsure, 41%"
        await press(pilot, *"mean", "f6")  # in the middle of typing
        assert assistant.asked_cloud == [("0123456789ab", 7)]
        assert (shown(app), other(app).text) == ("A cat.", "A dog.")
        assert "unsure" not in said(app, ".answer-line")
        assert app.chat.composer.prompt.text == "mean"
        await press(pilot, "f6")
        assert notice(app) == "This answer is from the cloud at api.example.com already."


DECLINE = replace(
    LOCAL, text="I do not know.", confidence=None, declined=True, adapter=None, offer="set_up_cloud"
)


async def test_a_decline_says_so_and_how_to_set_up_a_cloud(
    make_app: MakeApp, assistant: ScriptedAssistant
) -> None:
    assistant.script = [*BEGUN, TokenText(DECLINE.text), Answered(DECLINE)]
    app = make_app()
    async with app.run_test(size=(130, 30)) as pilot:
        await ask(pilot)
        assert said(app, ".answer-line") == (
            "on this device · does not know: `edge-app cloud setup` sets up a cloud to ask, F7 tries medical"
            " · 181 tokens/s"
        )
        assert app.chat.query_one(StatusLine).sure == "does not know"


async def test_a_decline_offers_the_cloud_that_is_set_up(
    make_app: MakeApp, assistant: ScriptedAssistant, store: SessionStore
) -> None:
    declined = replace(DECLINE, offer="ask_cloud")
    assistant.script = [*BEGUN, TokenText(DECLINE.text), Answered(declined)]
    assistant.cloud = [Escalated("cloud: as asked"), TokenText("A cat."), Answered(REMOTE)]
    app = make_app(**CLOUD)
    async with app.run_test(size=(130, 30)) as pilot:
        await ask(pilot)
        assert "does not know: F6 asks the cloud, F7 tries medical" in said(app, ".answer-line")
        await press(pilot, "f6")
        assert said(app, ".answer-line").startswith("from the cloud")
    saved = store.begin_turn(session=None, question="Who?", images=(), system=None)
    store.finish_turn(saved, "complete", replace(declined, session=saved.session))
    again = make_app(store, session=saved.session, **CLOUD)
    async with again.run_test(size=(130, 30)) as pilot:
        await settled(pilot)
        assert "does not know: F6 asks the cloud ·" in said(again, ".answer-line")


async def test_trying_again_asks_once_with_the_next_adapter_and_the_choice_stays(
    make_app: MakeApp, assistant: ScriptedAssistant
) -> None:
    assistant.script = [*BEGUN, TokenText("A dog."), Answered(LOCAL)]
    app = make_app()
    async with app.run_test(size=(120, 30)) as pilot:
        await ask(pilot)
        assert "unsure, 41%: F7 tries receipts ·" in said(app, ".answer-line")  # there is no cloud
        first = app.chat.query_one(AnswerView)
        assistant.script = [
            *BEGUN[:1],
            Routed(Route("receipts", "local", "as asked"), "auto"),
            Answered(replace(LOCAL, adapter="receipts", offer=None)),
        ]
        await press(pilot, "f7")
        assert [(turn.question, turn.adapter) for turn in assistant.turns] == [
            ("What is this?", "auto"), ("What is this?", "receipts")
        ]  # fmt: skip
        assert assistant.turns[1].session == "0123456789ab"
        assert "F7" not in str(first.query_one(".answer-line", Static).content)
        assert "unsure, 41%: F7 tries the router's choice ·" in said(app, ".answer-line")
        assert app.chat.query_one(StatusLine).adapter == "auto"


async def test_a_cloud_that_cannot_be_asked_leaves_the_answer_as_it_was(
    make_app: MakeApp, assistant: ScriptedAssistant
) -> None:
    assistant.script = [*BEGUN, TokenText("A dog."), Answered(LOCAL)]
    assistant.cloud = [Failed("The app is offline.", 3)]
    app = make_app(**CLOUD)
    async with app.run_test(size=(130, 30)) as pilot:
        await press(pilot, "f6")
        assert notice(app) == "There is no answer yet that the cloud could be asked about."
        await press(pilot, "f7")
        assert notice(app) == "There is no other adapter that suits the last question."
        await ask(pilot)
        before = said(app, ".answer-line")
        await press(pilot, "f6")
        assert notice(app) == "The app is offline."
        assert said(app, ".answer-line") == before
        assert shown(app) == "A dog."
        assert said(app, ".waiting") == ""


async def test_without_an_endpoint_the_key_says_how_to_set_one_up(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await ask(pilot)
        await press(pilot, "f6")
        assert notice(app) == "No cloud is set up; `edge-app cloud setup` does that."


async def test_a_chat_that_is_opened_again_shows_both_answers_and_can_still_ask_the_cloud(
    make_app: MakeApp, store: SessionStore, assistant: ScriptedAssistant
) -> None:
    first = store.begin_turn(session=None, question="One?", images=(), system=None)
    store.finish_turn(first, "complete", replace(REMOTE, session=first.session))
    second = store.begin_turn(session=first.session, question="Two?", images=(), system=None)
    store.finish_turn(second, "complete", replace(LOCAL, broken="A ca", session=first.session))
    app = make_app(store, session=first.session, **CLOUD)
    async with app.run_test(size=(120, 40)) as pilot:
        await settled(pilot)
        assert [view.text for view in app.chat.query(AnswerView)] == ["A cat.", "A dog."]
        assert [each.text for each in app.chat.query(OtherAnswer)] == ["A dog.", "A ca"]
        assert "unsure, 41%: F6 asks the cloud ·" in said(app, ".answer-line")
        assistant.cloud = [Escalated("cloud: as asked"), TokenText("A cat."), Answered(REMOTE)]
        await press(pilot, "f6")
        assert assistant.asked_cloud == [(second.session, second.turn)]
        assert shown(app) == "A cat."


async def test_the_route_of_a_question_with_a_path_is_that_of_its_image(
    make_app: MakeApp, assistant: ScriptedAssistant
) -> None:
    app = make_app()
    async with app.run_test(size=(100, 30)) as pilot:
        app.chat.composer.prompt.recall("What is in ./cat.png?")
        await press(pilot, "f5")
        await route_text(pilot, app)
        (turn,) = assistant.routed
        assert (turn.question, [str(image) for image in turn.images]) == (
            "What is in the image?",
            ["cat.png"],
        )
        await press(pilot, "escape")
        assert app.chat.composer.attachments == ()


async def test_the_route_of_the_last_question_and_of_the_one_being_written(
    make_app: MakeApp, assistant: ScriptedAssistant
) -> None:
    assistant.script = [*BEGUN, Answered(LOCAL)]
    app = make_app()
    async with app.run_test(size=(100, 30)) as pilot:
        await press(pilot, "f5")
        assert notice(app) == "Write a question first; its route is shown without asking it."
        await ask(pilot)
        await press(pilot, "f5")
        text = await route_text(pilot, app)
        assert text.startswith("The last question: What is this?")
        for line in (
            "adapter medical, probability 0.71 · local · 3.2 ms",
            "the image is like those of medical",
            "candidate  score  image  question",
            "medical     +1.3   0.80      0.20",
            "receipts    +0.4   0.50         -",
            "on this device · unsure, 41%",
            "why         local: it fits",
            "tokens      40 in (0 cached, 16 image), 12 out",
            "times       route 0.00 s, image 0.08 s, prefill 0.06 s, first token 0.21 s, total 0.40 s",
        ):
            assert line in text
        assert assistant.routed == []
        await press(pilot, "escape")
        await type_text(pilot, "And the next?")
        await press(pilot, "f5")
        assert (await route_text(pilot, app)).startswith("The next question: And the next?")
        assert [turn.question for turn in assistant.routed] == ["And the next?"]
        await press(pilot, "escape")
        assert app.chat.composer.prompt.text == "And the next?"
        assert len(app.chat.query(QuestionView)) == 1  # nothing was asked


async def test_a_route_that_cannot_be_found_says_why(make_app: MakeApp, assistant: ScriptedAssistant) -> None:
    assistant.script = [Failed("The image cannot be read.", 1)]
    app = make_app()
    async with app.run_test() as pilot:
        await type_text(pilot, "/route what now")
        await press(pilot, "enter")
        assert "The image cannot be read." in await route_text(pilot, app)


async def route_text(pilot: Pilot[None], app: ChatApp) -> str:
    await opened(pilot, RouteWindow)
    return "\n".join(str(static.content) for static in app.screen.query(Static))
