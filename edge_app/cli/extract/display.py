"""What `extract` shows while it runs: rows on stdout without --out, and one line of progress on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from edge_app.cli import output
from edge_app.events import Event, ImageEncoded, Notice, Progress
from edge_app.extract.pace import Pace, duration
from edge_app.extract.rows import PageRow, columns
from edge_app.extract.tables.csv_text import BOM, csv_line
from edge_app.extract.tables.table_files import TableFile
from edge_app.system.terminal_text import one_line

if TYPE_CHECKING:
    from edge_app.schemas.fields import Field

LINE_SECONDS = 0.1
"""The line on a terminal changes at most this often."""

SAY_SECONDS = 30.0
"""Without a terminal a line of progress comes after so many seconds."""


class StandardOutput(TableFile):
    """The table as CSV on stdout. held: all rows come at the end, not each when it is made."""

    def __init__(self, fields: Sequence[Field], *, bom: bool, held: bool = False) -> None:
        self._names = tuple(field.name for field in fields)
        self._start = (BOM if bom else "") + csv_line(columns(self._names))
        self._held: list[PageRow] | None = [] if held else None

    def add(self, row: PageRow) -> None:
        if self._held is None:
            self._write(row)
        else:
            self._held.append(row)

    def replace(self, number: int, row: PageRow) -> None:
        assert self._held is not None, "a row that was written stays as it is"
        self._held[number] = row

    def close(self) -> None:
        """Writes the rows that were held, and the columns alone when there was no row."""
        held, self._held = self._held or [], None
        for row in held:
            self._write(row)
        output.result_piece(self._start)
        self._start = ""

    def _write(self, row: PageRow) -> None:
        output.result_piece(self._start + csv_line(tuple(row.record(self._names).values())))
        self._start = ""


class RunStatus:
    """A line on stderr: on a terminal one that changes, elsewhere a new one after SAY_SECONDS."""

    def __init__(self) -> None:
        self._terminal = output.live_stderr()
        self._next = 0.0 if self._terminal else time.monotonic() + SAY_SECONDS
        self._shown = False

    def show(self, text: Callable[[], str]) -> None:
        """Shows what `text` returns, unless the line was shown a moment ago."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (LINE_SECONDS if self._terminal else SAY_SECONDS)
        if not self._terminal:
            output.say(text())
            return
        sys.stderr.write(output.CLEAR_LINE + one_line(text())[: output.terminal_columns() - 1])
        sys.stderr.flush()
        self._shown = True

    def clear(self) -> None:
        """Removes the line from the terminal; the next one is shown at once."""
        if self._shown:
            sys.stderr.write(output.CLEAR_LINE)
            sys.stderr.flush()
            self._shown, self._next = False, 0.0


class ExtractDisplay:
    """Shows a run. pace: counts its pages. least: a row with a value below this confidence is doubtful."""

    def __init__(self, pace: Pace, least: float) -> None:
        self._pace = pace
        self._least = least
        self._line = RunStatus()
        self._loading = output.ProgressLine()
        self._started = time.monotonic()

    def show_event(self, event: Event) -> None:
        """An event of the assistant: the loading of the model, and what the user should know."""
        if isinstance(event, Notice):
            self.say(f"({event.message})")
        elif isinstance(event, ImageEncoded) and event.notes:
            self.say(f"({one_line(event.name)}: {', '.join(event.notes)})")
        elif isinstance(event, Progress) and event.stage in output.TAKES_LONG:
            self._line.clear()
            self._loading.show(event)

    def say(self, text: str) -> None:
        self.clear()
        output.say(text)

    def count(self, row: PageRow) -> None:
        """A row is in the table."""
        self._pace.add(
            answered=not row.earlier, doubtful=row.is_doubtful(self._least), failed=row.error is not None
        )
        if row.error is not None:
            self.say(f"{one_line(row.file)}, page {row.page}: {row.error}")
        self._line.show(self._pace.line)

    def clear(self) -> None:
        self._loading.clear()
        self._line.clear()

    def stopped(self) -> None:
        """Says how far an interrupted run came."""
        self.clear()
        output.say(f"Stopped after {self._pace.done} of {self._pace.total} pages. The same command goes on.")

    def reviewed(self, shown: int, decided: int) -> None:
        """Says how a review ended. shown: how many rows it had."""
        if not shown:
            output.say(f"No row is below {self._least:g}.")
        else:
            output.say(f"{decided} of {shown} doubtful rows reviewed.")

    def ended(self, place: str | None, *, review: bool) -> None:
        """Says what the table has. place: the file it is in; None for stdout. review: a review follows."""
        self.clear()
        pace, seconds = self._pace, time.monotonic() - self._started
        parts = [f"{pace.total} pages" if pace.total != 1 else "1 page"]
        parts += [f"{pace.earlier} done before"] if pace.earlier else []
        parts += [f"{pace.doubtful} doubtful"] if pace.doubtful else []
        parts += [f"{pace.failed} with errors"] if pace.failed else []
        output.say(f"{'' if place is None else f'{place}: '}{', '.join(parts)}, in {duration(seconds)}")
        if pace.doubtful and not review:
            output.say(f"--review shows the {pace.doubtful} below {self._least:g}, to accept or correct them")
