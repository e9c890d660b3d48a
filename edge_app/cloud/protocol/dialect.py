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
    r"unsupported|not support|unrecogni[sz]ed|unknown|unexpected|not permitted|not allowed|invalid parameter",
    re.IGNORECASE,
)
OPTIONAL = ("stream_options", "response_format", "temperature", "top_p", "seed")
"""Fields that a request can do without. An answer then has the endpoint's own temperature, top_p and seed."""
IMAGES = re.compile(r"\b(images?|image_url|vision|multi-?modal|modalit(y|ies))\b", re.IGNORECASE)
ABOUT_THE_REQUEST: frozenset[Kind] = frozenset(("rejected", "no_model", "forbidden", "server"))
"""Failures that images can be the cause of; llama.cpp without a projector has status 500."""


@dataclass(frozen=True)
class Dialect:
    """How an endpoint wants a request, where that differs from the first try.

    limit_field: the field with the longest answer; None for the one that the request has. left_out: the fields of
    OPTIONAL that it refuses. Without stream_options tokens are estimated. Without response_format, the schema of an
    answer, the question still says in words what the answer has to fit.
    """

    limit_field: LimitField | None = None
    left_out: frozenset[str] = frozenset()

    def of(self, payload: Payload) -> Payload:
        """The request in this dialect; the same one when nothing changes."""
        fields = json.loads(payload.body)
        limit = _limit_field(fields)
        renamed = self.limit_field is not None and limit != self.limit_field
        unwanted = self.left_out & fields.keys()
        if not renamed and not unwanted:
            return payload
        if self.limit_field is not None:
            fields[self.limit_field] = fields.pop(limit)
        for name in unwanted:
            del fields[name]
        text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return replace(payload, body=text.encode())

    def after(self, error: CloudError, payload: Payload) -> Dialect | None:
        """The dialect to try after a refusal of this payload; None when the refusal is about something else."""
        if error.kind != "rejected" or not UNKNOWN_FIELD.search(error.said):
            return None
        fields = json.loads(payload.body)
        limit = _limit_field(fields)
        sent = "|".join(name for name in (limit, *OPTIONAL) if name in fields)
        # The first name counts, since a list of the fields that it takes may follow.
        refused = re.search(rf"\b({sent})\b", error.said)
        if refused is None:
            return None
        if refused[0] == limit:
            return replace(self, limit_field=OTHER_FIELD[limit])
        return replace(self, left_out=self.left_out | {refused[0]})


class DialectStore(DatabaseFile):
    """The dialects that were learnt, by host, in the file of the sessions."""

    holds = "what endpoints accept"

    @classmethod
    def open(cls) -> DialectStore:
        return cls(paths.sessions_file())

    def known(self, host: str) -> Dialect:
        rows = self._rows("SELECT limit_field, left_out FROM cloud_dialects WHERE host = ?", host)
        if not rows:
            return Dialect()
        return Dialect(rows[0]["limit_field"], frozenset(json.loads(rows[0]["left_out"])))

    def learn(self, host: str, dialect: Dialect) -> None:
        """Remembers a dialect in which an endpoint has answered."""
        with self._transaction():
            self._db.execute(
                "INSERT INTO cloud_dialects (host, limit_field, left_out, learnt) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (host) DO UPDATE SET limit_field = excluded.limit_field,"
                " left_out = excluded.left_out, learnt = excluded.learnt",
                [host, dialect.limit_field, json.dumps(sorted(dialect.left_out)), moment()],
            )

    def forget(self, host: str) -> None:
        with self._transaction():
            self._db.execute("DELETE FROM cloud_dialects WHERE host = ?", [host])


def is_about_images(error: CloudError) -> bool:
    """Whether an endpoint refuses a request because of its images."""
    return error.kind in ABOUT_THE_REQUEST and IMAGES.search(error.said) is not None


def _limit_field(fields: dict[str, object]) -> LimitField:
    return "max_completion_tokens" if "max_completion_tokens" in fields else "max_tokens"
