"""The line is first come, first served, and has an end."""

from __future__ import annotations

import asyncio

import pytest

from edge_app.serve import waiting_line
from edge_app.serve.errors import ApiError
from edge_app.serve.waiting_line import Place, WaitingLine


async def test_places_come_in_the_order_in_which_they_began_to_wait() -> None:
    line, done = WaitingLine(longest=9), list[int]()

    async def one(number: int) -> None:
        with line.enter() as place:
            async with place.turn():
                await asyncio.sleep(0)
                done.append(number)

    await asyncio.gather(*(one(number) for number in range(8)))
    assert done == list(range(8)) and line.length == 0


async def test_a_place_whose_body_is_late_is_behind_those_that_wait() -> None:
    line = WaitingLine()
    with line.enter() as late, line.enter() as early:
        async with early.turn():
            assert (early.before, late.before) == (0, 1)


async def test_of_those_that_wait_the_one_that_came_first_is_next() -> None:
    line, done = WaitingLine(), list[str]()

    async def take(name: str, place: Place) -> None:
        async with place.turn():
            done.append(name)

    with line.enter() as a, line.enter() as b, line.enter() as c:
        async with c.turn():  # the only one whose body has come
            others = [asyncio.create_task(take(name, place)) for name, place in (("b", b), ("a", a))]
            await asyncio.sleep(0)
            assert (a.before, b.before) == (1, 2)
        await asyncio.gather(*others)
    assert done == ["a", "b"]


async def test_so_many_are_answered_at_once() -> None:
    line = WaitingLine(at_once=2)
    with line.enter() as a, line.enter() as b, line.enter() as c:
        async with a.turn(), b.turn():
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01), c.turn():
                    pass
        async with c.turn():
            pass


async def test_one_that_is_cancelled_while_it_waits_leaves_its_turn_to_the_next() -> None:
    line, done = WaitingLine(), list[str]()

    async def one(name: str, gate: asyncio.Event) -> None:
        with line.enter() as place:
            async with place.turn():
                await gate.wait()
                done.append(name)

    gate = asyncio.Event()
    first, second, third = (asyncio.create_task(one(name, gate)) for name in "abc")
    await asyncio.sleep(0)
    second.cancel()
    gate.set()
    await asyncio.gather(first, third)
    assert done == ["a", "c"] and line.length == 0


def full(line: WaitingLine) -> ApiError:
    with pytest.raises(ApiError) as caught, line.enter():
        pass
    assert caught.value.status == 429
    return caught.value


async def test_a_full_line_says_when_to_come_again() -> None:
    line = WaitingLine(longest=1)
    with line.enter(), line.enter():
        assert 1 <= int(full(line).headers["Retry-After"]) <= waiting_line.LONGEST_RETRY
    with line.enter():
        pass


async def test_bodies_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_line, "MOST_BYTES", 100)
    line = WaitingLine()
    with line.enter() as second:
        with line.enter() as first:
            first.take_bytes(60)
            with pytest.raises(ApiError, match="too large together"):
                second.take_bytes(60)
        second.take_bytes(60)


async def test_a_closed_line_refuses_those_who_wait() -> None:
    line = WaitingLine()
    with line.enter() as place:
        line.close()
        with pytest.raises(ApiError, match="stopping"):
            async with place.turn():
                pass
