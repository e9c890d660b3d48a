"""Builds the conversation of a turn: messages and images from the session so far, and the new question.

Images are read from files, bytes or decoded pixels. The engine shortens a conversation that exceeds its context.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_app.answer import Answer
from edge_app.events import Turn
from edge_app.storage.session_records import NewImage, SavedTurn, Session
from edge_app.turns.images.pictures import Pictures, ReadPicture
from edge_app.turns.replies.about_answer import was_about_answer
from models.core.types import Image, Message


def assemble(
    turn: Turn, new: Sequence[ReadPicture], session: Session | None, system: str | None, pictures: Pictures
) -> tuple[Message, ...]:
    """The messages of a turn, its question last. Raises UserError when an image of `turn.earlier` cannot be read.

    system: the system prompt of new sessions. Turns without an answer are left out. Their images are kept and belong to
    the next question.
    """
    prompt = turn.system if turn.system is not None else session.system if session else system
    if turn.earlier:
        return _given_messages(prompt, turn, new, pictures)
    earlier = session.turns if session else ()
    return _messages(prompt, earlier, turn.question, [picture.image for picture in new], pictures)


def assembled_again(session: Session, turn: SavedTurn, pictures: Pictures) -> tuple[Message, ...]:
    """The messages of a saved turn, its question last."""
    earlier = [each for each in session.turns if each.id < turn.id]
    shown = [pictures.stored(image.file, image.digest, image.name) for image in turn.images]
    return _messages(session.system, earlier, turn.question, shown, pictures)


def _messages(
    system: str | None, turns: Sequence[SavedTurn], question: str, new: Sequence[Image], pictures: Pictures
) -> tuple[Message, ...]:
    messages = [Message("system", system)] if system else []
    carried: list[Image] = []
    for earlier in turns:
        carried += [pictures.stored(i.file, i.digest, i.name) for i in earlier.images]
        if _answered(earlier):
            messages += [
                Message("user", earlier.question, tuple(carried)),
                Message("assistant", earlier.answer),
            ]
            carried = []
    return (*messages, Message("user", question, (*carried, *new)))


def _given_messages(
    system: str | None, turn: Turn, new: Sequence[ReadPicture], pictures: Pictures
) -> tuple[Message, ...]:
    """The messages of a turn whose conversation so far came with it."""
    messages = [Message("system", system)] if system else []
    for earlier in turn.earlier:
        shown = tuple(read.image for source in earlier.images for read in pictures.read(source))
        messages.append(Message(earlier.role, earlier.text, shown))
    return (*messages, Message("user", turn.question, tuple(picture.image for picture in new)))


def _answered(turn: SavedTurn) -> bool:
    return bool(turn.answer.strip()) and turn.status in ("complete", "stopped", "interrupted")


def answered_turns(turns: Sequence[SavedTurn]) -> tuple[SavedTurn, ...]:
    """The turns that are in the messages: those with an answer, one for each user message but the last."""
    return tuple(turn for turn in turns if _answered(turn))


def latest_answer(turns: Sequence[SavedTurn]) -> Answer | None:
    """The answer that "are you sure?" is about: of the last answered turn that asks something else."""
    earlier = (turn for turn in reversed(answered_turns(turns)) if not was_about_answer(turn))
    latest = next(earlier, None)
    return None if latest is None else latest.result


def new_images(pictures: Sequence[ReadPicture]) -> tuple[NewImage, ...]:
    """Converts pictures for the session store."""
    return tuple(NewImage(p.image.digest, p.image.name, p.data) for p in pictures)
