"""What the line at the top says, and what it leaves out first where there is no room."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from textual.widgets import Static

from edge_app.cloud.endpoint import endpoint
from edge_app.system.battery import Battery
from edge_app.tui.app import ChatApp
from edge_app.tui.status import Fact, StatusLine, fitting
from edge_app.tui.text import battery_text, network_text
from tests.edge_app.tui.conftest import MakeApp, press, settled, until

CLOUD = endpoint("https://api.example.com", "big")
SERVER = endpoint("http://localhost:11434", "llava")


def facts(app: ChatApp) -> str:
    return str(app.chat.query_one("#status-facts", Static).content)


def test_the_highest_rank_goes_first_and_the_order_stays() -> None:
    said = [Fact("model", 3), Fact("adapter", 1), Fact("", 0), Fact("mode", 2)]
    assert fitting(said, 80) == "model · adapter · mode"
    assert fitting(said, 21) == "adapter · mode"
    assert fitting(said, 10) == "adapter"
    assert fitting(said, 3) == ""


@pytest.mark.parametrize(
    ("place", "offline", "failing", "said"),
    [
        (None, False, False, "no cloud"),
        (None, True, False, "offline"),
        (CLOUD, False, False, "cloud api.example.com"),
        (CLOUD, False, True, "cloud api.example.com, failing"),
        (CLOUD, True, False, "offline"),
        (SERVER, False, False, "local server localhost:11434"),
        (SERVER, True, False, "offline, local server localhost:11434"),
    ],
)
def test_the_network_in_words(place: object, offline: bool, failing: bool, said: str) -> None:
    assert network_text(place, offline=offline, failing=failing) == said  # type: ignore[arg-type]


def test_the_battery_in_words() -> None:
    assert battery_text(None) == ""
    assert battery_text(Battery(83, plugged=False)) == "battery 83%"
    assert battery_text(Battery(100, plugged=True)) == "plugged in, 100%"


async def test_everything_is_told_where_there_is_room(make_app: MakeApp) -> None:
    app = make_app(
        battery=lambda: Battery(41, plugged=False), cloud_url=CLOUD.url, cloud_model="big", mode="eco"
    )
    async with app.run_test(size=(140, 24)) as pilot:
        await settled(pilot)
        app.chat.query_one(StatusLine).sure = "unsure, 41%"
        await settled(pilot)
        assert facts(app) == (
            "edge-vlm-135m · adapter auto · mode eco · cloud api.example.com · battery 41% · unsure, 41%"
        )
        await pilot.resize_terminal(60, 24)
        await settled(pilot)
        assert facts(app) == "adapter auto · mode eco · cloud api.example.com"
        app.chat.query_one(StatusLine).doing = "Compiling the model"
        await settled(pilot)
        assert facts(app) == "Compiling the model · cloud api.example.com"


@pytest.mark.parametrize("found", [Battery(41, plugged=False), None])
async def test_the_battery_is_looked_at_seldom_and_without_one_just_once(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, found: Battery | None
) -> None:
    looks: list[Battery | None] = []
    timers: list[tuple[float, Callable[[], object]]] = []

    def look() -> Battery | None:
        looks.append(found)
        return found

    monkeypatch.setattr(StatusLine, "set_timer", lambda _, seconds, then: timers.append((seconds, then)))
    app = make_app(battery=look)
    async with app.run_test() as pilot:
        await settled(pilot)
        assert (len(looks), [seconds for seconds, _ in timers]) == (1, [30.0] if found else [])
        if found:
            timers[0][1]()
            await settled(pilot)
            assert (len(looks), len(timers)) == (2, 2)


async def test_half_an_endpoint_is_told_at_the_start(make_app: MakeApp) -> None:
    app = make_app(cloud_url=CLOUD.url)
    async with app.run_test() as pilot:
        await settled(pilot)
        assert "cloud_model is missing" in str(app.chat.query_one("#notice", Static).content)
        assert "no cloud" in facts(app)


async def test_f4_turns_the_network_off_and_on_again(make_app: MakeApp) -> None:
    from edge_app.system.offline import switch

    app = make_app(cloud_url=CLOUD.url, cloud_model="big")
    async with app.run_test(size=(110, 24)) as pilot:
        await press(pilot, *"what", "f4")  # in the middle of typing
        await until(pilot, lambda: switch.is_on)
        assert "offline" in facts(app)
        assert "until you turn it off (F4)" in str(app.chat.query_one("#notice", Static).content)
        await press(pilot, "f4")
        await until(pilot, lambda: not switch.is_on)
        assert "cloud api.example.com" in facts(app)
        assert app.chat.composer.prompt.text == "what"
