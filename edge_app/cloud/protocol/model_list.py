"""The models that an endpoint lists (GET /models), and what was learnt of that by host.

An endpoint may serve adapters as models of their own, as vLLM does with --lora-modules. The list says which.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import edge_app
from edge_app.cloud.endpoint import Endpoint
from edge_app.cloud.key import Key
from edge_app.storage.database import DatabaseFile, moment
from edge_app.system import paths

SECONDS = 3.0
"""The longest wait for a list. Without one the endpoint's usual model is asked."""
POLL_SECONDS = 0.05
MOST_BYTES = 2_000_000
MOST_MODELS = 10_000
FRESH = timedelta(minutes=10)
"""A list of this age is not asked for again."""


def list_models(place: Endpoint, key: Key | None, cancel: threading.Event) -> frozenset[str] | None:
    """The ids of the endpoint's models; None when it gives no list within SECONDS, or when cancel is set."""
    answer: queue.SimpleQueue[frozenset[str] | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            answer.put(_ids(_get(place, key)))
        except Exception:  # whatever is wrong with the list, the question is asked without it
            answer.put(None)

    threading.Thread(target=run, name="cloud models", daemon=True).start()
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and not cancel.is_set():
        try:
            return answer.get(timeout=POLL_SECONDS)
        except queue.Empty:
            continue
    return None


def _get(place: Endpoint, key: Key | None) -> bytes:
    """The body of the list. Raises an exception of httpx2 or ValueError."""
    import httpx2

    headers = {"accept": "application/json", "accept-encoding": "identity"}
    headers["user-agent"] = f"edge-app/{edge_app.__version__}"
    if key is not None:
        headers["authorization"] = f"Bearer {key.reveal()}"
    body = b""
    with (
        httpx2.Client(follow_redirects=False, trust_env=not place.is_local, timeout=SECONDS) as client,
        client.stream("GET", f"{place.url}/models", headers=headers) as response,
    ):
        response.raise_for_status()
        for piece in response.iter_raw():
            body += piece
            if len(body) > MOST_BYTES:
                raise ValueError("the list is too long")
    return body


def _ids(body: bytes) -> frozenset[str]:
    """The ids in {"data": [{"id": …}, …]}. Raises ValueError for anything else."""
    content: Any = json.loads(body)
    entries = content.get("data") if isinstance(content, Mapping) else None
    if not isinstance(entries, list) or len(entries) > MOST_MODELS:
        raise ValueError("this is no list of models")
    ids = (entry.get("id") for entry in entries if isinstance(entry, Mapping))
    return frozenset(name for name in ids if isinstance(name, str))


class ModelListStore(DatabaseFile):
    """The lists of models by host, in the file of the sessions."""

    holds = "the models of endpoints"

    @classmethod
    def open(cls) -> ModelListStore:
        return cls(paths.sessions_file())

    def known(self, host: str) -> tuple[frozenset[str], bool] | None:
        """The last list of a host, and whether it is fresh; None without one."""
        rows = self._rows("SELECT models, listed FROM cloud_models WHERE host = ?", host)
        if not rows:
            return None
        age = datetime.now(UTC) - datetime.fromisoformat(rows[0]["listed"])
        return frozenset(json.loads(rows[0]["models"])), timedelta() <= age < FRESH

    def learn(self, host: str, models: frozenset[str]) -> None:
        with self._transaction():
            self._db.execute(
                "INSERT INTO cloud_models (host, models, listed) VALUES (?, ?, ?)"
                " ON CONFLICT (host) DO UPDATE SET models = excluded.models, listed = excluded.listed",
                [host, json.dumps(sorted(models)), moment()],
            )

    def forget(self, host: str) -> None:
        with self._transaction():
            self._db.execute("DELETE FROM cloud_models WHERE host = ?", [host])
