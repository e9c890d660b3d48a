"""The choice of the model: by name and in the window, with a download, and offered once after an unsure answer."""

from __future__ import annotations

import threading

import pytest
from textual.widgets import Static

from edge_app.events import Progress
from edge_app.settings import load
from edge_app.system import paths
from edge_app.tui.app import ChatApp
from edge_app.tui.conversation.messages import RemarkView
from edge_app.tui.status import StatusLine
from edge_app.tui.windows.models_window import ModelsWindow
from edge_app.tui.windows.window import ConfirmWindow
from tests.edge_app.tui.conftest import (
    MakeApp,
    ScriptedAssistant,
    ScriptedModels,
    failure,
    notice,
    opened,
    press,
    settled,
    type_text,
    until,
)

OTHER = "smolvlm-256m"
HALF = Progress("pull", f"Downloading {OTHER}", 139_000_000, 278_000_000)


def status(app: ChatApp) -> StatusLine:
    return app.chat.query_one(StatusLine)


def remarks(app: ChatApp) -> list[str]:
    return [str(remark.render()) for remark in app.chat.query(RemarkView)]


async def test_a_model_that_is_here_answers_from_then_on_and_after_the_next_start(
    make_app: MakeApp, assistant: ScriptedAssistant, models: ScriptedModels
) -> None:
    models.here.add(OTHER)
    app = make_app()
    async with app.run_test() as pilot:
        await press(pilot, "f8")
        await opened(pilot, ModelsWindow)
        await press(pilot, "down", "enter")
        await until(pilot, lambda: assistant.models == [OTHER])
        await settled(pilot)
        assert f"{OTHER} answers from now on" in notice(app)
    assert load(paths.config_file()).model == OTHER
    assert len(assistant.prepared) == 2
    assert not models.pulled


async def test_the_window_says_what_each_model_needs_and_is_good_at(
    make_app: MakeApp, models: ScriptedModels
) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await type_text(pilot, "/model")
        await press(pilot, "escape", "enter")
        await opened(pilot, ModelsWindow)
        window = app.screen
        assert isinstance(window, ModelsWindow)
        found = {each.value: each.detail for each in window.find("")}
        assert set(found) == {each.entry.name for each in models.list()}
        assert found["edge-vlm-135m"] == "in use · 123.0 MB · 320.0 MB of memory · works at once"
        assert found[OTHER] == "not pulled · 278.8 MB · 480.0 MB of memory · describes photos"
        assert window.highlighted is not None
        assert window.highlighted.value == "edge-vlm-135m"
        assert [each.value for each in window.find("reads text")] == ["smolvlm-500m"]


async def test_the_default_model_leaves_no_setting_behind(
    make_app: MakeApp, assistant: ScriptedAssistant, models: ScriptedModels
) -> None:
    models.here.add(OTHER)
    app = make_app()
    async with app.run_test() as pilot:
        for name in (OTHER, "edge-vlm-135m"):
            await app.chat.run_command("model", name)
            await until(pilot, lambda name=name: assistant.models[-1:] == [name])
    assert "model" not in paths.config_file().read_text()


async def test_a_model_that_is_not_here_is_downloaded_while_the_chat_goes_on(
    make_app: MakeApp, assistant: ScriptedAssistant, models: ScriptedModels
) -> None:
    models.script, models.gate = [HALF, HALF], threading.Semaphore(1)
    app = make_app()
    async with app.run_test(size=(120, 30)) as pilot:
        await settled(pilot)
        await app.chat.run_command("model", OTHER)
        await until(pilot, lambda: status(app).download)
        assert status(app).download == f"downloading {OTHER}: 50%"
        assert "edge-vlm-135m answers until it is here. Esc cancels it" in notice(app)
        app.chat.composer.prompt.insert("What is this?")
        await pilot.press("enter")
        await until(pilot, lambda: app.chat.conversation.last_answer is not None)
        assert assistant.turns[0].question == "What is this?"
        assert not assistant.models
        models.gate.release()
        await until(pilot, lambda: assistant.models == [OTHER])
        assert (status(app).download, status(app).model) == ("", OTHER)


async def test_a_download_does_not_undo_a_later_choice(
    make_app: MakeApp, assistant: ScriptedAssistant, models: ScriptedModels
) -> None:
    models.here.add("smolvlm-500m")
    models.script, models.gate = [HALF, HALF], threading.Semaphore(1)
    app = make_app()
    async with app.run_test(size=(120, 30)) as pilot:
        await settled(pilot)
        await app.chat.run_command("model", OTHER)
        await until(pilot, lambda: status(app).download)
        await app.chat.run_command("model", "smolvlm-500m")
        await until(pilot, lambda: assistant.models == ["smolvlm-500m"])
        models.gate.release()
        await until(pilot, lambda: f"{OTHER} is here now" in notice(app))
    assert assistant.models == ["smolvlm-500m"]


