"""Helpers for the tests of cloud turns: a fake user, and functions that ask questions and read results.

The endpoint is a real server on loopback. The engine is a fake, because its text does not matter here.
"""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import PIL.Image

from edge_app.answer import Answer
from edge_app.assistant import Assistant, Turn
from edge_app.cloud.consent import Proposal, Reply
from edge_app.events import Escalated, Event, TokenText
from edge_app.storage.session_records import SavedTurn
from edge_app.storage.sessions import SessionStore
from tests.edge_app.cloud.misbehaving import STREAM, Misbehaving, Wire, word
from tests.edge_app.fakes import final

DOUBTFUL, SURE = -5.0, -0.0001
LOCAL, CLOUD = "A cat.", "A tabby."


@dataclass
class FakeUser:
    """Gives the same reply to every proposal. meanwhile: called before each reply."""

    reply: Reply = "once"
    asked: list[Proposal] = field(default_factory=list)
    meanwhile: Callable[[Proposal], None] = lambda _: None

    def ask(self, proposal: Proposal) -> Reply:
        self.asked.append(proposal)
        self.meanwhile(proposal)
        return self.reply


Make = Callable[..., Assistant]


def events_of(assistant: Assistant, question: str = "What is this?", **turn: object) -> list[Event]:
    return list(assistant.answer(Turn(question, **{"allow_cloud": True, **turn})))  # type: ignore[arg-type]


def ask(assistant: Assistant, question: str = "What is this?", **turn: object) -> Answer:
    return final(events_of(assistant, question, **turn))


def saved(store: SessionStore) -> SavedTurn:
    return store.get(store.latest()).turns[-1]


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TokenText))


def after_escalation(events: list[Event]) -> list[Event]:
    (at,) = [number for number, event in enumerate(events) if isinstance(event, Escalated)]
    return events[at + 1 :]


def sent_sizes(server: Misbehaving) -> list[tuple[int, int]]:
    """Width and height of the images in the last request."""
    sizes = []
    for message in server.requests[-1].fields()["messages"]:
        for part in message["content"] if isinstance(message["content"], list) else ():
            if part["type"] == "image_url":
                data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
                sizes.append(PIL.Image.open(io.BytesIO(data)).size)
    return sizes


def until(happened: Callable[[], bool], seconds: float = 240.0) -> None:
    """Polls until the condition holds. seconds: only bounds a hang."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def breaks_off(wire: Wire) -> None:
    wire.send(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9999\r\n\r\n", word("The ")
    )


def stops_in_the_middle(wire: Wire) -> None:
    wire.send(STREAM, word("The "))
    wire.wait_until_gone()
