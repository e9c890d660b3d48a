"""Pastes are taken in one piece, with the events that Textual's own parser gives."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from textual import events
from textual._xterm_parser import BRACKETED_PASTE_END, BRACKETED_PASTE_START, XTermParser
from textual.drivers import headless_driver

from edge_app.tui.composer.paste_parser import PasteParser, use_paste_parser
from tests.edge_app.tui.conftest import MakeApp


def paste(text: str) -> str:
    return f"{BRACKETED_PASTE_START}{text}{BRACKETED_PASTE_END}"


def heard(parser: XTermParser, parts: Iterable[str]) -> list[tuple[str, str]]:
    """The events as (kind, key or text)."""
    found = [event for part in parts for event in parser.feed(part)]
    return [(type(event).__name__, getattr(event, "key", getattr(event, "text", ""))) for event in found]


INPUTS = (
    paste("two\nlines"),
    "ab" + paste("two\x00 words") + "c\x1b[A",
    f"{paste('one')}{paste('two')}\r",
    paste(""),
    "\x1b[A\x1b[Bxyz",
)


@pytest.mark.parametrize("whole", INPUTS)
def test_keys_and_pastes_are_heard_as_by_the_parser_of_textual_wherever_the_input_is_split(
    whole: str,
) -> None:
    expected = heard(XTermParser(), [whole, "."])[:-1]
    if whole == paste(""):
        expected = [("Paste", "")]
    for cut in range(1, len(whole)):
        if not any(whole[:cut].endswith(BRACKETED_PASTE_START[:size]) for size in range(1, 6)):
            assert heard(PasteParser(), [whole[:cut], whole[cut:]]) == expected, cut


def test_escape_sequences_in_a_paste_belong_to_it() -> None:
    """Textual takes such a text for keys, one of which could be Enter."""
    assert heard(PasteParser(), [paste("\x1b[31mred\r")]) == [("Paste", "\x1b[31mred\r")]


def test_no_character_of_a_large_paste_is_parsed_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    large, parsed = "boats and gulls\n" * 140_000, list[str]()
    own = XTermParser.feed

    def feed(self: XTermParser, data: str) -> Iterable[object]:
        parsed.append(data)
        return own(self, data)

    monkeypatch.setattr(XTermParser, "feed", feed)
    sent = f"a{paste(large)}b"
    parts = [sent[at : at + 4096] for at in range(0, len(sent), 4096)]
    assert heard(PasteParser(), parts) == [("Key", "a"), ("Paste", large), ("Key", "b")]
    assert parsed == ["a", "b"]


def test_the_driver_of_the_chat_makes_the_parser(make_app: MakeApp) -> None:
    driver = make_app().driver_class
    module = __import__(driver.__module__, fromlist=["XTermParser"])
    assert getattr(module, "XTermParser", PasteParser) is PasteParser


def test_a_driver_without_a_parser_is_left_alone() -> None:
    use_paste_parser(headless_driver.HeadlessDriver)
    assert not hasattr(headless_driver, "XTermParser")


def test_the_end_of_the_input_ends_the_parser() -> None:
    parser = PasteParser()
    assert heard(parser, ["a", BRACKETED_PASTE_START, "lost", ""]) == [("Key", "a")]
    assert parser.is_eof
    assert [type(event) for event in PasteParser().feed(paste("x"))] == [events.Paste]
