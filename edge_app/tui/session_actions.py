"""What the user does with saved chats: open, rename, export and copy them, and ask an earlier question again."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from edge_app.images.image_paths import typed_path
from edge_app.images.image_sources import ImageBytes
from edge_app.storage.session_export import to_json, to_markdown
from edge_app.storage.session_records import SavedImage, Session
from edge_app.storage.sessions import SessionStore
from edge_app.tui.composer.attachments import Attachment, read_attachment
from edge_app.tui.composer.composer import Composer
from edge_app.tui.conversation.conversation_view import ConversationView
from edge_app.tui.conversation.saved_chat import load_chat
from edge_app.tui.dependencies import ChatDependencies
from edge_app.tui.open_chat import OpenChat
from edge_app.tui.status import StatusLine
from models.core.errors import UserError
from models.core.images import read_file

EXPORT_NAME_CHARACTERS = 40
T = TypeVar("T")


@dataclass(frozen=True)
class EditedQuestion:
    """A saved question that is in the prompt to be asked again. turn: its id. through: id of the turn before it."""

    session: str
    turn: int
    through: int


class SessionActions:
    """Actions on saved chats. They run in workers of the screen, since they read and write the disk.

    chat: the open one. edited: the question that is in the prompt to be asked again; None when there is none.
    """

    def __init__(
        self, dependencies: ChatDependencies, status: StatusLine, composer: Composer, chat: OpenChat
    ) -> None:
        self._dependencies = dependencies
        self._status = status
        self._composer = composer
        self._chat = chat
        self._edited: EditedQuestion | None = None

    @property
    def edited(self) -> EditedQuestion | None:
        return (
            self._edited if self._edited is not None and self._edited.session == self._chat.session else None
        )

    @edited.setter
    def edited(self, edited: EditedQuestion | None) -> None:
        self._edited = edited
        self._status.editing = edited is not None

    async def open(self, session: str) -> bool:
        """Replaces the open chat by a saved one. Returns whether that worked."""
        store = self._dependencies.sessions
        assert store is not None, "only a saved chat can be opened"
        chat = await self._run(lambda: load_chat(store, session))
        if chat is None:
            return False
        self.edited = None
        await self._chat.show(chat)
        self._status.chat = chat.title
        self._composer.prompt.focus()
        return True

    async def show_earlier(self, conversation: ConversationView) -> None:
        """Shows the turns before those that are on the screen, as many as an opened chat shows."""
        store, session, first = self._dependencies.sessions, self._chat.session, conversation.first_turn
        if store is None or session is None or first is None:
            return
        chat = await self._run(lambda: load_chat(store, session, first))
        if chat is not None and (session, first) == (self._chat.session, conversation.first_turn):
            await conversation.show_earlier(chat)

    async def rename(self, title: str) -> None:
        saved = self._saved("renamed")
        if saved is None:
            return
        store, session = saved

        def change() -> str:
            store.rename(session, title)
            return store.get(session).title

        if (new := await self._run(change)) is not None:
            self._status.chat = new

    async def export(self, target: str) -> None:
        """Writes the chat to a new file: JSON when its name ends so, else Markdown.

        target: the file as it was typed; empty names it by the chat's title in the current folder.
        """
        saved = self._saved("exported")
        if saved is None:
            return
        store, session = saved

        def write() -> Path:
            chat = store.get(session)
            path = typed_path(target) if target else Path(_file_name(chat.title))
            _write_new(path, _exported(chat, path))
            return path.absolute()

        if (path := await self._run(write)) is not None:
            self._composer.say(f"Wrote {path}.")

    async def fork(self, turn: int | None) -> None:
        """Opens a copy of the chat that ends with a saved turn. turn: its id; None copies all."""
        copy = await self._copy(turn)
        if copy is not None and await self.open(copy):
            self._composer.say("This is a copy; the chat before stays as it was.")

    async def edit(self, turn: int | None) -> None:
        """Puts a saved question with its images into the prompt. turn: its id; None takes the last one."""
        saved = self._saved("asked again")
        if saved is None:
            return
        store, session = saved

        def read() -> tuple[EditedQuestion, str, list[Attachment]]:
            turns = store.get(session).turns
            places = [place for place, each in enumerate(turns) if turn in (None, each.id)]
            if not places:
                raise UserError("That question is no longer in this chat.")
            place = places[-1]
            images = [read_attachment(_bytes_of(image)) for image in turns[place].images]
            through = turns[place - 1].id if place else 0
            return EditedQuestion(session, turns[place].id, through), turns[place].question, images

        if (found := await self._run(read)) is not None:
            self.edited, question, images = found
            await self._composer.edit(question, images)
            self._composer.say(
                "Enter asks it in a copy of the chat that ends before it; Esc keeps this chat."
            )

    async def begin_edited(self) -> bool:
        """Opens the copy of the chat in which an edited question is asked. Returns whether it may be asked: False when
        there is no such copy, True also when no question is edited."""
        edited = self.edited
        if edited is None:
            return True
        copy = await self._copy(edited.through)
        return copy is not None and await self.open(copy)

    async def _copy(self, through: int | None) -> str | None:
        saved = self._saved("copied")
        if saved is None:
            return None
        store, session = saved
        return await self._run(lambda: store.fork(session, through))

    async def _run(self, action: Callable[[], T]) -> T | None:
        """Runs an action on a thread. A mistake of the user's, or of the disk, is said; the result is then None."""
        try:
            return await asyncio.to_thread(action)
        except UserError as error:
            self._composer.say(str(error), wrong=True)
        return None

    def _saved(self, done: str) -> tuple[SessionStore, str] | None:
        """The store and the id of the open chat. Says so when there is none that can be done something with."""
        store, session = self._dependencies.sessions, self._chat.session
        if store is None:
            self._composer.say("Chats are not saved here.", wrong=True)
        elif session is None:
            self._composer.say(f"This chat has no question yet that could be {done}.", wrong=True)
        else:
            return store, session
        return None


def _bytes_of(image: SavedImage) -> ImageBytes:
    """A saved image under the name that it had. Raises UserError when its file is gone."""
    return ImageBytes(read_file(image.file), image.name)


def _exported(chat: Session, path: Path) -> str:
    if path.suffix.lower() == ".json":
        return json.dumps(to_json(chat), ensure_ascii=False, indent=2) + "\n"
    return to_markdown(chat)


def _file_name(title: str) -> str:
    """A file name made of a title's letters and digits."""
    words: Sequence[str] = re.findall(r"\w+", title)
    return ("-".join(words)[:EXPORT_NAME_CHARACTERS].strip("-") or "chat") + ".md"


def _write_new(path: Path, text: str) -> None:
    """Writes a file that does not exist yet. Raises UserError when it does, or cannot be written."""
    created = False
    try:
        with path.open("x", encoding="utf-8") as file:
            created = True
            file.write(text)
    except FileExistsError as error:
        raise UserError(f"{path} exists already; name another file after /export.") from error
    except (OSError, ValueError) as error:
        if created:
            path.unlink(missing_ok=True)
        raise UserError(f"Cannot write {path}: {getattr(error, 'strerror', None) or error}.") from error
