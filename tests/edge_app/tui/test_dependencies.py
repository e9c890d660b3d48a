"""What is chosen in the chat to last is in settings.toml, and nothing else there changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Static

from edge_app.settings import load
from edge_app.system import paths
from edge_app.system.offline import switch
from edge_app.tui.app import ChatApp
from edge_app.tui.status import StatusLine
from edge_app.tui.windows.window import ChoiceWindow
from tests.edge_app.tui.conftest import (
    MakeApp,
    ScriptedAssistant,
    notice,
    opened,
    press,
    settled,
    type_text,
    until,
)

MINE = '# mine\nmax_tokens = 99  # short\n\n[keys]\n"chat.image" = "f9"\n'


@pytest.fixture
def config(home: Path) -> Path:
    file = paths.config_file()
    assert file.is_relative_to(home)
    paths.ensure(file.parent)
    file.write_text(MINE)
    return file


async def test_the_mode_chosen_in_the_window_is_there_at_the_next_start(
    make_app: MakeApp, config: Path
) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await press(pilot, "f3", "down", "enter")
        assert app.chat.query_one(StatusLine).mode == "fast"
    assert load(config).mode == "fast"
    assert config.read_text() == f'mode = "fast"\n{MINE}'


@pytest.mark.parametrize("how", ["/mode eco", "palette"])
async def test_the_mode_by_command_and_by_the_palette(make_app: MakeApp, config: Path, how: str) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await settled(pilot)
        if how == "palette":
            command = next(c for c in app.get_system_commands(app.chat) if c.title == "Mode eco")
            await command.callback()
            await settled(pilot)
        else:
            await type_text(pilot, how)
            await press(pilot, "enter")
        await until(pilot, lambda: app.chat.query_one(StatusLine).mode == "eco")
    assert load(config).mode == "eco"


async def test_the_theme_is_kept_once_it_is_chosen_and_not_before(make_app: MakeApp, config: Path) -> None:
    app = make_app(theme="textual-light")
    async with app.run_test() as pilot:
        await settled(pilot)
        assert config.read_text() == MINE
        app.theme = "nord"
        await settled(pilot)
    assert load(config).theme == "nord"


async def test_what_cannot_be_kept_holds_until_the_end_and_says_so(make_app: MakeApp, config: Path) -> None:
    config.write_text("mode = [")
    app = make_app()
    async with app.run_test() as pilot:
        await choose(app, "eco")
        await settled(pilot)
        assert app.chat.query_one(StatusLine).mode == "eco"
        assert notice(app).startswith("The mode is eco until you quit: ")
        assert "not valid TOML" in notice(app)
    assert config.read_text() == "mode = ["


async def test_an_environment_that_says_otherwise_is_told(
    make_app: MakeApp, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_APP_MODE", "fast")
    app = make_app()
    async with app.run_test() as pilot:
        await choose(app, "eco")
        await settled(pilot)
        assert "EDGE_APP_MODE in the environment" in notice(app)
    assert config.exists()


async def test_offline_ends_with_the_program(make_app: MakeApp, config: Path) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        for word, is_on in (("on", True), ("on", True), ("off", False), ("sometimes", False)):
            await type_text(pilot, f"/offline {word}")
            await press(pilot, "enter")
            await until(pilot, lambda expected=is_on: switch.is_on == expected)
        assert notice(app) == "Offline is on or off, not sometimes."
    assert config.read_text() == MINE


async def choose(app: ChatApp, mode: str) -> None:
    await app.chat.run_command("mode", mode)


async def test_the_detail_of_images_is_chosen_shown_sent_and_kept(
    make_app: MakeApp, config: Path, assistant: ScriptedAssistant
) -> None:
    app = make_app()
    async with app.run_test(size=(120, 30)) as pilot:
        await settled(pilot)
        assert "detail" not in facts(app)
        await app.chat.run_command("detail", "closely")
        await until(pilot, lambda: "There is no detail closely; there are auto, low, high." in notice(app))
        await app.chat.run_command("detail", "")
        await opened(pilot, ChoiceWindow)
        await press(pilot, "down", "down", "enter")
        await until(pilot, lambda: "detail high" in facts(app))
        await type_text(pilot, "What is this?")
        await press(pilot, "enter")
        assert assistant.turns[0].detail == "high"
    assert load(config).image_detail == "high"


def facts(app: ChatApp) -> str:
    return str(app.chat.query_one("#status-facts", Static).content)
