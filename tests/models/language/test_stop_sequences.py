"""Stop sequences are found however the pieces break, never shown, and held back no longer than needed."""

from hypothesis import given
from hypothesis import strategies as st

from models.language.stop_sequences import StopMatcher


def shown(stops: list[str], pieces: list[str]) -> tuple[str, bool]:
    matcher = StopMatcher(stops)
    text = ""
    for piece in pieces:
        text += matcher.feed(piece)
        if matcher.stopped:
            return text, True
    return text + matcher.flush(), False


@given(st.text("ab\n", max_size=30), st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3), st.data())
def test_the_result_is_the_text_before_the_first_stop_however_it_is_cut(
    text: str, stops: list[str], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    got, stopped = shown(stops, pieces)
    assert stopped == any(stop in text for stop in stops)
    assert text.startswith(got)
    if not stopped:
        assert got == text
    else:
        assert any(text.startswith(stop, len(got)) for stop in stops)
        assert not any(stop in got for stop in stops)


def test_text_that_cannot_become_a_stop_is_passed_on_at_once() -> None:
    matcher = StopMatcher(["\nUser:"])
    assert matcher.feed("Hello") == "Hello"
    assert matcher.feed("\nUs") == ""
    assert matcher.feed("ually") == "\nUsually"
