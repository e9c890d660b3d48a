"""Exports a session as Markdown or as JSON."""

from __future__ import annotations

from typing import Any

from edge_app.storage.session_records import SavedTurn, Session

MARKS = {
    "answering": "still being answered",
    "stopped": "stopped",
    "interrupted": "interrupted: the program ended in the middle of it",
    "failed": "failed",
}


def to_markdown(session: Session) -> str:
    """The session as Markdown, with links to its images."""
    parts = [f"# {session.title or 'Session'}", f"*Session {session.id}, {session.created}*"]
    if session.system:
        parts.append(f"*System prompt:* {session.system}")
    for turn in session.turns:
        parts.append(
            f"## {turn.question}" if "\n" not in turn.question else f"## Question\n\n{turn.question}"
        )
        parts += [f"![{image.name}]({image.file.as_uri()})" for image in turn.images]
        parts += _answer(turn)
    return "\n\n".join(parts) + "\n"


def to_json(session: Session) -> dict[str, Any]:
    """The session as JSON values. A turn's `result` is what `ask --json` prints, without the turn's own fields."""
    return {
        "id": session.id,
        "title": session.title,
        "system": session.system,
        "created": session.created,
        "updated": session.updated,
        "turns": [
            {
                "question": turn.question,
                "images": [
                    {"name": image.name, "sha256": image.digest, "file": str(image.file)}
                    for image in turn.images
                ],
                "answer": turn.answer,
                "status": turn.status,
                "error": turn.error,
                "kept": turn.kept,
                "broken": turn.broken,
                "created": turn.created,
                "result": turn.result.details() if turn.result else None,
            }
            for turn in session.turns
        ],
    }


def _answer(turn: SavedTurn) -> list[str]:
    parts = [turn.answer.strip()] if turn.answer.strip() else []
    if turn.status in MARKS:
        parts.append(f"*({MARKS[turn.status]}{': ' + turn.error if turn.error else ''})*")
    if turn.kept:
        parts.append(f"*Local answer, kept: {turn.kept.strip()}*")
    if turn.broken:
        parts.append(f"*The other answer, incomplete: {turn.broken.strip()}*")
    if turn.result:
        made = [turn.result.model]
        if turn.result.place == "local":
            made.append(f"adapter {turn.result.adapter}" if turn.result.adapter else "no adapter")
        if turn.result.tokens_per_second:
            made.append(f"{turn.result.tokens_per_second:.0f} tokens/s")
        parts.append(f"*{', '.join([*made, turn.result.reason])}*")
    return parts
