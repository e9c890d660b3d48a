"""The chat and a server on loopback: real sockets, the real assistant, and an engine that answers by script."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import textual_image.widget
from textual.pilot import Pilot
from textual.widgets import Static

from edge_app import settings
from edge_app.assistant import Assistant
from edge_app.cloud.ledger import Ledger
from edge_app.engine.model_library import ModelLibrary
from edge_app.event_batches import ANSWERS, wait_for_answers
from edge_app.storage.session_records import SavedTurn
from edge_app.storage.sessions import SessionStore
from edge_app.system import paths
from edge_app.system.offline import switch
from edge_app.tui.app import ChatApp
from edge_app.tui.conversation.answer_view import AnswerView, OtherAnswer, Thinking
from edge_app.tui.dependencies import ChatDependencies
from edge_app.tui.windows.consent_window import ChatConsenter, ConsentWindow
from edge_app.tui.windows.route_window import RouteWindow
from tests.edge_app.cloud.misbehaving import STREAM, Misbehaving, Wire, answers, end, word
from tests.edge_app.fakes import FakeEngine
from tests.edge_app.tui.conftest import is_typing, type_text, until

DOUBTFUL = -5.0
YES_ONCE = ("down", "enter")


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> None:
    """Imports the library first, because its import would count in the first test's limits."""
    import openai  # noqa: F401


class Dripping:
    """Sends a word, and another each time it is told to; then waits, ends or breaks off."""

    def __init__(self) -> None:
        self.go_on = threading.Semaphore(0)
        self.is_over = threading.Event()
        self.was_left = threading.Event()

    def __call__(self, wire: Wire) -> None:
        wire.send(STREAM, word("A "))
        while not self.is_over.is_set():
            if self.go_on.acquire(timeout=0.02):
                wire.send(word("cat "))
            wire.connection.setblocking(False)
            try:
                if wire.connection.recv(1) == b"":
                    self.was_left.set()
                    return
            except BlockingIOError:
                pass
            wire.connection.setblocking(True)
        wire.send(end())


Make = Callable[..., ChatApp]


@pytest.fixture
def make(store: SessionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """A chat over an assistant of its own. Leaving it is what `run` does."""
    monkeypatch.setenv("EDGE_APP_CLOUD_KEY", "sk-of-the-test")
    made: list[Assistant] = []

    def make(server: Misbehaving, **more: object) -> ChatApp:
        chosen = settings.load(
            paths.config_file(), cloud_url=server.url, cloud_model="big", cloud_retries=0, **more
        )
        assistant = Assistant(chosen, store, FakeEngine(logprob=DOUBTFUL).load)
        made.append(assistant)
        app = ChatApp(
            ChatDependencies(
                settings=chosen,
                backend=assistant,
                models=ModelLibrary(),
                sessions=store,
                adapters=assistant.adapters.names,
                described=assistant.adapters.all,
                preview=textual_image.widget.HalfcellImage,
                clock=time.monotonic,
                decisions=lambda: assistant.decisions,
                battery=lambda: None,
                offline=switch,
                config=paths.config_file(),
                defects=tmp_path / "chat-errors.log",
            )
        )
        assistant.consenter = ChatConsenter(app.chat)
        return app

    for thread in threading.enumerate():  # left by earlier tests, whose scripted answers never end
        if thread.name == ANSWERS:
            thread.name = "left behind"
    yield make
    for assistant in made:
        assistant.close()


def leave(app: ChatApp) -> None:
    assistant = app.chat._dependencies.backend
    assert isinstance(assistant, Assistant)
    assistant.cancel()
    wait_for_answers(60.0)
    assert not [thread for thread in threading.enumerate() if thread.name == ANSWERS]
    assistant.close()


def answer(app: ChatApp) -> AnswerView:
    return app.chat.query(AnswerView).last()


def said(app: ChatApp, selector: str) -> str:
    return str(answer(app).query_one(selector, Static).content)


async def ask(pilot: Pilot[None], *reply: str) -> ChatApp:
    """A question, and what is said to the window that asks."""
    app = pilot.app
    assert isinstance(app, ChatApp)
    await until(pilot, lambda: not [w for w in app.workers if w.group == "prepare"])
    await type_text(pilot, "What is this?")
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(app.screen, ConsentWindow))
    await pilot.pause()
    await pilot.press(*reply)
    await until(pilot, lambda: app.screen is app.chat)
    return app


