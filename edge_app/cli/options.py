"""Options that several commands share, and helpers that turn them into settings and session ids.

Imported by every command, so it must import neither pydantic nor the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_app.cli import output
from edge_app.images.image_detail import ImageDetail
from edge_app.system.terminal_text import one_line
from router.types import Mode

if TYPE_CHECKING:
    from edge_app.images.image_sources import ImageSource
    from edge_app.schemas.answer_schema import AnswerSchema
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
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="NAME", help="The model that answers, from `models list`.", show_default=False
    ),
]
ModeOption = Annotated[Mode | None, typer.Option("--mode", help="What matters most.", show_default=False)]
DetailOption = Annotated[
    ImageDetail | None,
    typer.Option(
        "--detail", help="How closely to look at images, by models that cut them.", show_default=False
    ),
]
OfflineOption = Annotated[
    bool | None,
    typer.Option("--offline", help="Never use the network.", show_default=False),
]
AllowCloudOption = Annotated[
    bool, typer.Option("--allow-cloud", help="Allow asking the cloud, if one is set up.")
]
ImageOption = Annotated[
    list[str] | None,
    typer.Option(
        "--image",
        metavar="PATH",
        help='An image, "bill.pdf#3" for a page, a folder, or "-" for standard input; may be repeated.',
    ),
]
SchemaOption = Annotated[
    Path | None,
    typer.Option(
        "--schema",
        metavar="FILE.json",
        help="Answer with JSON that fits this JSON Schema.",
        show_default=False,
    ),
]
FieldsOption = Annotated[
    str | None,
    typer.Option(
        "--fields",
        metavar="LIST",
        help='Answer with a JSON object, as in "company, date:date, total:number".',
        show_default=False,
    ),
]
SessionOption = Annotated[
    str | None,
    typer.Option("--session", metavar="ID", help="Continue this session (its id, or the beginning of it)."),
]
ContinueOption = Annotated[bool, typer.Option("--continue", help="Continue the session used last.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DomainFiles = Annotated[
    list[Path],
    typer.Argument(metavar="FILE.jsonl...", help="Rows with known answers, one file for each domain."),
]
ImagesOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="The folder of relative image paths [default: each file's]."),
]
HeldOutOption = Annotated[
    str, typer.Option(metavar="NAME", help='Only rows of this split; "all" for files without splits.')
]
LimitOption = Annotated[int | None, typer.Option(metavar="N", min=1, help="The first N rows of each file.")]
FoldsOption = Annotated[
    int, typer.Option(metavar="N", min=2, max=50, help="The number of folds of the images.")
]
AnswersOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Save all answers here; a later run continues."),
]
QuestionsOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE.jsonl", help="Ask these as well: questions by kind, in and out of scope."),
]
ScopesOption = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE.json", help="Scopes of the questions by encoders that never saw their author."
    ),
]


def load_settings(**command_line: Any) -> Settings:
    """Calls edge_app.settings.for_this_process, which is imported here so that `--help` does not import pydantic."""
    from edge_app.settings import for_this_process

    return for_this_process(**command_line)


def image_sources(given: Sequence[str] | None) -> tuple[ImageSource, ...]:
    """The images that the values of --image name. Raises UserError, and BadParameter where two are standard input."""
    from edge_app.images.image_sources import is_standard_input, sources_of

    if sum(map(is_standard_input, given or ())) > 1:
        raise typer.BadParameter("Standard input is one image: give it once.")
    return tuple(source for written in given or () for source in sources_of(written))


def say_attached(images: Sequence[Path]) -> None:
    """Says which images of the question's text are attached, since nobody named them by an option."""
    for image in images:
        output.say(f"attached {one_line(image.name)}")


def session_id(store: SessionStore, session: str | None, continue_: bool) -> str | None:
    """The id of the session that --session or --continue names; None starts a new one.

    Raises typer.BadParameter when both are given, and UserError for an unknown session.
    """
    if session is not None and continue_:
        raise typer.BadParameter("Give --session or --continue, not both.")
    if continue_:
        return store.latest()
    return store.resolve(session) if session is not None else None


def answer_schema(schema: Path | None, fields: str | None) -> AnswerSchema | None:
    """What --schema or --fields asks for; None without them.

    Raises typer.BadParameter when both are given or the fields cannot be read, and UserError for the file.
    """
    if schema is None and fields is None:
        return None
    if schema is not None and fields is not None:
        raise typer.BadParameter("Give --schema or --fields, not both.")
    from edge_app.schemas.answer_schema import read_schema, schema_of_fields
    from edge_app.schemas.fields import parse_fields
    from models.core.errors import UserError

    if schema is not None:
        return read_schema(schema)
    try:
        return schema_of_fields(parse_fields(fields or ""))
    except UserError as error:
        raise typer.BadParameter(str(error)) from None
