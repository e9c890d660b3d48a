"""Options that several commands share, and how they become settings. Cheap to import."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router.names import Mode

if TYPE_CHECKING:
    from edge_app.settings import Settings
    from edge_app.storage.sessions import SessionStore

AdapterOption = Annotated[
    str | None,
    typer.Option(
        "--adapter",
        metavar="NAME|auto|none",
        help="Which adapter answers; NAME:SCALE,NAME:SCALE sums several.",
        show_default=False,
    ),
]
ModeOption = Annotated[Mode | None, typer.Option("--mode", help="What matters most.", show_default=False)]
OfflineOption = Annotated[
    bool | None,
    typer.Option("--offline", help="Never use the network.", show_default=False),
]
AllowCloudOption = Annotated[
    bool, typer.Option("--allow-cloud", help="The cloud, if one is set up, may be asked.")
]
SessionOption = Annotated[
    str | None,
    typer.Option("--session", metavar="ID", help="Continue this session (its id, or the beginning of it)."),
]
ContinueOption = Annotated[bool, typer.Option("--continue", help="Continue the session used last.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DomainFiles = Annotated[
    list[Path], typer.Argument(metavar="FILE.jsonl...", help="Rows with known answers, a domain each.")
]
ImagesOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="What image paths are relative to (else: each file).")
]
HeldOutOption = Annotated[
    str, typer.Option(metavar="NAME", help='Only rows of this split; "all" for files without splits.')
]
LimitOption = Annotated[int | None, typer.Option(metavar="N", min=1, help="The first N rows of each file.")]
FoldsOption = Annotated[int, typer.Option(metavar="N", min=2, max=50, help="Parts of the images.")]
AnswersOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Keep every answer here; goes on where it was stopped."),
]


def load_settings(**command_line: Any) -> Settings:
    """edge_app.settings.for_this_process, imported when a command runs: `--help` does without pydantic."""
    from edge_app.settings import for_this_process

    return for_this_process(**command_line)


def session_id(store: SessionStore, session: str | None, continue_: bool) -> str | None:
    """The session that a turn belongs to; None starts a new one."""
    if session is not None and continue_:
        raise typer.BadParameter("Give --session or --continue, not both.")
    if continue_:
        return store.latest()
    return store.resolve(session) if session is not None else None
