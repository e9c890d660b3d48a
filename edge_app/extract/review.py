"""The review of doubtful rows: which they are, what the user typed for their values, and what is kept of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge_app.extract.rows import Cell, PageRow
from edge_app.extract.sources import PageJob
from edge_app.extract.store import ExtractStore
from edge_app.extract.tables.csv_text import number_text
from edge_app.extract.task import Asked
from edge_app.schemas.fields import Field, typed_value
from models.core.errors import UserError

_EXAMPLES = {"number": "9.90", "integer": "12", "date": "2024-01-31", "boolean": "yes or no"}


@dataclass(frozen=True)
class ReviewItem:
    """A row to look at. number: its position in the table, from 0."""

    number: int
    job: PageJob
    row: PageRow


def items_below(jobs: Sequence[PageJob], rows: Sequence[PageRow], least: float) -> tuple[ReviewItem, ...]:
    """The doubtful rows, in their order. rows: of the jobs."""
    pairs = zip(jobs, rows, strict=True)
    return tuple(ReviewItem(i, job, row) for i, (job, row) in enumerate(pairs) if row.is_doubtful(least))


class Review:
    """Takes what the user says about rows, and keeps it at once."""

    def __init__(self, asked: Asked, store: ExtractStore, least: float) -> None:
        self.asked = asked
        self.least = least
        self._store = store

    def decide(self, item: ReviewItem, typed: Sequence[str]) -> PageRow:
        """The row with what was typed, which is kept as right.

        typed: a text for each field; one that is as `shown` returns it accepts the value. Raises UserError for a text
        that is no value of its field, and when the disk refuses.
        """
        row, fields = item.row, self.asked.fields
        values = tuple(
            old if text.strip() == shown(old) else parsed(field, text)
            for field, old, text in zip(fields, row.values, typed, strict=True)
        )
        assert row.digest is not None, "a doubtful row was read"
        self._store.review(row.digest, row.page, dict(zip(self.asked.keys, values, strict=True)))
        sure = tuple(1.0 for _ in values)
        return replace(row, values=values, confidences=sure, declined=False, reviewed=True)


def shown(value: Cell) -> str:
    """A value as it stands in its input; empty for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number_text(value) if isinstance(value, int | float) else " ".join(value.split())


def parsed(field: Field, text: str) -> Cell:
    """What was typed for a field; None for nothing. Raises UserError when it is no value of the field's kind."""
    if not text.strip():
        return None
    value = typed_value(field.kind, text)
    if value is None:
        example = _EXAMPLES.get(field.kind, "")
        raise UserError(f"{field.name} is a {field.kind}, as in {example}; {text.strip()!r} is none.")
    return value
