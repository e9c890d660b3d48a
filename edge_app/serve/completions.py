"""POST /v1/chat/completions: reads a request, waits for its turn, and sends the answer whole or as a stream.

A request is answered in four steps: a place in the line, the body, the turn of the assistant, the reply. When the
client goes away at any of them, the answer is stopped and the place is free for the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing, suppress
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from edge_app.answer import Answer
from edge_app.answer_text import note_of
from edge_app.assistant import Assistant
from edge_app.event_batches import batches
from edge_app.events import Answered, CloudFailed, Escalated, Event, Failed, TokenLogged, TokenText
from edge_app.serve.chat_request import ChatRequest, ChatRequestReader
from edge_app.serve.errors import INTERNAL, ApiError, as_json, stopping
from edge_app.serve.responses import Completion
from edge_app.serve.waiting_line import Place, WaitingLine
from models.core.types import Token

MOST_BODY = 64 * 2**20
"""Bytes of a request's body, at most: a few photos as base64."""

BODY_SECONDS = 60.0
"""The longest time in which a body must arrive."""

SILENCE = 3.0
"""Seconds without an event after which a stream sends a comment, so that no client or proxy takes it for dead."""

READERS = "served answer"
"""Name of the threads that read the events of answers."""

STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # a proxy that gathers the stream would hold the first words back
]


class ChatCompletions:
    """The endpoint, as an ASGI application.

    live: whether the text of an answer is sent while it is generated. With a cloud it is not known until the end
    whether the local answer counts.
    """

    def __init__(
        self, assistant: Assistant, reader: ChatRequestReader, line: WaitingLine, *, live: bool
    ) -> None:
        self._assistant = assistant
        self._reader = reader
        self._line = line
        self._live = live

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._line.enter() as place:
            try:
                body = await _read_body(Request(scope, receive), place)
            except ClientDisconnect:
                return
            asked = await asyncio.to_thread(self._reader.read, body)
            del body
            reply = self._stream if asked.stream else self._whole
            await _until_gone(receive, reply(asked, place, scope, send))

    async def _whole(self, asked: ChatRequest, place: Place, scope: Scope, send: Send) -> None:
        notes, tokens, answer = list[str](), list[Token](), None
        async with aclosing(self._events(asked, place)) as events:
            async for event in events:
                notes += _notes(event)
                answer = _answer(event) or answer
                _keep_tokens(event, tokens)
        assert answer is not None, "a turn ends in Answered or Failed"
        scope["state"]["answer"] = answer
        body = as_json(Completion(asked.model).whole(answer, notes, tokens))
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _stream(self, asked: ChatRequest, place: Place, scope: Scope, send: Send) -> None:
        stream = EventStream(send)
        try:
            await self._send_events(asked, place, scope, stream)
        except ApiError as error:
            if not stream.has_begun:
                raise
            await stream.data(error.body())
        except Exception:  # a defect, which is logged; the client is told that nothing more comes
            if stream.has_begun:
                await stream.data(INTERNAL.body())
                await stream.end()
            raise
        await stream.end()

    async def _send_events(self, asked: ChatRequest, place: Place, scope: Scope, stream: EventStream) -> None:
        completion, notes, tokens = Completion(asked.model), list[str](), list[Token]()
        text, begun = "", False
        async with aclosing(self._events(asked, place)) as events:
            async for event in events:
                if event is None:
                    await stream.comment(
                        f"waiting, {place.before} before this" if place.before else "working"
                    )
                    continue
                notes += _notes(event)
                answer = _answer(event)
                _keep_tokens(event, tokens)
                if isinstance(event, TokenText) and self._live:
                    text = event.text
                elif answer is not None and not self._live:
                    text = answer.text
                if not text and answer is None:
                    continue
                if not begun:
                    begun = True
                    await stream.data(completion.begin())
                if text:
                    await stream.data(completion.piece(text, tokens))
                    tokens.clear()
                    text = ""
                if answer is not None:
                    scope["state"]["answer"] = answer
                    await stream.data(completion.end(answer, notes))
                    if asked.include_usage:
                        await stream.data(completion.usage(answer, notes))

    async def _events(self, asked: ChatRequest, place: Place) -> AsyncGenerator[Event | None, None]:
        """The events of a turn, and None after each SILENCE without one. Closing it stops the answer.

        Raises ApiError when there is no answer.
        """
        arrived: asyncio.Queue[Event | Exception | None] = asyncio.Queue()
        pump = asyncio.create_task(self._pump(asked, place, arrived))
        try:
            while True:
                try:
                    async with asyncio.timeout(SILENCE):
                        event = await arrived.get()
                except TimeoutError:
                    yield None
                    continue
                if event is None:
                    return
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            self._assistant.cancel(asked.turn)
            pump.cancel()
            with suppress(asyncio.CancelledError):
                await pump

    async def _pump(
        self, asked: ChatRequest, place: Place, arrived: asyncio.Queue[Event | Exception | None]
    ) -> None:
        """Puts the events of a turn into a queue when its time has come, and at the end None or what was raised."""
        try:
            async with place.turn():
                answering = self._assistant.answer(asked.turn)
                async with aclosing(batches(answering, 0.0, thread=READERS)) as all_batches:
                    async for batch in all_batches:
                        for event in batch:
                            arrived.put_nowait(event)
            arrived.put_nowait(None)
        except Exception as error:
            arrived.put_nowait(error)


