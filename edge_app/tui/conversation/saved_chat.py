"""Reads earlier chats from the store into what the conversation shows. Runs off the screen's thread."""

from __future__ import annotations

from dataclasses import dataclass

from edge_app.events import Answer
from edge_app.storage.sessions import SavedImage, SavedTurn, SessionStore
from edge_app.tui.conversation.messages import Shown
from edge_app.tui.conversation.previews import thumbnail
from models.core.errors import UserError
from models.core.images import load_image

MOST_TURNS = 40
"""More are not put on the screen when a chat is opened; all of them stay saved and in the model's view."""

_MOST_CHATS = 5  # whose questions the history of the prompt begins with

_REMARKS = {
    "answering": "being answered in another window",
    "interrupted": "cut short: the program ended in the middle of it",
    "stopped": "stopped",
    "complete": "",
}


@dataclass(frozen=True)
class EarlierTurn:
    """kept, broken: the other answer to it, of this device or as far as the cloud's came."""

    id: int
    question: str
    images: tuple[Shown, ...]
    answer: str
    result: Answer | None
    remark: str
    kept: str
    broken: str


@dataclass(frozen=True)
class EarlierChat:
    """left_out: how many older turns are not in turns."""

    id: str
    title: str
    turns: tuple[EarlierTurn, ...]
    left_out: int


def load_chat(store: SessionStore, session: str) -> EarlierChat:
    """Raises UserError when there is no such session."""
    saved = store.get(session)
    turns = tuple(_turn(turn) for turn in saved.turns[-MOST_TURNS:])
    return EarlierChat(saved.id, saved.title, turns, len(saved.turns) - len(turns))


def earlier_questions(store: SessionStore) -> list[str]:
    """Of the latest chats, oldest first."""
    chats = [store.get(summary.id) for summary in reversed(store.recent(_MOST_CHATS))]
    return [turn.question for chat in chats for turn in chat.turns]


def _turn(turn: SavedTurn) -> EarlierTurn:
    remark = turn.error or _REMARKS.get(turn.status, turn.status)
    images = tuple(_shown(image) for image in turn.images)
    return EarlierTurn(
        turn.id, turn.question, images, turn.answer, turn.result, remark, turn.kept or "", turn.broken or ""
    )


def _shown(image: SavedImage) -> Shown:
    try:
        return Shown(image.name, thumbnail(load_image(image.file)))
    except UserError:
        return Shown(f"{image.name} (the image is gone)", None)
