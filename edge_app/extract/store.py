"""What earlier runs have answered, and what the user corrected: rows of the app's database.

An answer is found again by the hash of the file, the page, and the identity of the task, which covers everything that
can change the answer. A correction is found by the file's hash, the page and the field alone: it is right whatever
model is asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from edge_app.extract.rows import Cell, PageRow
from edge_app.storage.database import DatabaseFile, moment, storable
from edge_app.system import paths


@dataclass(frozen=True)
class Reviewed:
    """A value of a page that the user accepted or corrected. decided: ISO 8601, UTC."""

    digest: str
    page: int
    field: str
    value: Cell
    decided: str


class ExtractStore(DatabaseFile):
    """Every answered page is committed at once, so a killed process loses the page in work alone."""

    holds = "the extracted pages"

    @classmethod
    def open(cls) -> Self:
        """The user's own, in the file of the sessions."""
        return cls(paths.sessions_file())

    def save(self, task: str, row: PageRow) -> None:
        """Keeps an answered row, in the place of an earlier one. task: its identity. Raises UserError.

        Rows with an error are not kept, so that the next run tries them again.
        """
        if row.error is not None or row.digest is None:
            return
        content = {
            "values": row.values,
            "confidences": row.confidences,
            "adapter": row.adapter,
            "place": row.place,
            "declined": row.declined,
        }
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO extracted_pages (task, sha256, page, answer, made) VALUES (?, ?, ?, ?, ?)",
                [task, row.digest, row.page, storable(json.dumps(content, ensure_ascii=False)), moment()],
            )

    def find(self, task: str, file: str, digest: str, page: int) -> PageRow | None:
        """The kept row of a page, under this name of its file; None when it was not answered before."""
        found = self._rows(
            "SELECT answer FROM extracted_pages WHERE task = ? AND sha256 = ? AND page = ?",
            *(task, digest, page),
        )
        if not found:
            return None
        content = json.loads(found[0]["answer"])
        return PageRow(
            file,
            page,
            digest,
            tuple(content["values"]),
            tuple(content["confidences"]),
            content["adapter"],
            content["place"],
            content["declined"],
            earlier=True,
        )

    def review(self, digest: str, page: int, values: Mapping[str, Cell]) -> None:
        """Keeps the values that the user accepted or corrected, by field. Raises UserError."""
        decided = moment()
        with self._transaction():
            for field, value in values.items():
                self._db.execute(
                    "INSERT OR REPLACE INTO extracted_corrections (sha256, page, field, value, decided)"
                    " VALUES (?, ?, ?, ?, ?)",
                    [digest, page, storable(field), storable(json.dumps(value, ensure_ascii=False)), decided],
                )

    def reviewed(self, digest: str, page: int, fields: Sequence[str]) -> dict[str, Reviewed]:
        """What the user decided about these fields of a page, by field."""
        found = self._rows(
            "SELECT field, value, decided FROM extracted_corrections WHERE sha256 = ? AND page = ?",
            *(digest, page),
        )
        return {
            row["field"]: Reviewed(digest, page, row["field"], json.loads(row["value"]), row["decided"])
            for row in found
            if row["field"] in fields
        }
