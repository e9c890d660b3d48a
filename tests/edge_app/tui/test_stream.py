"""Blocking events become batches that do not come too often."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from edge_app.events import Event, Progress, TokenText
from edge_app.tui.stream import batches, merged


def test_neighbouring_tokens_are_joined_and_of_progress_the_last_is_kept() -> None:
    first, second = Progress("pull", "", 1, 9), Progress("pull", "", 2, 9)
    assert merged([first, second, TokenText("a"), TokenText("b"), first]) == [second, TokenText("ab"), first]


async def test_no_event_is_lost_and_the_screen_is_not_flooded() -> None:
    def tokens() -> Iterator[Event]:
        for number in range(300):
            time.sleep(0.001)
            yield TokenText(f"{number} ")

    begun = time.monotonic()
    got = [batch async for batch in batches(tokens(), interval=0.05)]
    text = "".join(event.text for batch in got for event in batch if isinstance(event, TokenText))
    assert text == "".join(f"{number} " for number in range(300))
    assert len(got) <= (time.monotonic() - begun) / 0.05 + 2


async def test_the_first_event_does_not_wait_for_others() -> None:
    gate = threading.Event()

    def tokens() -> Iterator[Event]:
        yield TokenText("first")
        gate.wait(5)
        yield TokenText("second")

    stream = batches(tokens(), interval=0.01)
    assert list(await asyncio.wait_for(anext(stream), 2)) == [TokenText("first")]
    gate.set()
    assert [list(batch) async for batch in stream] == [[TokenText("second")]]


async def test_what_the_iterator_raises_comes_after_what_it_gave() -> None:
    def tokens() -> Iterator[Event]:
        yield TokenText("some")
        raise ZeroDivisionError

    got: list[Event] = []
    with pytest.raises(ZeroDivisionError):
        async for batch in batches(tokens()):
            got += batch
    assert got == [TokenText("some")]


async def test_leaving_early_closes_the_iterator() -> None:
    closed = threading.Event()

    def tokens() -> Iterator[Event]:
        try:
            while True:
                time.sleep(0.005)
                yield TokenText("more ")
        finally:
            closed.set()

    stream = batches(tokens())
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    assert await asyncio.to_thread(closed.wait, 2)
