"""The bytes of a response, bounded, and those of a successful one always as an event stream.

Endpoints name the type of a stream as they like (text/plain, application/json, none at all), and some send one JSON
object although a stream was asked for. So the first bytes decide what it is, and an object becomes a stream of one
event. Some compress although that was not asked for: gzip is unpacked here, so that the bound holds for what comes out.
"""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from edge_app.cloud.errors import NotAStreamError, TooManyBytesError

EVENT_STREAM = re.compile(rb"(data|event|id|retry|):")
"""The beginning of a stream of server-sent events: a field's name, or a comment."""
LONGEST_BEGINNING = 16
"""Bytes after which it is known what a response is."""


COMPRESSIONS = ("gzip", "x-gzip", "deflate")
"""The content encodings that are unpacked."""
UNPACKED_AT_ONCE = 1 << 16


def response_body(stream: Any, kind: str, limit: int, encoding: str = "") -> Any:
    """The body of a response as an `httpx2.SyncByteStream` with an attribute `ends_with_done`.

    stream: of the response. kind: its content type, in lower case without parameters. encoding: one of COMPRESSIONS, or
    empty. limit: in bytes.
    Reading it raises TooManyBytesError beyond the limit, and NotAStreamError when it is neither a stream nor an object.
    """
    import httpx2

    class EventStreamBody(httpx2.SyncByteStream):
        ends_with_done = False

        def __iter__(self) -> Iterator[bytes]:
            pieces = _bounded(_unpacked(stream, encoding), limit)
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


def bounded_body(stream: Any, limit: int, encoding: str = "") -> Any:
    """The body of a response as an `httpx2.SyncByteStream`, unpacked. Raises TooManyBytesError beyond the limit."""
    import httpx2

    class BoundedBody(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            return _bounded(_unpacked(stream, encoding), limit)

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


def _unpacked(stream: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """The bytes in pieces of at most UNPACKED_AT_ONCE where they are compressed. Raises NotAStreamError."""
    if not encoding:
        yield from stream
        return
    unpacker = zlib.decompressobj(wbits=32 + zlib.MAX_WBITS)  # gzip or zlib, by its first bytes
    try:
        for piece in stream:
            rest = piece
            while rest:
                yield unpacker.decompress(rest, UNPACKED_AT_ONCE)
                rest = unpacker.unconsumed_tail
    except zlib.error as error:
        raise NotAStreamError("it says that it is compressed, and cannot be unpacked") from error


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
