"""What the session store returns and takes, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edge_app.answer import Answer

Status = Literal["answering", "complete", "stopped", "failed", "interrupted"]
"""interrupted: the process ended during the answer."""


@dataclass(frozen=True)
class NewImage:
    """An image to be saved. digest: sha256 of data, in hexadecimal. name: the file's name, shown to the user."""

    digest: str
    name: str
    data: bytes


@dataclass(frozen=True)
class SavedImage:
    """An image of a turn. digest: sha256 (hex) of its bytes. file: where it is kept."""

    digest: str
    name: str
    file: Path


@dataclass(frozen=True)
class SavedTurnId:
    """A turn by its session and its number."""

    session: str
    turn: int


@dataclass(frozen=True)
class SavedTurn:
    """A turn as it was saved.

    answer: the text so far. result: the answer with its facts; None unless status is complete or stopped.
    error: the message that the user saw when the turn failed. created: ISO 8601, UTC.
    kept: the local answer, when the cloud's replaced it. broken: the part of a cloud answer that was received
    before it failed, when the local answer counts.
    """

    id: int
    question: str
    answer: str
    status: Status
    error: str | None
    created: str
    images: tuple[SavedImage, ...]
    result: Answer | None
    kept: str | None = None
    broken: str | None = None


@dataclass(frozen=True)
class SessionSummary:
    """A session in a list. created, updated: ISO 8601, UTC. turns: their number."""

    id: str
    title: str
    created: str
    updated: str
    turns: int


@dataclass(frozen=True)
class Session:
    """A session. options: what the user set for this chat alone, by name (edge_app.tui.options.chat_options)."""

    id: str
    title: str
    system: str | None
    created: str
    updated: str
    turns: tuple[SavedTurn, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Match:
    """A turn that a search found. excerpt: a part of its text with each found word in brackets."""

    session: str
    title: str
    turn: int
    created: str
    excerpt: str
