"""The bytes of a successful response, bounded, and always as an event stream.

Endpoints name the type of a stream as they like (text/plain, application/json, none at all), and some send one JSON
object although a stream was asked for. So the first bytes decide what it is, and an object becomes a stream of one
event.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from edge_app.cloud.errors import NotAStreamError, TooManyBytesError

EVENT_STREAM = re.compile(rb"(data|event|id|retry|):")
"""The beginning of a stream of server-sent events: a field's name, or a comment."""
LONGEST_BEGINNING = 16
"""Bytes after which it is known what a response is."""


def response_body(stream: Any, kind: str, limit: int) -> Any:
    """The body of a response as an `httpx2.SyncByteStream` with an attribute `ends_with_done`.

    stream: of the response. kind: its content type, in lower case without parameters. limit: in bytes.
    Reading it raises TooManyBytesError beyond the limit, and NotAStreamError when it is neither a stream nor an object.
    """
    import httpx2

    class EventStreamBody(httpx2.SyncByteStream):
        ends_with_done = False

        def __iter__(self) -> Iterator[bytes]:
            pieces = _bounded(stream, limit)
            begun = _beginning(pieces).removeprefix(codecs.BOM_UTF8)
            if begun.lstrip().startswith(b"{"):
                self.ends_with_done = True
                yield _one_event(begun + b"".join(pieces))
                return
            if kind != "text/event-stream" and not EVENT_STREAM.match(begun.lstrip()):
                raise NotAStreamError(f"its type is {kind[:60] or 'missing'}")
            tail = b""
            for piece in chain((begun,), pieces):
                tail = (tail + piece)[-64:]
                self.ends_with_done = b"[DONE]" in tail
                yield piece

        def close(self) -> None:
            stream.close()

    return EventStreamBody()


def bounded_body(stream: Any, limit: int) -> Any:
    """The body of a response as it is, as an `httpx2.SyncByteStream`. Raises TooManyBytesError beyond the limit."""
    import httpx2

    class BoundedBody(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            return _bounded(stream, limit)

        def close(self) -> None:
            stream.close()

    return BoundedBody()


def _bounded(stream: Iterable[bytes], limit: int) -> Iterator[bytes]:
    total = 0
    for piece in stream:
        total += len(piece)
        if total > limit:
            raise TooManyBytesError(f"{limit:,} bytes")
        yield piece


def _beginning(pieces: Iterator[bytes]) -> bytes:
    """The first bytes, as many as tell what follows; fewer at the end."""
    begun = b""
    while len(begun.lstrip()) < LONGEST_BEGINNING and (piece := next(pieces, None)) is not None:
        begun += piece
        if begun.lstrip().startswith(b"{") or b"\n" in begun.lstrip():
            break
    return begun


def _one_event(document: bytes) -> bytes:
    """A stream of one event with a JSON document. Line ends of the document lie between its tokens."""
    return b"data: " + b" ".join(document.splitlines()) + b"\n\ndata: [DONE]\n\n"
