"""The record of every request that was sent to an endpoint, and what it cost.

A row is written before the first byte is sent and completed afterwards. If the process is killed in between, the row
stays and counts. Every attempt has its own row. A row holds hash and size of the request, not its text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import psutil

from edge_app.cloud.errors import CloudError, Kind
from edge_app.cloud.payload import Payload, tokens_of
from edge_app.cloud.protocol.answer_reader import CloudDone
from edge_app.settings import Price, Settings
from edge_app.storage.database import DatabaseFile, is_alive, moment, storable
from edge_app.system import paths

Purpose = Literal["turn", "test"]
Status = Literal["sending", "complete", "interrupted"] | Kind
"""interrupted: the process died before the end. A failure has the kind of its CloudError."""


@dataclass(frozen=True)
class SentImage:
    """An image of a request.

    digest: of the user's file. sha256, bytes, width, height: of the JPEG that was sent.
    """

    digest: str
    sha256: str
    bytes: int
    width: int
    height: int


@dataclass(frozen=True)
class Entry:
    """One attempt.

    sent, ended: ISO 8601, UTC. attempt: counted from 1 for each question. sha256, bytes: of the body.
    counted: the tokens were counted by the endpoint, not estimated. cost: None when the model has no price.
    """

    id: int
    sent: str
    ended: str | None
    purpose: Purpose
    session: str | None
    attempt: int
    host: str
    model: str
    sha256: str
    bytes: int
    images: tuple[SentImage, ...]
    status: Status
    prompt_tokens: int
    completion_tokens: int
    counted: bool
    cost: float | None


class Ledger(DatabaseFile):
    """The requests in the database, with their costs and the daily limit.

    prices: by model, for a million tokens. daily_limit: in the same currency. A local endpoint is free
    unless its model has a price: it may forward to one that costs something.
    """

    holds = "the record of sent requests"

    def __init__(
        self, file: Path, prices: Mapping[str, Price] | None = None, daily_limit: float | None = None
    ) -> None:
        super().__init__(file)
        self._prices = dict(prices or {})
        self._daily_limit = daily_limit

    @classmethod
    def open(cls, settings: Settings) -> Ledger:
        """The user's own, in the file of the sessions."""
        return cls(paths.sessions_file(), settings.cloud_prices, settings.cloud_daily_limit)

    def begin(self, payload: Payload, *, purpose: Purpose, session: str | None, attempt: int) -> int:
        """Records an attempt before it is sent, and returns its id. Tokens and cost are upper estimates until `end`.

        Raises CloudError ("spent") when the day's sum could exceed the limit, or when there is a limit and the model
        has no price.
        """
        images = [
            {
                "digest": i.digest,
                "sha256": i.sha256,
                "bytes": len(i.jpeg),
                "width": i.width,
                "height": i.height,
            }
            for i in payload.images
        ]
        process = psutil.Process()
        prompt, completion = payload.prompt_tokens, payload.max_tokens
        cost = self._cost(payload, prompt, completion)
        with self._transaction():  # so that no other process spends between the check and the entry
            self._keep_to_limit(payload, cost)
            entry = self._db.execute(
                "INSERT INTO cloud_requests (sent, purpose, session, attempt, host, model, sha256, bytes, images,"
                " status, prompt_tokens, completion_tokens, counted, cost, process, process_started)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'sending', ?, ?, 0, ?, ?, ?)",
                [
                    *(moment(), purpose, session, attempt),
                    *(payload.endpoint.host, storable(payload.endpoint.model), payload.sha256, payload.size),
                    *(json.dumps(images), prompt, completion, cost),
                    *(process.pid, process.create_time()),
                ],
            ).lastrowid
        assert entry is not None
        return entry

    def end(
        self,
        entry: int,
        payload: Payload,
        status: Kind | Literal["complete"],
        done: CloudDone | None,
        text: str,
    ) -> None:
        """Completes the row of an attempt. done: the endpoint's counts, None when it did not end. text: the answer."""
        prompt, completion, counted = payload.prompt_tokens, tokens_of(text), False
        if done is not None and done.prompt_tokens is not None and done.completion_tokens is not None:
            prompt, completion, counted = done.prompt_tokens, done.completion_tokens, True
        cost = self._cost(payload, prompt, completion)
        with self._transaction():
            self._db.execute(
                "UPDATE cloud_requests SET ended = ?, status = ?, prompt_tokens = ?, completion_tokens = ?,"
                " counted = ?, cost = ? WHERE id = ?",
                [moment(), status, prompt, completion, int(counted), cost, entry],
            )

    def entries(self, limit: int | None = None) -> tuple[Entry, ...]:
        """The newest first."""
        rows = self._rows(
            "SELECT * FROM cloud_requests ORDER BY id DESC LIMIT ?", -1 if limit is None else limit
        )
        found = []
        for row in rows:
            alive = is_alive(row.pop("process"), row.pop("process_started"))
            if row["status"] == "sending" and not alive:
                row["status"] = "interrupted"
            images = tuple(SentImage(**image) for image in json.loads(row.pop("images")))
            found.append(Entry(**{**row, "images": images, "counted": bool(row["counted"])}))
        return tuple(found)

    def spent_today(self) -> float:
        """Since local midnight. Attempts that have not ended count with their upper estimate."""
        midnight = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
        (row,) = self._rows(
            "SELECT coalesce(sum(cost), 0.0) AS spent FROM cloud_requests WHERE sent >= ?",
            _utc(midnight),
        )
        return float(row["spent"])

    def _keep_to_limit(self, payload: Payload, most: float | None) -> None:
        """Raises CloudError ("spent") when a request could exceed the daily limit.

        most: the cost with the longest answer; None without a price.
        """
        limit = self._daily_limit
        if limit is None or (payload.endpoint.is_local and payload.endpoint.model not in self._prices):
            return
        if most is None:
            raise CloudError(
                "spent",
                f"There is a daily limit and no price of {payload.endpoint.model} to keep it by; give one in "
                "cloud_prices in the settings.",
            )
        spent = self.spent_today()
        if spent + most > limit:
            raise CloudError(
                "spent",
                f"This could cost {most:.4f} more, and {spent:.4f} of today's limit of {limit:g} are "
                "spent; raise cloud_daily_limit, or wait for tomorrow.",
            )

    def _cost(self, payload: Payload, prompt: int, completion: int) -> float | None:
        price = self._prices.get(payload.endpoint.model)
        if price is None:
            return 0.0 if payload.endpoint.is_local else None
        return price.of(prompt, completion)


def _utc(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="milliseconds")
