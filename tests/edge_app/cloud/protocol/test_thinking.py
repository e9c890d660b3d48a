"""Thinking between tags is told from the answer, however the text is cut into pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.cloud.protocol.thinking import CloudText, CloudThinking, ThinkTags


def read(pieces: list[str]) -> tuple[str, str]:
    """The thinking and the answer of a text that comes in these pieces."""
    tags = ThinkTags()
    found = [piece for text in pieces for piece in tags.feed(text)] + tags.end()
    assert all(piece.text for piece in found)
    thought = "".join(piece.text for piece in found if isinstance(piece, CloudThinking))
    return thought, "".join(piece.text for piece in found if isinstance(piece, CloudText))


CASES = {
    "A cat.": ("", "A cat."),
    "<think>hm</think>A cat.": ("hm", "A cat."),
    "\n <think>\nhm</think>\n\nA cat.\n": ("\nhm", "A cat.\n"),
    "<thinking>hm</think> hm</thinking>A cat.": ("hm</think> hm", "A cat."),
    "<think>a < b </thin</think>A": ("a < b </thin", "A"),
    "<think>only": ("only", ""),
    "<think>only</thi": ("only</thi", ""),
    "<think></think>": ("", ""),
    "<thin": ("", "<thin"),
    "Say <think>this</think>": ("", "Say <think>this</think>"),
    "<table>": ("", "<table>"),
    "": ("", ""),
    " \n": ("", " \n"),
}


@pytest.mark.parametrize("text", CASES)
@given(data=st.data())
def test_thinking_is_told_from_the_answer_at_every_cut(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read(pieces) == CASES[text]


@given(st.lists(st.text(max_size=6), max_size=8))
def test_no_character_of_an_answer_is_lost(pieces: list[str]) -> None:
    if not "".join(pieces).lstrip().startswith(("<think>", "<thinking>")):
        assert read(pieces) == ("", "".join(pieces))
