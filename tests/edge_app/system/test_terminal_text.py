"""What reaches the terminal is plain text, and tables are aligned."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from edge_app.system.terminal_text import one_line, printable, text_table


@given(st.text())
def test_nothing_printable_acts_on_a_terminal(text: str) -> None:
    for character in printable(text):
        assert character in "\n\t" or unicodedata.category(character) != "Cc"
        assert unicodedata.bidirectional(character) not in ("LRO", "RLO", "LRE", "RLE", "LRI", "RLI", "FSI")


@given(st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp"))))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_an_escape_sequence_becomes_harmless_letters() -> None:
    assert printable("\x1b]52;c;ZXZpbA==\x07ok\x9b31m") == "]52;c;ZXZpbA==ok31m"


def test_line_ends_become_newlines() -> None:
    assert printable("a\r\nb\rc\u2028d") == "a\nb\nc\nd"
    assert one_line(" a\n\t b ") == "a b"


def test_a_table_aligns_its_columns_and_ends_no_line_in_spaces() -> None:
    rows = [("NAME", "SIZE", "NOTE"), ("a", "12", ""), ("longer", "3", "x")]
    assert text_table(rows, right=(1,)).splitlines() == [
        "NAME    SIZE  NOTE",
        "a         12",
        "longer     3  x",
    ]
