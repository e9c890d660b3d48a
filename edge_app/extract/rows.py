"""The rows of the table that `extract` makes, one for each page, and its columns in their order."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from router.types import Place

Cell = str | int | float | bool | None
"""A value of a table. None is empty: it is not on the page, or there is no answer."""

BEFORE = ("file", "page")
AFTER = ("adapter", "place", "declined", "error")
CONFIDENCE = "_confidence"


class ColumnNameError(ValueError):
    """A field has the name of another column. The message is a sentence for the user."""


@dataclass(frozen=True)
class PageRow:
    """A row.

    file: as the user named it. page: from 1. digest: sha256 (hex) of the file's bytes; None for one that cannot be
        read.
    values, confidences: one for each field; a confidence is the probability that the value is right, 0..1, and None
        where there is none (an answer of the cloud). 1 for a value that the user accepted or corrected.
    adapter, place, declined: as in edge_app.answer.Answer; place is None without an answer.
    error: one sentence; None for a page that was answered. reviewed: the user has accepted or
        corrected every field. earlier: the answer is from an earlier run.
    """

    file: str
    page: int
    digest: str | None
    values: tuple[Cell, ...]
    confidences: tuple[float | None, ...]
    adapter: str | None = None
    place: Place | None = None
    declined: bool = False
    error: str | None = None
    reviewed: bool = False
    earlier: bool = False

    @classmethod
    def failed(cls, file: str, page: int, digest: str | None, fields: int, error: str) -> PageRow:
        """The row of a page without an answer. fields: how many there are."""
        return cls(file, page, digest, (None,) * fields, (None,) * fields, error=error)

    def as_json(self) -> str:
        """All of the row, for another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> PageRow:
        """The inverse of `as_json`."""
        fields = json.loads(text)
        return cls(
            **{**fields, "values": tuple(fields["values"]), "confidences": tuple(fields["confidences"])}
        )

    def is_doubtful(self, least: float) -> bool:
        """Whether a user should look at it: it declined, or a value is right with a probability below `least`."""
        if self.error is not None or self.reviewed:
            return False
        return self.declined or any(each is not None and each < least for each in self.confidences)

    def record(self, names: Sequence[str]) -> dict[str, Cell]:
        """The row by column. names: of the fields."""
        own = dict(zip(names, self.values, strict=True))
        sure = {f"{name}{CONFIDENCE}": _rounded(p) for name, p in zip(names, self.confidences, strict=True)}
        return {
            "file": self.file,
            "page": self.page,
            **own,
            **sure,
            "adapter": self.adapter,
            "place": self.place,
            "declined": self.declined,
            "error": self.error,
        }


def columns(names: Sequence[str]) -> tuple[str, ...]:
    """All columns in their order. names: of the fields."""
    return (*BEFORE, *names, *(name + CONFIDENCE for name in names), *AFTER)


def check_names(names: Sequence[str], further: Sequence[str] = ()) -> None:
    """Raises ColumnNameError for a field with the name of another column, in any case of letters.

    further: columns that the table has besides, such as the key of a database.
    """
    taken: Mapping[str, str] = {
        name.lower(): name for name in (*BEFORE, *AFTER, *further, *(each + CONFIDENCE for each in names))
    }
    for number, name in enumerate(names):
        if name.lower() in taken:
            raise ColumnNameError(
                f"A field cannot be named {name!r}, since the table has a column {taken[name.lower()]!r}."
            )
        if name.lower() in (each.lower() for each in names[:number]):
            raise ColumnNameError(f"The field {name!r} is there twice; give each a name of its own.")


def _rounded(probability: float | None) -> float | None:
    return None if probability is None else round(probability, 4)
