"""`edge-app extract`: asks the same of every page of files and folders, and makes a table of the answers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
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
    from edge_app.cli.extract.display import ExtractDisplay
    from edge_app.extract.answering.cluster_pages import Pool
    from edge_app.extract.opening import ExtractRequest
    from edge_app.extract.rows import PageRow
    from edge_app.extract.run import ExtractRun
    from edge_app.extract.sources import PageJob
    from edge_app.extract.tables.table_files import TableFile
    from edge_app.extract.task import Asked
    from edge_app.images.image_sources import ImageSource
    from edge_app.settings import Settings


def extract(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE...", help="Files, folders, or globs in quotes.")
    ],
    fields: Annotated[
        str | None,
        typer.Option(metavar="LIST", help='The columns, as in "company, date:date, total:number".'),
    ] = None,
    schema: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="A JSON Schema of an object; its keys are the columns."),
    ] = None,
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
    review: Annotated[
        bool, typer.Option("--review", help="Then show the doubtful rows, to accept or correct each.")
    ] = False,
    corrections: Annotated[
        Path | None,
        typer.Option(metavar="OUT.jsonl", help="Write the reviewed pages as rows for `adapters train`."),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(metavar="ray[://HOST]", help="Answer on the engines of a Ray cluster (extra [ray])."),
    ] = None,
    engines: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=10_000,
            help="With --on: how many engines answer [default: all processors].",
        ),
    ] = None,
    detail: DetailOption = None,
    offline: OfflineOption = None,
    allow_cloud: AllowCloudOption = False,
) -> None:
    """Make a table of pages: ask the same of each, and write a row for each.

    A field is text, or a number, an integer, a date or a boolean as in total:number; what is not on the page is empty.
    The same command goes on where an earlier one stopped. Files that have changed are done again.

    \b
    Examples:
      edge-app extract receipts/ --fields "company, date:date, total:number" --out receipts.csv
      edge-app extract contract.pdf "scans/*.png" --question "Who signed this?" --out scans.db
    """
    asked, pool = _asked(fields, schema, question, out), _pool(on, engines)
    from edge_app.cli.extract.display import StandardOutput
    from edge_app.extract.opening import ExtractRequest
    from edge_app.extract.sources import find_files
    from edge_app.extract.tables.table_files import table_file

    settings = load_settings(adapter=adapter, model=model, image_detail=detail, offline=offline)
    files = find_files(sources)
    if not files:
        raise UserError(f"There is no image and no PDF file in {', '.join(sources)}.")
    if review and (not (sys.stdin.isatty() and sys.stderr.isatty()) or output.is_dumb()):
        raise typer.BadParameter("--review needs a terminal that can move its cursor.")
    columns = asked.fields
    table = table_file(out, columns, bom=bom) if out else StandardOutput(columns, bom=bom, held=review)
    request = ExtractRequest(asked, min_confidence, again, allow_cloud, pool)
    work = _Work(request, settings, table, out, corrections, review)
    if not work.do(_jobs(files)):
        output.leave(output.ExitCode.MISTAKE)


def _asked(fields: str | None, schema: Path | None, question: str | None, out: Path | None) -> Asked:
    """What is asked of every page. Ends the command with exit code 2 for columns that cannot be, and for no table."""
    from edge_app.extract.rows import ColumnNameError, check_names
    from edge_app.extract.tables.table_files import HASH, PATH, SUFFIXES
    from edge_app.extract.task import asked_question, asked_schema

    if sum(each is not None and bool(str(each).strip()) for each in (fields, schema, question)) != 1:
        raise typer.BadParameter(
            'Give one of --fields, --schema and --question, as in --fields "company, date:date, total:number".'
        )
    suffix = None if out is None else out.suffix.lower()
    if suffix is not None and suffix not in SUFFIXES:
        raise typer.BadParameter(f"{out} is no table; let --out end in one of {', '.join(SUFFIXES)}.")
    try:
        if fields is not None:
            asked = _parsed(fields)
        elif schema is not None:
            asked = asked_schema(schema)
        else:
            asked = asked_question(question or "")
        check_names([field.name for field in asked.fields], (HASH, PATH) if suffix == ".db" else ())
    except ColumnNameError as error:
        raise typer.BadParameter(str(error)) from None
    return asked


def _pool(on: str | None, engines: int | None) -> Pool | None:
    """The workers of --on; None without it. Ends the command with exit code 2 for an address that is none."""
    if on is None:
        if engines is not None:
            raise typer.BadParameter("--engines is of a cluster; give --on ray as well.")
        return None
    from edge_app.extract.answering.cluster import ClusterAddress
    from edge_app.extract.answering.cluster_pages import Pool

    try:
        return Pool(ClusterAddress.parse(on), engines)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _parsed(fields: str) -> Asked:
    from edge_app.extract.task import asked_fields

    try:
        return asked_fields(fields)
    except UserError as error:
        raise typer.BadParameter(str(error)) from None


def _jobs(files: Sequence[ImageSource]) -> list[PageJob]:
    """The pages of all files."""
    from edge_app.cli.extract.display import RunStatus
    from edge_app.extract.sources import jobs_of

    line = RunStatus()
    jobs: list[PageJob] = []
    for number, file in enumerate(files):
        line.show(partial("Looking at the files: {} of {}".format, number, len(files)))
        jobs += jobs_of(file)
    line.clear()
    return jobs


@dataclass(frozen=True)
class _Work:
    """All that follows from a command line. out: the file of the table; None for stdout.

    corrections: the file of the training rows. review: whether the doubtful rows are shown.
    """

    request: ExtractRequest
    settings: Settings
    table: TableFile
    out: Path | None
    corrections: Path | None
    review: bool

    def do(self, jobs: Sequence[PageJob]) -> bool:
        """Answers every page and writes the table. Returns whether one could be read."""
        from edge_app.cli.extract.display import ExtractDisplay
        from edge_app.evaluation.rows import weights_identity
        from edge_app.extract.opening import opened
        from edge_app.extract.pace import Pace

        pace = Pace(len(jobs))
        display = ExtractDisplay(pace, self.request.least)
        show, say = display.show_event, display.say
        with opened(self.request, self.settings, weights_identity, show, say) as run:
            pace.expect(sum(run.known(job) is None for job in jobs))
            try:
                rows = self._rows(run, jobs, display)
                display.ended(None if self.out is None else str(self.out), review=self.review)
                if self.review:
                    self._review(run, jobs, rows, display)
            except KeyboardInterrupt:
                display.stopped()
                raise
            finally:
                display.clear()
                self.table.close()
            if self.corrections is not None:
                count = run.write_training_rows(self.corrections, jobs)
                output.say(f"{self.corrections}: {count} reviewed page{'' if count == 1 else 's'}")
        return pace.failed < pace.total

    def _rows(self, run: ExtractRun, jobs: Sequence[PageJob], display: ExtractDisplay) -> list[PageRow]:
        """The rows of all jobs, each in the table as soon as it is made."""
        from edge_app.extract.rows import PageRow

        rows = []
        for item in run.rows(jobs):
            if not isinstance(item, PageRow):
                display.show_event(item)
                continue
            display.clear()
            self.table.add(item)
            display.count(item)
            rows.append(item)
        return rows

    def _review(
        self, run: ExtractRun, jobs: Sequence[PageJob], rows: Sequence[PageRow], display: ExtractDisplay
    ) -> None:
        """Shows the doubtful rows, and replaces in the table those that were decided."""
        from edge_app.extract.review import items_below
        from edge_app.tui.review.review_app import review_rows

        items = items_below(jobs, rows, self.request.least)
        decided = review_rows(items, run.review(self.request.least), run.decode) if items else {}
        for number, row in decided.items():
            self.table.replace(number, row)
        display.reviewed(len(items), len(decided))
