"""`edge-app sessions`: lists, shows, searches, exports, renames, copies and deletes saved chats."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from edge_app.cli import output
from edge_app.cli.options import JsonOption
from edge_app.system.terminal_text import text_table
from models.core.errors import UserError

if TYPE_CHECKING:
    from edge_app.storage.sessions import SessionStore

app = typer.Typer(
    help="Sessions: list, show, search, export, rename, fork, delete."
    "\n\n\b\nExample:\n  edge-app sessions list --limit 10",
    no_args_is_help=True,
    rich_markup_mode=None,
)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The session's id, or the beginning of it.")]
FormatOption = Annotated[Literal["markdown", "json"], typer.Option("--format", help="The format.")]


@app.command("list")
def list_(
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only the N sessions used last.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the sessions, the one used last first.

    \b
    Example:
      edge-app sessions list --limit 10
    """
    with _store_to_read() as store:
        sessions = store.recent(limit)
    if json:
        output.result_json([asdict(session) for session in sessions])
    elif sessions:
        rows = [(s.id, _local(s.updated), str(s.turns), s.title) for s in sessions]
        output.result(text_table([("ID", "USED", "TURNS", "TITLE"), *rows], right=(2,)))
    else:
        output.say("There are no sessions yet.")


@app.command()
def show(session: IdArgument, json: JsonOption = False) -> None:
    """Print a session as Markdown.

    \b
    Example:
      edge-app sessions show 3f2a
    """
    with _store_to_read() as store:
        _write(store, session, "json" if json else "markdown", None)


@app.command()
def search(
    words: Annotated[list[str], typer.Argument(help='Words that must all occur; "in quotes" for a phrase.')],
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most N turns.")] = 50,
    json: JsonOption = False,
) -> None:
    """Search all questions and answers.

    \b
    Example:
      edge-app sessions search invoice total
    """
    with _store_to_read() as store:
        matches = store.search(" ".join(words), limit)
    if json:
        output.result_json([asdict(match) for match in matches])
    elif matches:
        rows = [(m.session, _local(m.created), " ".join(m.excerpt.split())) for m in matches]
        output.result(text_table([("ID", "WHEN", "FOUND"), *rows]))
    else:
        output.say("Nothing was found.")


@app.command()
def export(
    session: IdArgument,
    format_: FormatOption = "markdown",
    to: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write here instead of to stdout.")
    ] = None,
) -> None:
    """Export a session as Markdown or JSON.

    \b
    Example:
      edge-app sessions export 3f2a --format json -o session.json
    """
    with _store_to_read() as store:
        _write(store, session, format_, to)


@app.command()
def rename(session: IdArgument, title: Annotated[str, typer.Argument(help="The new title.")]) -> None:
    """Give a session another title.

    \b
    Example:
      edge-app sessions rename 3f2a "Receipts of the trip"
    """
    with _store() as store:
        full = store.resolve(session)
        store.rename(full, title)
        output.say(f"Session {full} is now called {store.get(full).title}.")


@app.command()
def fork(
    session: IdArgument,
    turns: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Copy only the first N questions and answers.")
    ] = None,
) -> None:
    """Copy a session, to go on differently; prints the id of the copy.

    \b
    Example:
      edge-app sessions fork 3f2a --turns 2
    """
    with _store() as store:
        found = store.get(session)
        if turns is not None and turns > len(found.turns):
            raise UserError(f"Session {found.id} has fewer than {turns} questions ({len(found.turns)}).")
        through = None if turns is None else found.turns[turns - 1].id if turns else 0
        output.result(store.fork(found.id, through))


@app.command()
def delete(
    sessions: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids, or the beginnings of them.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete sessions, with the images that no other session uses.

    \b
    Example:
      edge-app sessions delete 3f2a --yes
    """
    with _store() as store:
        for session in dict.fromkeys(store.resolve(beginning) for beginning in sessions):
            title = store.get(session).title
            if not yes and not _confirmed(f"Delete session {session} ({title})?"):
                continue
            store.delete(session)
            output.say(f"Deleted {session} ({title}).")


def _write(store: SessionStore, session: str, format_: str, to: Path | None) -> None:
    import json

    from edge_app.storage import session_export as export

    found = store.get(session)
    if format_ == "json":
        text = json.dumps(export.to_json(found), ensure_ascii=False, indent=2) + "\n"
    else:
        text = export.to_markdown(found)
    if to is None:
        output.result_piece(text)
        return
    try:
        to.expanduser().write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"Cannot write {to}: {error.strerror}.") from error
    output.say(f"Wrote {to}.")


def _confirmed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise UserError("There is no terminal to ask on; add --yes to delete without being asked.")
    return typer.confirm(question, err=True)


def _local(moment: str) -> str:
    """An ISO 8601 time in UTC as local time, to the minute."""
    from datetime import datetime

    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M")


@contextmanager
def _store_to_read() -> Iterator[SessionStore]:
    from edge_app.storage.sessions import SessionStore

    store = SessionStore.open_to_read()
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _store() -> Iterator[SessionStore]:
    from edge_app.storage.sessions import SessionStore

    store = SessionStore.open()
    try:
        yield store
    finally:
        store.close()
