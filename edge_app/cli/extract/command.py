"""`edge-app extract`: asks the same of every page of files and folders, and makes a table of the answers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_app.cli import output
from edge_app.cli.options import (
    AdapterOption,
    AllowCloudOption,
    DetailOption,
    ModelOption,
    OfflineOption,
    load_settings,
)
from models.core.errors import UserError

if TYPE_CHECKING:
    from edge_app.extract.opening import ExtractRequest
    from edge_app.extract.sources import PageJob
    from edge_app.extract.table_files import TableFile
    from edge_app.fields import Field
    from edge_app.settings import Settings


def extract(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE...", help="Files, folders, or globs in quotes.")
    ],
    question: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Ask this; its column is named answer.")
    ] = None,
    adapter: AdapterOption = None,
    model: ModelOption = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A .csv, .jsonl, .db or .parquet file [default: CSV on stdout]."),
    ] = None,
    bom: Annotated[
        bool, typer.Option("--bom", help="Begin CSV with a byte order mark, by which Excel knows UTF-8.")
    ] = False,
    min_confidence: Annotated[
        float, typer.Option(metavar="X", min=0.0, max=1.0, help="A row with a value below this is doubtful.")
    ] = 0.5,
    again: Annotated[
        bool, typer.Option("--again", help="Answer every page anew instead of going on.")
    ] = False,
    detail: DetailOption = None,
    offline: OfflineOption = None,
    allow_cloud: AllowCloudOption = False,
) -> None:
    """Make a table of pages: ask the same of each, and write a row for each.

    The same command goes on where an earlier one stopped. Files that have changed are done again.

    \b
    Examples:
      edge-app extract receipts/ --question "What is the total?" --out receipts.csv
      edge-app extract "scans/*.png" --question "Who signed this?" --out scans.db
    """
    fields = _fields(question, out)
    from edge_app.cli.extract.display import StandardOutput
    from edge_app.extract.opening import ExtractRequest
    from edge_app.extract.sources import find_files
    from edge_app.extract.table_files import table_file

    settings = load_settings(adapter=adapter, model=model, image_detail=detail, offline=offline)
    files = find_files(sources)
    if not files:
        raise UserError(f"There is no image in {', '.join(sources)}.")
    table = table_file(out, fields, bom=bom) if out else StandardOutput(fields, bom=bom)
    request = ExtractRequest(fields, question, min_confidence, again, allow_cloud)
    if not _answer(request, settings, _jobs(files), table, None if out is None else str(out)):
        output.leave(output.ExitCode.MISTAKE)


def _fields(question: str | None, out: Path | None) -> tuple[Field, ...]:
    """The columns. Ends the command with exit code 2 for what cannot be one, and for a file that is no table."""
    from edge_app.extract.rows import ColumnNameError, check_names
    from edge_app.extract.table_files import SUFFIXES
    from edge_app.extract.task import ANSWER
    from edge_app.fields import Field

    if question is None or not question.strip():
        raise typer.BadParameter('Say what to ask, as in --question "What is the total?".')
    if out is not None and out.suffix.lower() not in SUFFIXES:
        raise typer.BadParameter(f"{out} is no table; let --out end in one of {', '.join(SUFFIXES)}.")
    fields = (Field(ANSWER),)
    try:
        check_names([field.name for field in fields], ("sha256",) if out and out.suffix == ".db" else ())
    except ColumnNameError as error:
        raise typer.BadParameter(str(error)) from None
    return fields


def _jobs(files: Sequence[Path]) -> list[PageJob]:
    """The pages of all files."""
    from edge_app.cli.extract.display import StatusLine
    from edge_app.extract.sources import jobs_of

    line = StatusLine()
    jobs: list[PageJob] = []
    for number, file in enumerate(files):
        line.show(partial("Looking at the files: {} of {}".format, number, len(files)))
        jobs += jobs_of(file)
    line.clear()
    return jobs


def _answer(
    request: ExtractRequest, settings: Settings, jobs: Sequence[PageJob], table: TableFile, place: str | None
) -> bool:
    """Answers every page and writes the table. Returns whether one could be read. place: the table's, to say."""
    from edge_app.cli.extract.display import ExtractDisplay
    from edge_app.evaluation.rows import weights_identity
    from edge_app.extract.opening import opened
    from edge_app.extract.pace import Pace
    from edge_app.extract.rows import PageRow

    pace = Pace(len(jobs))
    display = ExtractDisplay(pace, request.least)
    with opened(request, settings, weights_identity, display.show_event, display.say) as run:
        pace.expect(sum(run.known(job) is None for job in jobs))
        try:
            for item in run.rows(jobs):
                if isinstance(item, PageRow):
                    display.clear()
                    table.add(item)
                    display.count(item)
                else:
                    display.show_event(item)
        except KeyboardInterrupt:
            display.stopped()
            raise
        finally:
            display.clear()
            table.close()
    display.ended(place)
    return pace.failed < pace.total
