"""Blocking events become batches that do not come too often."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from edge_app import event_batches as stream
from edge_app.event_batches import batches, merged
from edge_app.events import Event, Progress, TokenText


def test_neighbouring_tokens_are_joined_and_of_progress_the_last_is_kept() -> None:
    first, second = Progress("pull", "", 1, 9), Progress("pull", "", 2, 9)
    assert merged([first, second, TokenText("a"), TokenText("b"), first]) == [second, TokenText("ab"), first]


async def test_no_event_is_lost_and_what_comes_in_an_interval_is_one_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The interval lasts until everything has come."""
    first_is_shown, all_came, pauses = threading.Event(), threading.Event(), []

    def tokens() -> Iterator[Event]:
        yield TokenText("0 ")
        assert first_is_shown.wait(240)
        yield from (TokenText(f"{number} ") for number in range(1, 300))
        all_came.set()

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        first_is_shown.set()
        assert await asyncio.to_thread(all_came.wait, 60)

    monkeypatch.setattr(stream, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": pause}))
    got = [list(batch) async for batch in stream.batches(tokens(), interval=7.0)]
    assert got == [[TokenText("0 ")], [TokenText("".join(f"{number} " for number in range(1, 300)))]]
    assert all(0 <= seconds <= 7 for seconds in pauses)


async def test_the_first_event_does_not_wait_for_others() -> None:
    gate = threading.Event()

    def tokens() -> Iterator[Event]:
        yield TokenText("first")
        gate.wait(240)
        yield TokenText("second")

    given = batches(tokens(), interval=0.01)
    assert list(await asyncio.wait_for(anext(given), 30)) == [TokenText("first")]
    gate.set()
    assert [list(batch) async for batch in given] == [[TokenText("second")]]


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

    given = batches(tokens())
    await anext(given)
    await given.aclose()  # type: ignore[attr-defined]
    assert await asyncio.to_thread(closed.wait, 60)
