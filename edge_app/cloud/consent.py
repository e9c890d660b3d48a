"""Consent: a pure rule over the user's decisions about sending, and the store of these decisions.

The user sees the request itself (edge_app/cloud/payload.py) and decides for its host, so another endpoint needs
another decision. An image that is marked as withheld is never sent, whatever was allowed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from edge_app.cloud.endpoint import Endpoint
from edge_app.cloud.payload import Payload
from edge_app.storage.database import DatabaseFile, moment
from edge_app.system import paths
from router.types import Reason

Decision = Literal["once", "chat", "always", "never"]
Reply = Decision | Literal["no"]
"""A user's reply to a proposal. "no" and "once" hold for this question alone."""

EVERY_CHAT = ""
"""The table's session for decisions that hold for every chat."""


@dataclass(frozen=True)
class Proposal:
    """What a user is asked to allow.

    payload: the complete request. reason: the label that the answer would have. session: the chat that "chat" would
    hold for; None when turns are not saved, and then "chat" means "once". stopped: set when the turn is stopped
    meanwhile.
    """

    payload: Payload
    reason: str
    session: str | None
    stopped: threading.Event


class Consenter(Protocol):
    """A front end that can ask its user.

    Called on the thread that reads the turn's events, which waits. An image that the user withholds meanwhile
    (ConsentStore.withhold) is not sent, whatever the reply.
    """

    def ask(self, proposal: Proposal) -> Reply: ...


@dataclass(frozen=True)
class HostConsent:
    """What the user has decided about a host.

    everywhere, chat: for every chat, and for this one; True allowed, False refused, None undecided.
    withheld: digests of images that are never sent.
    """

    everywhere: bool | None = None
    chat: bool | None = None
    withheld: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Permission:
    """Whether a request may be sent.

    send: the request may be sent. ask: the user is asked first. refuse: it is not sent.

    reason: why it is not sent; None unless refused.
    """

    action: Literal["send", "ask", "refuse"]
    reason: Reason | None = None


class IdentifiedImage(Protocol):
    """An image of the user's, or the one to be sent for it. digest: of the user's file in both cases."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str: ...


def judge(
    endpoint: Endpoint,
    images: Iterable[IdentifiedImage],
    known: HostConsent,
    *,
    interactive: bool,
    allow_cloud: bool,
) -> Permission:
    """Whether a request may be sent.

    images: of the request. known: the user's decisions. interactive: a user can be asked. allow_cloud: the option
    --allow-cloud.

    1. Nothing is sent with a withheld image, or to a host that was refused for good, even with --allow-cloud.
    2. Scripts need --allow-cloud each time. What was allowed in the chat does not count for them.
    3. The user is not asked again after allowing the chat, or the host for good.
    """
    if withheld := tuple(image.name for image in images if image.digest in known.withheld):
        return Permission("refuse", Reason("image_withheld", {"images": withheld}))
    if known.everywhere is False:
        return Permission("refuse", Reason("host_forbidden", {"host": endpoint.host}))
    if allow_cloud:
        return Permission("send")
    if not interactive:
        return Permission("refuse", Reason("allow_cloud_missing", {"endpoint": str(endpoint)}))
    return Permission("send" if known.everywhere or known.chat else "ask")


class ConsentStore(DatabaseFile):
    """The user's decisions, without "once" and "no"."""

    holds = "the decisions about the cloud"

    @classmethod
    def open(cls) -> ConsentStore:
        """The user's own, in the file of the sessions."""
        return cls(paths.sessions_file())

    def known(self, host: str, images: Iterable[IdentifiedImage], session: str | None) -> HostConsent:
        """The decisions about a host, a chat and images."""
        rows = self._rows("SELECT session, allowed FROM cloud_consent WHERE host = ?", host)
        decided = {row["session"]: bool(row["allowed"]) for row in rows}
        return HostConsent(
            everywhere=decided.get(EVERY_CHAT),
            chat=decided.get(session) if session else None,
            withheld=self.withheld(image.digest for image in images),
        )

    def decide(self, host: str, decision: Decision, session: str | None) -> None:
        """Saves a decision. "chat" without a saved session means "once"."""
        with self._transaction():
            if decision == "chat" and session:
                self._put(host, session, allowed=True)
            elif decision in ("always", "never"):
                self._put(host, EVERY_CHAT, allowed=decision == "always")

    def withhold(self, digest: str) -> None:
        """From now on this image is never sent. digest: sha256 (hex) of the user's file."""
        with self._transaction():
            self._db.execute(
                "INSERT INTO cloud_withheld_images (digest, decided) VALUES (?, ?) ON CONFLICT DO NOTHING",
                [digest, moment()],
            )

    def release(self, digest: str) -> None:
        """Undoes `withhold`."""
        with self._transaction():
            self._db.execute("DELETE FROM cloud_withheld_images WHERE digest = ?", [digest])

    def withheld(self, digests: Iterable[str]) -> frozenset[str]:
        """Those of the digests that are withheld."""
        wanted = list(digests)
        marks = ",".join("?" * len(wanted))
        rows = self._rows(f"SELECT digest FROM cloud_withheld_images WHERE digest IN ({marks})", *wanted)
        return frozenset(row["digest"] for row in rows)

    def hosts(self) -> dict[str, bool]:
        """The hosts that are allowed (True) or refused (False) for every chat."""
        rows = self._rows(
            "SELECT host, allowed FROM cloud_consent WHERE session = ? ORDER BY host", EVERY_CHAT
        )
        return {row["host"]: bool(row["allowed"]) for row in rows}

    def forget(self, host: str) -> None:
        """Deletes every decision about a host. Withheld images stay withheld."""
        with self._transaction():
            self._db.execute("DELETE FROM cloud_consent WHERE host = ?", [host])

    def _put(self, host: str, session: str, *, allowed: bool) -> None:
        self._db.execute(
            "INSERT INTO cloud_consent (host, session, allowed, decided) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (host, session) DO UPDATE SET allowed = excluded.allowed, decided = excluded.decided",
            [host, session, int(allowed), moment()],
        )
