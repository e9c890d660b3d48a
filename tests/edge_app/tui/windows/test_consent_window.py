"""Being asked before something leaves: by keyboard alone, with everything in view, and no by default."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import OptionList, Static

from edge_app.cloud.consent import ConsentStore, Proposal, Reply
from edge_app.cloud.endpoint import endpoint
from edge_app.cloud.payload import Payload, payload
from edge_app.settings import Price
from edge_app.tui.app import ChatApp
from edge_app.tui.windows.consent_window import ChatConsenter, ConsentWindow, cost_text
from edge_app.tui.windows.outgoing_view import OutgoingView
from models.core.images import load_image
from models.core.types import Message, Sampling
from tests.edge_app.conftest import picture
from tests.edge_app.tui.conftest import MakeApp, press, settled, until

CLOUD = endpoint("https://api.example.com", "big")
SERVER = endpoint("http://localhost:11434", "llava")
REASON = "cloud: local confidence 0.41 below 0.60"


def request(folder: Path, *, images: int = 2, at: object = CLOUD) -> Payload:
    """Two turns; the second with images, from one file with facts about its camera in it."""
    files = (folder / "cat.png", folder / "red house.jpg")[:images]
    messages = [
        Message("system", "Be brief."),
        Message("user", "Hello?"),
        Message("assistant", "Yes?"),
        Message("user", "What is [bold]this[/bold]?\n\x1b[2JIn detail.", tuple(map(load_image, files))),
    ]
    return payload(at, messages, sampling=Sampling(max_tokens=512))  # type: ignore[arg-type]


class Asking:
    """Asks on a thread of its own, as a turn does."""

    def __init__(self, app: ChatApp, body: Payload, session: str | None = "0123456789ab") -> None:
        self.stopped = threading.Event()
        self.replies: list[Reply] = []
        proposal = Proposal(body, REASON, session, self.stopped)
        self.thread = threading.Thread(
            target=lambda: self.replies.append(ChatConsenter(app.chat).ask(proposal)), daemon=True
        )
        self.thread.start()

    async def reply(self, pilot: Pilot[None]) -> Reply:
        await until(pilot, lambda: not self.thread.is_alive())
        return self.replies[0]


async def asked(pilot: Pilot[None], body: Payload, session: str | None = "0123456789ab") -> Asking:
    app = pilot.app
    assert isinstance(app, ChatApp)
    await settled(pilot)
    asking = Asking(app, body, session)
    await until(pilot, lambda: isinstance(app.screen, ConsentWindow))
    await settled(pilot)
    return asking


@pytest.mark.parametrize(
    ("keys", "reply"),
    [
        (("enter",), "no"),
        (("escape",), "no"),
        (("down", "enter"), "once"),
        (("down", "down", "enter"), "chat"),
        (("down", "down", "down", "enter"), "always"),
        (("up", "enter"), "never"),
        ((*"always yes 1234", "enter"), "no"),  # who was typing on has not agreed
    ],
)
async def test_each_answer_by_keys_alone(
    make_app: MakeApp, folder: Path, keys: tuple[str, ...], reply: Reply
) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        asking = await asked(pilot, request(folder))
        await press(pilot, *("space" if key == " " else key for key in keys))
        assert await asking.reply(pilot) == reply
        assert app.screen is app.chat


async def test_everything_that_would_leave_is_shown_and_cannot_act_on_the_terminal(
    make_app: MakeApp, folder: Path
) -> None:
    app = make_app(cloud_prices={"big": Price(input=2.0, output=8.0)})
    body = request(folder)
    async with app.run_test(size=(100, 50)) as pilot:
        asking = await asked(pilot, body)
        facts = str(app.screen.query_one("#consent-facts", Static).content)
        for line in (
            f"Why: {REASON}",
            "To: api.example.com, model big",
            "Question: What is [bold]this[/bold]?\n[2JIn detail.",
            "Before it: 1 earlier question of this chat, with the answers",
            "System prompt: Be brief.",
            "Images: 2",
            f"In all: {body.size / 1000:.0f} kB",
            f"Cost: at most {(2.0 * body.prompt_tokens + 8.0 * 512) / 1e6:.4f} in the currency of your prices",
        ):
            assert line in facts
        views = list(app.screen.query(OutgoingView))
        assert [str(view.query_one(".chip-name", Static).content) for view in views] == [
            "cat.png", "red house.jpg"
        ]  # fmt: skip
        marks = [str(view.query_one(".outgoing-mark", Static).content) for view in views]
        assert marks == ["[ ] never send"] * 2
        assert "64 × 48" in str(views[0].query_one(".chip-facts", Static).content)
        assert "\x1b" not in app.export_screenshot()
        await press(pilot, "escape")
        assert await asking.reply(pilot) == "no"


async def test_a_marked_image_is_marked_at_once_and_then_only_no_can_be_said(
    make_app: MakeApp, folder: Path, decisions: ConsentStore
) -> None:
    app = make_app()
    body = request(folder)
    digests = [image.digest for image in body.images]
    async with app.run_test(size=(100, 40)) as pilot:
        asking = await asked(pilot, body)
        await press(pilot, "shift+tab", "space")
        assert decisions.withheld(digests) == {digests[1]}
        assert "[x] never send" in str(app.focused.query_one(".outgoing-mark", Static).content)  # type: ignore[union-attr]
        assert "goes nowhere" in str(app.screen.query_one(".nothing", Static).content)
        await press(pilot, "tab", "down", "enter")  # all that is left is never
        assert await asking.reply(pilot) == "never"

        asking = await asked(pilot, body)
        await press(pilot, "shift+tab", "space", "space")
        assert decisions.withheld(digests) == frozenset()
        await press(pilot, "tab", "down", "enter")
        assert await asking.reply(pilot) == "once"


async def test_a_chat_that_is_not_saved_cannot_be_allowed_as_a_whole(make_app: MakeApp, folder: Path) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        asking = await asked(pilot, request(folder, images=0), None)
        assert app.screen.query_one(OptionList).option_count == 4
        await press(pilot, "down", "down", "enter")
        assert await asking.reply(pilot) == "always"


async def test_stopping_the_turn_closes_the_window_and_is_no_consent(make_app: MakeApp, folder: Path) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        asking = await asked(pilot, request(folder))
        asking.stopped.set()
        assert await asking.reply(pilot) == "no"
        await until(pilot, lambda: app.screen is app.chat)


async def test_leaving_the_chat_is_no_consent(make_app: MakeApp, folder: Path) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        asking = await asked(pilot, request(folder))
        await pilot.press("ctrl+q")
    asking.thread.join(240)
    assert asking.replies == ["no"]
    assert ChatConsenter(app.chat).ask(Proposal(request(folder), REASON, None, asking.stopped)) == "no"


@pytest.mark.parametrize("size", [(80, 24), (60, 14), (40, 12)])
async def test_the_answers_are_in_view_however_long_the_question_and_small_the_terminal(
    make_app: MakeApp, folder: Path, size: tuple[int, int]
) -> None:
    app = make_app()
    body = payload(
        CLOUD,
        [Message("user", "word " * 2000, (load_image(folder / "cat.png"),))],
        sampling=Sampling(max_tokens=9),
    )
    async with app.run_test(size=size) as pilot:
        asking = await asked(pilot, body)
        options = app.screen.query_one(OptionList)
        assert options.region.height >= 5
        assert options.region.bottom <= size[1]
        await press(pilot, "escape")
        assert await asking.reply(pilot) == "no"


async def test_many_images_can_all_be_seen_and_reached_by_keys(make_app: MakeApp, folder: Path) -> None:
    colours = ("red", "green", "blue", "white", "black")
    for colour in colours:
        picture(colour, "grey").save(folder / f"{colour}.png", "BMP")
    shown = tuple(load_image(folder / f"{colour}.png") for colour in colours)
    body = payload(CLOUD, [Message("user", "Which?", shown)], sampling=Sampling(max_tokens=9))
    app = make_app()
    async with app.run_test(size=(80, 30)) as pilot:
        asking = await asked(pilot, body)
        scroll = app.screen.query_one("#consent-what")
        for view in reversed(list(app.screen.query(OutgoingView))):
            await press(pilot, "shift+tab")
            assert app.focused is view
            assert view.region.width > 20
            await until(pilot, lambda shown=view: scroll.region.contains_region(shown.region))
        await press(pilot, "escape")
        assert await asking.reply(pilot) == "no"


def test_the_cost_in_words(folder: Path) -> None:
    body = request(folder, images=0)
    tokens = f"(about {body.prompt_tokens} tokens to read, at most 512 to write)"
    assert cost_text(body, None) == f"unknown, the settings have no price of big {tokens}"
    local = request(folder, images=0, at=SERVER)
    assert cost_text(local, None).startswith("none, it is on this machine (")
    assert cost_text(local, Price(input=1.0, output=1.0)).startswith("at most 0.0")