async def test_esc_cancels_the_download_and_the_chat_goes_on(
    make_app: MakeApp, assistant: ScriptedAssistant, models: ScriptedModels
) -> None:
    models.script, models.gate = [HALF, HALF, HALF], threading.Semaphore(1)
    app = make_app()
    async with app.run_test(size=(120, 30)) as pilot:
        await settled(pilot)
        await app.chat.run_command("model", OTHER)
        await until(pilot, lambda: status(app).download)
        await pilot.press("escape")
        await until(pilot, lambda: not status(app).download)
        assert "cancelled" in notice(app)
        models.gate.release(2)
        await until(pilot, models.stopped.is_set)
        await type_text(pilot, "What is this?")
        await press(pilot, "enter")
        assert app.chat.conversation.last_answer is not None
    assert not assistant.models
    assert not paths.config_file().exists()


@pytest.mark.parametrize("name", [OTHER, "nothing-like-it"])
async def test_a_model_that_cannot_be_had_is_one_sentence_and_the_present_one_stays(
    make_app: MakeApp, assistant: ScriptedAssistant, models: ScriptedModels, name: str
) -> None:
    models.script = [failure("The app is offline.")]
    app = make_app()
    async with app.run_test(size=(120, 30)) as pilot:
        await settled(pilot)
        await app.chat.run_command("model", name)
        expected = "The app is offline." if name == OTHER else "There is no model named 'nothing-like-it'"
        await until(pilot, lambda: expected in notice(app))
        assert status(app).model == "edge-vlm-135m"
        assert status(app).download == ""
    assert not assistant.models


@pytest.mark.parametrize(("key", "pulled"), [("y", [OTHER]), ("n", []), ("escape", [])])
async def test_a_model_that_the_memory_is_too_small_for_is_downloaded_after_asking(
    make_app: MakeApp, models: ScriptedModels, key: str, pulled: list[str]
) -> None:
    models.memory = 10**6
    app = make_app()
    async with app.run_test(size=(120, 30)) as pilot:
        await settled(pilot)
        await app.chat.run_command("model", OTHER)
        await opened(pilot, ConfirmWindow)
        text = str(app.screen.query_one(".window-text", Static).content)
        assert text == f"{OTHER} needs 480.0 MB of memory, and this machine has 1.0 MB in all."
        await press(pilot, key)
        await until(pilot, lambda: app.screen is app.chat)
        await settled(pilot)
    assert models.pulled == pulled


async def test_a_second_download_waits_for_the_first(make_app: MakeApp, models: ScriptedModels) -> None:
    models.script, models.gate = [HALF], threading.Semaphore(0)
    app = make_app()
    async with app.run_test(size=(120, 30)) as pilot:
        await settled(pilot)
        await app.chat.run_command("model", OTHER)
        await until(pilot, lambda: models.pulled)
        await app.chat.run_command("model", "smolvlm-500m")
        await until(pilot, lambda: f"{OTHER} is being downloaded" in notice(app))
        models.gate.release()
        await until(pilot, lambda: OTHER in models.here)
    assert models.pulled == [OTHER]


async def test_a_better_model_is_offered_after_an_unsure_answer_and_highlighted(
    make_app: MakeApp, assistant: ScriptedAssistant, models: ScriptedModels
) -> None:
    models.offers = ["smolvlm-500m"]
    assistant.answers("A dog, perhaps.", confidence=0.3)
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        for _ in range(2):
            await type_text(pilot, "Who is this?")
            await press(pilot, "enter")
        (offer,) = remarks(app)
        assert "smolvlm-500m may answer such questions better" in offer
        assert "545.6 MB" in offer
        assert "F8 shows it" in offer
        await pilot.press("f8")
        await opened(pilot, ModelsWindow)
        assert isinstance(app.screen, ModelsWindow)
        assert app.screen.highlighted is not None
        assert app.screen.highlighted.value == "smolvlm-500m"


@pytest.mark.parametrize(
    "changes",
    [
        {"confidence": 0.9},
        {"confidence": 0.3, "model": "smolvlm-256m"},
        {"confidence": 0.3, "place": "cloud"},
        {"confidence": None, "declined": True, "tokens": None},
    ],
)
async def test_nothing_is_offered_after_other_answers(
    make_app: MakeApp, assistant: ScriptedAssistant, models: ScriptedModels, changes: dict[str, object]
) -> None:
    from edge_app.answer import TokenCounts

    models.offers = ["smolvlm-500m"]
    if "tokens" in changes:  # a reply of the app itself
        changes["tokens"] = TokenCounts()
    assistant.answers("A dog.", **changes)
    app = make_app()
    async with app.run_test() as pilot:
        await type_text(pilot, "Who is this?")
        await press(pilot, "enter")
        assert not remarks(app)
    assert models.offers == ["smolvlm-500m"]


async def test_a_saved_choice_that_the_environment_overrides_is_said(
    make_app: MakeApp, assistant: ScriptedAssistant, models: ScriptedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_APP_MODEL", "edge-vlm-135m")
    models.here.add(OTHER)
    app = make_app()
    async with app.run_test(size=(120, 30)) as pilot:
        await settled(pilot)
        await app.chat.run_command("model", OTHER)
        await until(pilot, lambda: assistant.models == [OTHER])
        assert "EDGE_APP_MODEL in the environment overrides it" in notice(app)
