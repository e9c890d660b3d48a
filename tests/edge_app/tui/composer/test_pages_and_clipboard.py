"""Pages of documents and the system's clipboard as attached images."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import OptionList

from edge_app.images.image_sources import ImageBytes
from edge_app.tui.app import ChatApp
from edge_app.tui.composer import attaching
from edge_app.tui.composer.attachments import read_attachment
from edge_app.tui.windows.pages_window import PagesWindow
from edge_app.turns.images.pictures import Pictures
from models.core.errors import UserError
from tests.edge_app.conftest import png
from tests.edge_app.tui.conftest import (
    MakeApp,
    ScriptedAssistant,
    notice,
    opened,
    picker_shows,
    press,
    settled,
    type_text,
    until,
)
from tests.models.documents.made_pdf import Sheet, pdf_file


@pytest.fixture
def bill(folder: Path) -> Path:
    """A PDF of two pages with text."""
    file = folder / "bill.pdf"
    file.write_bytes(
        pdf_file(Sheet(lines=[(72, 700, "Invoice 4711")]), Sheet(lines=[(72, 700, "Terms of delivery")]))
    )
    return file


def attached(app: ChatApp) -> list[str]:
    return [attachment.name for attachment in app.chat.composer.attachments]


@pytest.mark.parametrize("page", [1, 2])
def test_a_page_has_the_digest_under_which_it_is_saved(bill: Path, page: int) -> None:
    source = bill.with_name(f"bill.pdf#{page}")
    (saved,) = Pictures().read(source)
    assert read_attachment(source).digest == saved.image.digest


def test_bytes_have_the_digest_under_which_they_are_saved() -> None:
    source = ImageBytes(png(), "clipboard.png")
    (saved,) = Pictures().read(source)
    attachment = read_attachment(source)
    assert (attachment.digest, attachment.name) == (saved.image.digest, "clipboard.png")


async def test_a_typed_document_attaches_its_first_page_and_says_so(
    make_app: MakeApp, assistant: ScriptedAssistant, bill: Path
) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await app.chat.run_command("image", str(bill))
        await settled(pilot)
        assert attached(app) == ["bill.pdf#1"]
        assert notice(app) == "bill.pdf#1 is attached; @bill.pdf#2 names the second page."
        await type_text(pilot, "What is the number?")
        await press(pilot, "enter")
        await settled(pilot)
        assert assistant.turns[0].images == (bill.with_name("bill.pdf#1"),)


async def test_the_picker_asks_for_the_page_and_finds_it_by_its_words(make_app: MakeApp, bill: Path) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await pilot.press("ctrl+o")
        picker = await picker_shows(pilot, "bill.pdf")
        picker.dismiss(bill)
        await opened(pilot, PagesWindow)
        await pilot.press(*"delivery")
        listed = app.screen.query_one(OptionList)
        await until(pilot, lambda: listed.option_count == 1)
        await pilot.press("enter")
        await settled(pilot)
        assert attached(app) == ["bill.pdf#2"]


def test_pages_are_found_by_number_or_words(bill: Path) -> None:
    from models.documents.pages import pages_of

    window = PagesWindow(tuple(pages_of(bill)))
    assert [(found.title, found.detail) for found in window.find("")] == [
        ("Page 1", "Invoice 4711"),
        ("Page 2", "Terms of delivery"),
    ]
    assert [found.value for found in window.find("2")] == ["bill.pdf#2"]
    assert [found.value for found in window.find("invoice")] == ["bill.pdf#1"]
    assert window.find("nothing") == []


async def test_paste_attaches_the_image_of_the_clipboard(
    make_app: MakeApp, assistant: ScriptedAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attaching, "clipboard_images", png)
    app = make_app()
    async with app.run_test() as pilot:
        await press(pilot, "ctrl+v")
        await settled(pilot)
        assert attached(app) == ["clipboard.png"]
        await type_text(pilot, "What is this?")
        await press(pilot, "enter")
        await settled(pilot)
        assert assistant.turns[0].images == (ImageBytes(png(), "clipboard.png"),)


async def test_the_key_inserts_text_where_the_clipboard_has_no_image(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable() -> None:
        raise UserError("neither is installed")

    app = make_app()
    async with app.run_test() as pilot:
        app.copy_to_clipboard("copied words")
        for read in (lambda: None, unreadable):
            monkeypatch.setattr(attaching, "clipboard_images", read)
            app.chat.composer.prompt.clear()
            await press(pilot, "ctrl+v")
            await settled(pilot)
            assert app.chat.composer.prompt.text == "copied words"
        await app.chat.run_command("paste", "")
        await settled(pilot)
        assert notice(app) == "neither is installed"
        assert attached(app) == []