class EventStream:
    """A reply as server-sent events. It begins with the first event, so that an error before it has its own status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_begun = False

    async def data(self, value: object) -> None:
        await self._write(b"data: " + as_json(value) + b"\n\n")

    async def comment(self, text: str) -> None:
        """A line that clients skip."""
        await self._write(b": " + text.encode() + b"\n\n")

    async def end(self) -> None:
        await self._write(b"data: [DONE]\n\n")
        await self._send({"type": "http.response.body", "body": b""})

    async def _write(self, data: bytes) -> None:
        if not self.has_begun:
            self.has_begun = True
            await self._send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
        await self._send({"type": "http.response.body", "body": data, "more_body": True})


def _answer(event: Event | None) -> Answer | None:
    """The answer in the last event; None for another one. Raises ApiError when the turn has none."""
    if isinstance(event, Failed):
        raise ApiError.of_turn(event)
    if not isinstance(event, Answered):
        return None
    if (
        event.answer.stop_reason == "cancelled"
    ):  # by the end of the server; a client that goes away reads nothing
        raise stopping()
    return event.answer


def _keep_tokens(event: Event | None, tokens: list[Token]) -> None:
    """Adds the tokens of an event. When the cloud answers instead, there are none of the answer."""
    if isinstance(event, TokenLogged):
        tokens.append(event.token)
    elif isinstance(event, Escalated):
        tokens.clear()


def _notes(event: Event | None) -> list[str]:
    """What an event says that the user should know about the answer."""
    if isinstance(event, CloudFailed):
        return [event.message]
    note = None if event is None else note_of(event)
    return [note] if note else []


async def _read_body(request: Request, place: Place) -> bytes:
    """The body. Raises ApiError when it is too large, compressed or too slow, and ClientDisconnect."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise ApiError("The body is compressed; send it as it is.", status=415)
    declared = request.headers.get("content-length", "")
    size = int(declared) if declared.isdecimal() else 0
    _check_size(size)
    place.take_bytes(size)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                _check_size(len(body))
                place.take_bytes(max(0, len(body) - place.bytes))
    except TimeoutError:
        raise ApiError(f"The body did not arrive within {BODY_SECONDS:g} s.", status=408) from None
    return bytes(body)


def _check_size(size: int) -> None:
    if size > MOST_BODY:
        raise ApiError(
            f"The body has more than {MOST_BODY >> 20} MB; send fewer or smaller images.",
            status=413,
            code="body_too_large",
        )


async def _until_gone(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Runs `work`, and cancels it when the client goes away. Raises what it raises."""
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait({working})
    if not working.cancelled():
        working.result()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