async def idle(pilot: Pilot[None]) -> None:
    app = pilot.app
    await until(pilot, lambda: not [w for w in app.workers if w.group in ("answer", "send")])
    await pilot.pause()


def saved(store: SessionStore) -> SavedTurn:
    return store.get(store.latest()).turns[-1]


async def test_a_doubtful_answer_is_asked_for_again_after_consent_by_keys_alone(
    make: Make, store: SessionStore
) -> None:
    with Misbehaving(answers("A ", "tabby.")) as server:
        async with make(server).run_test(size=(120, 30)) as pilot:
            app = await ask(pilot, *YES_ONCE)
            await idle(pilot)
            assert answer(app).text == "A tabby."
            assert said(app, ".answer-line").startswith("from the local server · ")
            assert app.chat.query_one(OtherAnswer).text == "A cat."
        assert len(server.requests) == 1
    assert (saved(store).answer, saved(store).kept) == ("A tabby.", "A cat.")


async def test_what_the_model_thought_is_folded_above_its_answer(make: Make) -> None:
    thinking = (word("<think>A "), word("stripy one?"), word("</think>A tabby."))
    with Misbehaving(lambda wire: wire.send(STREAM, *thinking, end())) as server:
        async with make(server).run_test(size=(120, 30)) as pilot:
            app = await ask(pilot, *YES_ONCE)
            await idle(pilot)
            assert answer(app).text == "A tabby."
            thought = answer(app).query_one(Thinking)
            assert (thought.display, thought.text) == (True, "A stripy one?")
            assert not thought.query_one(".other-text", Static).display
            answer(app).action_toggle_other()
            assert str(thought.query_one(".other-text", Static).content) == "A stripy one?"


@pytest.mark.parametrize("reply", [("enter",), ("escape",), ("up", "enter")])
async def test_who_says_no_keeps_the_local_answer_and_nothing_leaves(
    make: Make, store: SessionStore, reply: tuple[str, ...]
) -> None:
    with Misbehaving(answers("A ", "tabby.")) as server:
        async with make(server).run_test(size=(120, 30)) as pilot:
            app = await ask(pilot, *reply)
            await idle(pilot)
            assert answer(app).text == "A cat."
            assert server.requests == []
            await type_text(pilot, "And its colour?")
            await pilot.press("enter")
            if reply[0] == "up":  # never: not even asked
                await idle(pilot)
                assert app.screen is app.chat
                await pilot.press("f5")
                await until(pilot, lambda: isinstance(app.screen, RouteWindow))
                details = str(app.screen.query_one("#route-answer", Static).content)
                assert "you decided that nothing is sent" in details
                await pilot.press("escape")
            else:
                await until(pilot, lambda: isinstance(app.screen, ConsentWindow))
                await pilot.press("escape")
                await idle(pilot)
        assert server.requests == []
    assert store.recent()[0].turns >= 1
    ledger = Ledger(paths.sessions_file())
    assert ledger.entries() == ()
    ledger.close()


async def test_typing_stays_possible_while_the_answer_streams_from_a_server(make: Make) -> None:
    drip = Dripping()
    with Misbehaving(drip) as server:
        async with make(server, mode="quality").run_test(size=(120, 30)) as pilot:
            app = await ask(pilot, *YES_ONCE)
            await until(pilot, lambda: answer(app).text)
            for number, letter in enumerate("and then"):
                drip.go_on.release()
                await pilot.press("space" if letter == " " else letter)
                await until(pilot, lambda: answer(app).text.count("cat") == number + 1)  # noqa: B023
            assert is_typing(app)
            assert app.chat.composer.prompt.text == "and then"
            await pilot.press("enter")  # the next question waits
            await until(pilot, lambda: app.chat.composer.prompt.text == "and then")
            drip.is_over.set()
            await idle(pilot)
            assert said(app, ".answer-line").startswith("from the local server · ")
            assert answer(app).text.startswith("A cat cat")


