"""Pictures of the chat: what it looks like is compared with `__snapshots__/`.

After a wanted change: `pytest tests/edge_app/tui/test_snapshots.py --snapshot-update`, and look at them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot

from edge_app.events import Answered, CloudFailed, Escalated, TokenText
from edge_app.storage.sessions import SessionStore
from edge_app.system.battery import Battery
from edge_app.tui.app import ChatApp
from edge_app.tui.status import StatusLine
from edge_app.tui.windows.consent_window import ConsentWindow
from edge_app.tui.windows.models_window import ModelsWindow
from edge_app.tui.windows.route_window import RouteWindow
from tests.edge_app.tui.conftest import (
    MakeApp,
    ScriptedAssistant,
    ScriptedModels,
    opened,
    picker_shows,
    press,
    settled,
    type_text,
)
from tests.edge_app.tui.places.test_places import BEGUN, LOCAL, REASON, REMOTE
from tests.edge_app.tui.windows.test_consent_window import Asking, request

Compare = Callable[..., bool]


def still(app: ChatApp) -> None:
    """No blinking cursor, no gliding."""
    prompt = app.chat.composer.prompt
    prompt.cursor_blink = False
    prompt._line_cache.clear()  # else a line drawn while the cursor was blinked away would be shown again
    prompt.refresh()
    app.animation_level = "none"


async def rest(pilot: Pilot[None]) -> None:
    assert isinstance(pilot.app, ChatApp)
    await settled(pilot)
    still(pilot.app)
    await settled(pilot)


def test_an_empty_chat(make_app: MakeApp, snap_compare: Compare) -> None:
    assert snap_compare(make_app(), terminal_size=(80, 24), run_before=rest)


def test_an_empty_chat_in_a_light_theme(make_app: MakeApp, snap_compare: Compare) -> None:
    assert snap_compare(make_app(theme="textual-light"), terminal_size=(80, 24), run_before=rest)


def test_an_image_that_waits_to_be_sent(make_app: MakeApp, snap_compare: Compare, folder: Path) -> None:
    async def attach(pilot: Pilot[None]) -> None:
        assert isinstance(pilot.app, ChatApp)
        await settled(pilot)
        pilot.app.chat.composer.attach([folder / "cat.png", folder / "red house.jpg"])
        await settled(pilot)
        await type_text(pilot, "What is")
        await rest(pilot)

    assert snap_compare(make_app(), terminal_size=(80, 24), run_before=attach)


def asks(folder: Path) -> Callable[[Pilot[None]], object]:
    async def ask(pilot: Pilot[None]) -> None:
        assert isinstance(pilot.app, ChatApp)
        await settled(pilot)
        pilot.app.chat.composer.attach([folder / "cat.png"])
        await settled(pilot)
        await type_text(pilot, "What is in this picture?")
        await press(pilot, "enter")
        await rest(pilot)

    return ask


ANSWER = "A **cat** sleeps on a sofa:\n\n- it is *red*\n- the sofa is `beige`\n"


def test_an_answer_with_its_line(
    make_app: MakeApp, assistant: ScriptedAssistant, snap_compare: Compare, folder: Path
) -> None:
    assistant.answers(ANSWER)
    assert snap_compare(make_app(), terminal_size=(90, 30), run_before=asks(folder))


def test_a_narrow_and_short_terminal(
    make_app: MakeApp, assistant: ScriptedAssistant, snap_compare: Compare, folder: Path
) -> None:
    assistant.answers(ANSWER)
    assert snap_compare(make_app(), terminal_size=(40, 16), run_before=asks(folder))


def test_suggestions(make_app: MakeApp, snap_compare: Compare) -> None:
    async def mention(pilot: Pilot[None]) -> None:
        await type_text(pilot, "What is in @")
        await rest(pilot)

    assert snap_compare(make_app(), terminal_size=(80, 24), run_before=mention)


def test_the_help(make_app: MakeApp, snap_compare: Compare) -> None:
    async def open_help(pilot: Pilot[None]) -> None:
        await rest(pilot)
        await press(pilot, "f1")

    assert snap_compare(make_app(), terminal_size=(90, 40), run_before=open_help)


def test_the_image_picker(make_app: MakeApp, snap_compare: Compare) -> None:
    async def pick(pilot: Pilot[None]) -> None:
        await rest(pilot)
        await press(pilot, "ctrl+o")
        await picker_shows(pilot, "cat.png")
        await press(pilot, "down", "down")
        await rest(pilot)

    assert snap_compare(make_app(), terminal_size=(90, 28), run_before=pick)


def test_the_models(make_app: MakeApp, models: ScriptedModels, snap_compare: Compare) -> None:
    async def pick(pilot: Pilot[None]) -> None:
        models.here.add("smolvlm-256m")
        await rest(pilot)
        await pilot.press("f8")
        await opened(pilot, ModelsWindow)
        await press(pilot, "down")
        await rest(pilot)

    assert snap_compare(make_app(), terminal_size=(90, 28), run_before=pick)


def test_the_status_line_with_everything(make_app: MakeApp, snap_compare: Compare) -> None:
    async def tell(pilot: Pilot[None]) -> None:
        assert isinstance(pilot.app, ChatApp)
        await rest(pilot)
        status = pilot.app.chat.query_one(StatusLine)
        status.sure = "unsure, 41%"
        await rest(pilot)

    app = make_app(
        battery=lambda: Battery(83, plugged=False), cloud_url="https://api.example.com", cloud_model="big"
    )
    assert snap_compare(app, terminal_size=(120, 12), run_before=tell)


def test_earlier_chats_and_the_question_before_one_is_deleted(
    make_app: MakeApp, store: SessionStore, snap_compare: Compare
) -> None:
    async def delete(pilot: Pilot[None]) -> None:
        await rest(pilot)
        await press(pilot, "ctrl+r")
        await press(pilot, "ctrl+d")
        await rest(pilot)

    store.begin_turn(session=None, question="What is the total of this receipt?", images=(), system=None)
    assert snap_compare(make_app(store), terminal_size=(80, 24), run_before=delete)


CLOUD = {"cloud_url": "https://api.example.com", "cloud_model": "big"}


@pytest.mark.parametrize("size", [(96, 34), (60, 16)])
def test_what_would_leave(
    make_app: MakeApp, snap_compare: Compare, folder: Path, size: tuple[int, int]
) -> None:
    async def propose(pilot: Pilot[None]) -> None:
        assert isinstance(pilot.app, ChatApp)
        await rest(pilot)
        Asking(pilot.app, request(folder))
        await opened(pilot, ConsentWindow)
        await press(pilot, "shift+tab", "space")
        await rest(pilot)

    assert snap_compare(make_app(**CLOUD), terminal_size=size, run_before=propose)


@pytest.mark.parametrize("outcome", ["doubtful", "cloud", "failed"])
def test_an_answer_that_was_not_sure(
    make_app: MakeApp, assistant: ScriptedAssistant, snap_compare: Compare, outcome: str
) -> None:
    asked = [*BEGUN, TokenText("A dog."), Escalated(REASON, 0.6, 0.41), TokenText("A cat")]
    assistant.script = {
        "doubtful": [*BEGUN, TokenText("A dog."), Answered(LOCAL)],
        "cloud": [*asked, TokenText(" on a sofa."), Answered(replace(REMOTE, text="A cat on a sofa."))],
        "failed": [
            *asked,
            CloudFailed("The cloud at api.example.com broke off.", "A dog."),
            Answered(
                replace(
                    LOCAL, broken="A cat", reason="local: it fits; the cloud at api.example.com broke off"
                )
            ),
        ],
    }[outcome]

    async def ask(pilot: Pilot[None]) -> None:
        await settled(pilot)
        await type_text(pilot, "What is this?")
        await press(pilot, "enter")
        await rest(pilot)

    assert snap_compare(make_app(**CLOUD), terminal_size=(110, 18), run_before=ask)


def test_a_route(make_app: MakeApp, assistant: ScriptedAssistant, snap_compare: Compare) -> None:
    async def ask(pilot: Pilot[None]) -> None:
        await rest(pilot)
        await type_text(pilot, "What is this?")
        await press(pilot, "f5")
        await opened(pilot, RouteWindow)
        await rest(pilot)

    assistant.script = [*BEGUN]
    assert snap_compare(make_app(), terminal_size=(90, 20), run_before=ask)
