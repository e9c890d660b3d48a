"""Loads saved chats in the form that the conversation shows. Reads the disk: call it on a worker thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_app.answer import Answer
from edge_app.storage.session_records import SavedImage, SavedTurn
from edge_app.storage.sessions import SessionStore
from edge_app.tui.conversation.messages import ShownImage
from edge_app.tui.conversation.previews import thumbnail
from models.core.errors import UserError
from models.core.images import load_image

MOST_TURNS = 40
"""The most turns that are shown at once. Earlier ones stay saved and in the model's context."""

_MOST_CHATS = 5  # the prompt's history begins with their questions

_REMARKS = {
    "answering": "being answered in another window",
    "interrupted": "cut short: the program ended in the middle of it",
    "stopped": "stopped",
    "complete": "",
}


@dataclass(frozen=True)
class EarlierTurn:
    """A saved turn. remark: why it has no whole answer. kept, broken: the other answer (see SavedTurn), or empty."""

    id: int
    question: str
    images: tuple[ShownImage, ...]
    answer: str
    result: Answer | None
    remark: str
    kept: str
    broken: str


@dataclass(frozen=True)
class EarlierChat:
    """A saved chat.

    turns: the latest MOST_TURNS of those asked for. left_out: the number of turns before them. system: its system
    prompt. options: what the user set for this chat alone.
    """

    id: str
    title: str
    turns: tuple[EarlierTurn, ...]
    left_out: int
    system: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def load_chat(store: SessionStore, session: str, before: int | None = None) -> EarlierChat:
    """The chat of a session, or the part of it before a turn. Raises UserError when there is no such session.

    before: id of a turn; None for the whole chat.
    """
    saved = store.get(session)
    wanted = [turn for turn in saved.turns if before is None or turn.id < before]
    turns = tuple(_turn(turn) for turn in wanted[-MOST_TURNS:])
    return EarlierChat(saved.id, saved.title, turns, len(wanted) - len(turns), saved.system, saved.options)


def earlier_questions(store: SessionStore) -> list[str]:
    """The questions of the latest chats, oldest first. Raises UserError when the disk refuses."""
    chats = [store.get(summary.id) for summary in reversed(store.recent(_MOST_CHATS))]
    return [turn.question for chat in chats for turn in chat.turns]


def _turn(turn: SavedTurn) -> EarlierTurn:
    remark = turn.error or _REMARKS.get(turn.status, turn.status)
    images = tuple(_shown(image) for image in turn.images)
    return EarlierTurn(
        turn.id, turn.question, images, turn.answer, turn.result, remark, turn.kept or "", turn.broken or ""
    )


def _shown(image: SavedImage) -> ShownImage:
    try:
        return ShownImage(image.name, thumbnail(load_image(image.file)))
    except UserError:
        return ShownImage(f"{image.name} (the image is gone)", None)
