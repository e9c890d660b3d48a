"""How an endpoint wants a request: learnt from what it refuses, and remembered by host.

The words of a refusal are the only sign that endpoints give, so they are read here and nowhere else.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Literal

from edge_app.cloud.errors import CloudError, Kind
from edge_app.cloud.payload import Payload
from edge_app.storage.database import DatabaseFile, moment
from edge_app.system import paths

LimitField = Literal["max_tokens", "max_completion_tokens"]
OTHER_FIELD: dict[LimitField, LimitField] = {
    "max_tokens": "max_completion_tokens",
    "max_completion_tokens": "max_tokens",
}
UNKNOWN_FIELD = re.compile(
    r"unsupported|not supported|unrecogni[sz]ed|unknown|unexpected|not permitted|not allowed|invalid parameter",
    re.IGNORECASE,
)
IMAGES = re.compile(r"\b(images?|image_url|vision|multi-?modal|modalit(y|ies))\b", re.IGNORECASE)
ABOUT_THE_REQUEST: frozenset[Kind] = frozenset(("rejected", "no_model", "forbidden", "server"))
"""Failures that images can be the cause of; llama.cpp without a projector has status 500."""


@dataclass(frozen=True)
class Dialect:
    """How an endpoint wants a request, where that differs from the first try.

    limit_field: the field with the longest answer; None for the one that the request has. counts: it takes the field
    stream_options, which asks for the number of tokens. formats: it takes response_format, the schema of an answer; the
    question says in words too what the answer has to fit.
    """

    limit_field: LimitField | None = None
    counts: bool = True
    formats: bool = True

    def of(self, payload: Payload) -> Payload:
        """The request in this dialect; the same one when nothing changes."""
        fields = json.loads(payload.body)
        limit = _limit_field(fields)
        renamed = self.limit_field is not None and limit != self.limit_field
        unwanted = {name for name in self._unwanted if name in fields}
        if not renamed and not unwanted:
            return payload
        if self.limit_field is not None:
            fields[self.limit_field] = fields.pop(limit)
        for name in unwanted:
            del fields[name]
        text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return replace(payload, body=text.encode())

    @property
    def _unwanted(self) -> tuple[str, ...]:
        known = {"stream_options": self.counts, "response_format": self.formats}
        return tuple(name for name, wanted in known.items() if not wanted)

    def after(self, error: CloudError, payload: Payload) -> Dialect | None:
        """The dialect to try after a refusal of this payload; None when the refusal is about something else."""
        if error.kind != "rejected" or not UNKNOWN_FIELD.search(error.said):
            return None
        fields = json.loads(payload.body)
        if (limit := _limit_field(fields)) in error.said:
            return replace(self, limit_field=OTHER_FIELD[limit])
        if "stream_options" in error.said and "stream_options" in fields:
            return replace(self, counts=False)
        if "response_format" in error.said and "response_format" in fields:
            return replace(self, formats=False)
        return None


class DialectStore(DatabaseFile):
    """The dialects that were learnt, by host, in the file of the sessions."""

    holds = "what endpoints accept"

    @classmethod
    def open(cls) -> DialectStore:
        return cls(paths.sessions_file())

    def known(self, host: str) -> Dialect:
        rows = self._rows("SELECT limit_field, counts, formats FROM cloud_dialects WHERE host = ?", host)
        if not rows:
            return Dialect()
        return Dialect(rows[0]["limit_field"], bool(rows[0]["counts"]), bool(rows[0]["formats"]))

    def learn(self, host: str, dialect: Dialect) -> None:
        """Remembers a dialect in which an endpoint has answered."""
        with self._transaction():
            self._db.execute(
                "INSERT INTO cloud_dialects (host, limit_field, counts, formats, learnt) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (host) DO UPDATE SET limit_field = excluded.limit_field, counts = excluded.counts,"
                " formats = excluded.formats, learnt = excluded.learnt",
                [host, dialect.limit_field, int(dialect.counts), int(dialect.formats), moment()],
            )

    def forget(self, host: str) -> None:
        with self._transaction():
            self._db.execute("DELETE FROM cloud_dialects WHERE host = ?", [host])


def is_about_images(error: CloudError) -> bool:
    """Whether an endpoint refuses a request because of its images."""
    return error.kind in ABOUT_THE_REQUEST and IMAGES.search(error.said) is not None


def _limit_field(fields: dict[str, object]) -> LimitField:
    return "max_completion_tokens" if "max_completion_tokens" in fields else "max_tokens"