async def test_escape_stops_an_answer_from_a_server_and_hangs_up(make: Make, store: SessionStore) -> None:
    drip = Dripping()
    with Misbehaving(drip) as server:
        async with make(server).run_test(size=(120, 30)) as pilot:
            app = await ask(pilot, *YES_ONCE)
            await until(pilot, lambda: answer(app).text == "A ")
            await pilot.press("escape")
            await idle(pilot)
            assert drip.was_left.wait(240)
            assert said(app, ".answer-line").startswith("stopped · from the local server")
            assert app.chat.query_one(OtherAnswer).text == "A cat."
    turn = saved(store)
    assert (turn.status, turn.answer, turn.kept) == ("stopped", "A ", "A cat.")


async def test_a_plug_that_is_pulled_in_the_middle_loses_nothing(make: Make, store: SessionStore) -> None:
    with Misbehaving(lambda wire: wire.send(STREAM, word("A tab"))) as server:
        async with make(server).run_test(size=(120, 30)) as pilot:
            app = await ask(pilot, *YES_ONCE)
            await idle(pilot)
            assert answer(app).text == "A cat."
            assert "local answer kept" in said(app, ".speaker")
            assert app.chat.query_one(OtherAnswer).text == "A tab"
            assert "failing" in str(app.chat.query_one("#status-facts", Static).content)
            server.scripts[:] = [answers("A ", "tabby.")]
            await pilot.press("f6")  # once more, on demand
            await until(pilot, lambda: isinstance(app.screen, ConsentWindow))
            await pilot.pause()
            await pilot.press(*YES_ONCE)
            await idle(pilot)
            assert answer(app).text == "A tabby."
            assert "failing" not in str(app.chat.query_one("#status-facts", Static).content)
    turn = saved(store)
    assert (turn.status, turn.answer, turn.kept) == ("complete", "A tabby.", "A cat.")


@pytest.mark.parametrize("mode", ["auto", "quality"])
async def test_quitting_in_the_middle_of_an_answer_from_a_server_loses_nothing(
    make: Make, store: SessionStore, mode: str
) -> None:
    drip = Dripping()
    with Misbehaving(drip) as server:
        app = make(server, mode=mode)
        async with app.run_test(size=(120, 30)) as pilot:
            await ask(pilot, *YES_ONCE)
            drip.go_on.release()
            await until(pilot, lambda: answer(app).text == "A cat ")
            await pilot.press("ctrl+q")
        leave(app)
    turn = saved(store)
    kept = "A cat." if mode == "auto" else None
    assert (turn.status, turn.answer, turn.kept) == ("stopped", "A cat ", kept)


async def test_quitting_while_being_asked_is_no_consent(make: Make, store: SessionStore) -> None:
    with Misbehaving(answers("A ", "tabby.")) as server:
        app = make(server)
        async with app.run_test(size=(120, 30)) as pilot:
            await type_text(pilot, "What is this?")
            await pilot.press("enter")
            await until(pilot, lambda: isinstance(app.screen, ConsentWindow))
            await pilot.press("ctrl+q")
        leave(app)
        assert server.requests == []
    assert saved(store).answer == "A cat."


async def test_a_server_on_this_machine_answers_offline_too(make: Make) -> None:
    with Misbehaving(answers("A ", "tabby.")) as server:
        async with make(server).run_test(size=(120, 30)) as pilot:
            await pilot.press("f4")
            await until(pilot, lambda: switch.is_on)
            app = await ask(pilot, *YES_ONCE)
            await idle(pilot)
            assert answer(app).text == "A tabby."
            assert "offline, local server 127.0.0.1" in str(
                app.chat.query_one("#status-facts", Static).content
            )


async def test_the_route_says_what_the_other_place_is_called_and_asks_nothing(make: Make) -> None:
    with Misbehaving(answers("A ", "tabby.")) as server:
        app = make(server, mode="quality")
        async with app.run_test(size=(120, 30)) as pilot:
            await until(pilot, lambda: not [w for w in app.workers if w.group == "prepare"])
            await type_text(pilot, "What is this?")
            await pilot.press("f5")
            await until(pilot, lambda: "local server" in route_text(app))
            assert "mode quality" in route_text(app)
            await pilot.press("escape")
            assert app.chat.composer.prompt.text == "What is this?"
        assert server.requests == []


def route_text(app: ChatApp) -> str:
    found = app.screen.query("#route-found")
    return str(found.first(Static).content) if found else ""
