"""Every way to attach an image, and to take it back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Static

from edge_app.cloud.consent import ConsentStore
from edge_app.tui.app import ChatApp
from edge_app.tui.composer.attachments import AttachmentChip, RemoveButton
from edge_app.tui.conversation.messages import QuestionView
from tests.edge_app.tui.conftest import (
    MakeApp,
    ScriptedAssistant,
    is_typing,
    notice,
    picker_shows,
    press,
    settled,
    type_text,
    until,
)


def attached(app: ChatApp) -> list[str]:
    return [attachment.name for attachment in app.chat.composer.attachments]


async def paste(pilot: Pilot[None], app: ChatApp, text: str) -> None:
    app.chat.composer.prompt.post_message(events.Paste(text))
    await settled(pilot)


async def test_the_image_command_attaches_and_looks_at_the_image_ahead(
    make_app: MakeApp, assistant: ScriptedAssistant, folder: Path
) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await type_text(pilot, "/image red house.jpg")
        await press(pilot, "enter")  # takes the suggestion
        await settled(pilot)
        assert attached(app) == ["red house.jpg"]
        assert assistant.prepared[-1] == (folder / "red house.jpg",)
        assert app.chat.composer.prompt.text == ""
        facts = str(app.chat.query_one(".chip-facts", Static).content)
        assert facts.startswith("64 × 48 · ")


async def test_the_question_takes_its_images_along(
    make_app: MakeApp, assistant: ScriptedAssistant, folder: Path
) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        app.chat.composer.attach([folder / "cat.png"])
        await settled(pilot)
        await type_text(pilot, "What is it?")
        await press(pilot, "enter")
        assert assistant.turns[0].images == (folder / "cat.png",)
        assert attached(app) == []
        assert str(app.chat.query_one(QuestionView).query_one(".picture-name", Static).content) == "cat.png"


async def test_a_mention_is_completed_with_tab_and_attached_at_once(make_app: MakeApp, folder: Path) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await type_text(pilot, "What is in @re")
        await press(pilot, "tab")
        assert attached(app) == ["red house.jpg"]
        assert app.chat.composer.prompt.text == "What is in the image"
        assert is_typing(app)
        await type_text(pilot, " @t")
        await press(pilot, "enter")
        assert app.chat.composer.prompt.text.endswith(" @trip/")
        await press(pilot, "enter")
        assert attached(app) == ["red house.jpg", "lake.png"]
    assert folder.is_dir()


async def test_arrows_choose_among_suggestions_and_escape_closes_them(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await type_text(pilot, "@")
        await press(pilot, "down", "tab")
        assert attached(app) == ["red house.jpg"]
        await type_text(pilot, "@")
        assert app.chat.composer.prompt.suggesting
        await press(pilot, "escape")
        assert not app.chat.composer.prompt.suggesting
        assert app.chat.composer.prompt.text == "@"


async def test_a_typed_mention_is_attached_when_sent(
    make_app: MakeApp, assistant: ScriptedAssistant, folder: Path
) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        app.chat.composer.prompt.recall("Is @cat.png a cat?")
        await press(pilot, "enter")
        assert assistant.turns[0].question == "Is the image a cat?"
        assert assistant.turns[0].images == (folder / "cat.png",)


@pytest.mark.parametrize("form", ["./cat.png", "cat.png", "{0}/cat.png", "'cat.png'", "file://{0}/cat.png"])
async def test_a_path_in_a_question_is_attached_when_sent_and_that_is_said(
    make_app: MakeApp, assistant: ScriptedAssistant, folder: Path, form: str
) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        app.chat.composer.prompt.recall(f"What is in {form.format(folder)}?")
        await press(pilot, "enter")
        assert assistant.turns[0].question == "What is in the image?"
        assert [Path(str(image)).name for image in assistant.turns[0].images] == ["cat.png"]
        assert notice(app) == "attached cat.png"


async def test_a_question_may_begin_with_a_path(
    make_app: MakeApp, assistant: ScriptedAssistant, folder: Path
) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        app.chat.composer.prompt.recall(f"{folder}/cat.png what is this?")
        await press(pilot, "enter")
        assert assistant.turns[0].question == "what is this?"
        assert assistant.turns[0].images == (folder / "cat.png",)


@pytest.mark.parametrize("text", ["What is ./gone.png?", "What is https://example.org/cat.png?"])
async def test_an_image_that_is_not_there_keeps_the_question(
    make_app: MakeApp, assistant: ScriptedAssistant, text: str
) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        app.chat.composer.prompt.recall(text)
        await press(pilot, "enter")
        assert "no file" in notice(app) or "on the web" in notice(app)
        assert app.chat.composer.prompt.text == text
        assert assistant.turns == []


async def test_a_pasted_path_is_attached_and_other_text_is_typed(make_app: MakeApp, folder: Path) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await paste(pilot, app, f"'{folder}/red house.jpg' {folder}/cat.png ")
        assert attached(app) == ["red house.jpg", "cat.png"]
        assert app.chat.composer.prompt.text == ""
        await paste(pilot, app, "two\r\nlines \x1b[31m")
        assert app.chat.composer.prompt.text == "two\nlines [31m"


async def test_a_path_alone_is_attached_when_sent(make_app: MakeApp, folder: Path) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        app.chat.composer.prompt.recall(str(folder / "cat.png"))
        await press(pilot, "enter")
        assert attached(app) == ["cat.png"]
        assert app.chat.composer.prompt.text == ""


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("notes.txt", "not an image"), ("gone.png", "no file"), ("trip", "is a folder"), ("empty.png", "empty")],
)
async def test_a_bad_file_gives_one_sentence_and_nothing_is_lost(
    make_app: MakeApp, folder: Path, name: str, sentence: str
) -> None:
    (folder / "empty.png").write_bytes(b"")
    app = make_app()
    async with app.run_test() as pilot:
        await type_text(pilot, "My question")
        app.chat.composer.attach([folder / "cat.png", folder / name])
        await settled(pilot)
        assert sentence in notice(app)
        assert attached(app) == ["cat.png"]
        assert app.chat.composer.prompt.text == "My question"


async def test_a_mention_that_cannot_be_read_keeps_the_question(
    make_app: MakeApp, assistant: ScriptedAssistant
) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        app.chat.composer.prompt.recall("What is @gone.png?")
        await press(pilot, "enter")
        assert "no file" in notice(app)
        assert app.chat.composer.prompt.text == "What is @gone.png?"
        assert assistant.turns == []


async def test_the_same_image_is_attached_once(make_app: MakeApp, folder: Path) -> None:
    shutil.copy(folder / "cat.png", folder / "copy.png")
    app = make_app()
    async with app.run_test() as pilot:
        app.chat.composer.attach([folder / "cat.png", folder / "copy.png"])
        await settled(pilot)
        assert attached(app) == ["cat.png"]
        assert notice(app) == "copy.png is attached already."


async def test_an_image_is_taken_back_by_key_by_mouse_and_by_command(make_app: MakeApp, folder: Path) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        app.chat.composer.attach([folder / "cat.png", folder / "red house.jpg", folder / "trip" / "lake.png"])
        await settled(pilot)
        await press(pilot, "shift+tab")
        assert isinstance(app.focused, AttachmentChip)
        await press(pilot, "delete")
        assert attached(app) == ["cat.png", "red house.jpg"]
        assert is_typing(app)
        await pilot.click(app.chat.query(RemoveButton).first())
        await settled(pilot)
        assert attached(app) == ["red house.jpg"]
        await type_text(pilot, "/detach")
        await press(pilot, "escape", "enter")
        assert attached(app) == []
        assert not app.chat.query_one("#attachments").display


async def test_images_alone_are_not_a_question(
    make_app: MakeApp, assistant: ScriptedAssistant, folder: Path
) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        app.chat.composer.attach([folder / "cat.png"])
        await settled(pilot)
        await press(pilot, "enter")
        assert notice(app) == "Write what you want to know about the image."
        assert assistant.turns == []


async def test_the_picker_shows_folders_and_images_and_attaches_by_keyboard(
    make_app: MakeApp, folder: Path
) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await pilot.press("ctrl+o")
        await picker_shows(pilot, "cat.png")
        await press(pilot, "down", "down")
        await press(pilot, "enter")
        assert attached(app) == ["cat.png"]
    assert (folder / "notes.txt").exists()


async def test_the_picker_goes_to_the_folder_above_and_closes(make_app: MakeApp, folder: Path) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await type_text(pilot, "/image")
        await pilot.press("escape", "enter")
        picker = await picker_shows(pilot, "cat.png")
        await pilot.press("backspace")
        await until(pilot, lambda: str(picker.query_one("#picker-folder", Static).content) == "~")
        await press(pilot, "escape")
        assert app.screen is app.chat
    assert folder.exists()


async def test_file_names_with_markup_are_shown_as_they_are(make_app: MakeApp, folder: Path) -> None:
    (folder / "cat.png").rename(folder / "[red]x[b].png")
    app = make_app()
    async with app.run_test() as pilot:
        app.chat.composer.attach([folder / "[red]x[b].png"])
        await settled(pilot)
        await type_text(pilot, "@[")
        screen = app.export_screenshot().replace("&#160;", " ")
        assert screen.count("[red]x[b].png") == 2


async def test_an_image_is_marked_never_to_be_sent_before_any_question_and_stays_so(
    make_app: MakeApp, folder: Path, decisions: ConsentStore
) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        app.chat.composer.attach([folder / "cat.png"])
        await settled(pilot)
        digest = app.chat.composer.attachments[0].digest
        await press(pilot, "shift+tab", "n")
        assert decisions.withheld([digest]) == {digest}
        assert "never sent" in str(app.chat.query_one(".chip-facts", Static).content)
        await type_text(pilot, "/detach")
        app.chat.composer.prompt.focus()
        await press(pilot, "enter")
        app.chat.composer.attach([folder / "cat.png"])
        await settled(pilot)
        assert app.chat.query_one(AttachmentChip).withheld
        await press(pilot, "shift+tab", "n")
        assert decisions.withheld([digest]) == frozenset()
        assert "never sent" not in str(app.chat.query_one(".chip-facts", Static).content)


async def test_a_folder_and_a_pattern_attach_their_images(make_app: MakeApp, folder: Path) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        app.chat.composer.attach_typed("trip")
        await settled(pilot)
        assert attached(app) == ["lake.png"]
        app.chat.composer.attach_typed(f"{folder}/*.jpg")
        await settled(pilot)
        assert attached(app) == ["lake.png", "red house.jpg"]


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("https://example.org/a.jpg", "https://example.org/a.jpg is an address on the web"),
        ("gone/*.png", "The pattern gone/*.png matches no images."),
        ("-", "photos/-: check the name"),
        ("data:image/png;base64,AAAA", "data:image/png is not an image"),
        ("notes.txt", "notes.txt is not an image"),
    ],
)
async def test_what_cannot_be_attached_is_said(
    make_app: MakeApp, folder: Path, typed: str, says: str
) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        app.chat.composer.attach_typed(typed)
        await settled(pilot)
        assert says in notice(app)
    assert folder.is_dir()
