"""Whether something may leave the device: a pure rule over what the user has decided, and where that is kept.

The user is asked with the payload itself in view (edge_app/cloud/payload.py), and decides by host: an endpoint
that is set up later is asked for anew. An image that is marked never leaves by any way, whatever was allowed.
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
"""What a user says to a proposal: "no" is for this question alone, as "once" is."""

EVERY_CHAT = ""


@dataclass(frozen=True)
class Proposal:
    """What a user is asked about: the request that would leave, whole, and why.

    reason: the label that the answer would have. session: what "chat" would hold for; None when turns are not
    saved, and "chat" is as good as "once". stopped: set when the turn is stopped while the user is being asked.
    """

    payload: Payload
    reason: str
    session: str | None
    stopped: threading.Event


class Consenter(Protocol):
    """A front end that can ask its user. Called on the thread that reads the turn's events, which waits; an image
    that the user marks meanwhile (ConsentStore.withhold) is not sent, whatever the reply."""

    def ask(self, proposal: Proposal) -> Reply: ...


@dataclass(frozen=True)
class Known:
    """What the user has decided so far about a host. everywhere, chat: True allowed, False refused, None not
    asked yet. withheld: digests of images that never leave."""

    everywhere: bool | None = None
    chat: bool | None = None
    withheld: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Permission:
    """send: the request may be sent. ask: the user is asked first. refuse: it is not sent.

    reason: why it is not sent; None unless refused.
    """

    action: Literal["send", "ask", "refuse"]
    reason: Reason | None = None


class Shown(Protocol):
    """An image, the user's or the one that would leave: both have the digest of the user's file."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str: ...


def judge(
    endpoint: Endpoint, images: Iterable[Shown], known: Known, *, interactive: bool, allow_cloud: bool
) -> Permission:
    """The rule. images: that would go along. interactive: there is a user who can be asked. allow_cloud: a
    script's --allow-cloud.

    1. A withheld image, or a host that was refused for good, is not sent, --allow-cloud or not.
    2. Scripts need --allow-cloud each time; what was allowed in the chat does not count for them.
    3. A user who allowed the chat, or the host for good, is not asked again.
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
    """What the user decided. "once" is nothing to be kept."""

    holds = "the decisions about the cloud"

    @classmethod
    def open(cls) -> ConsentStore:
        """The user's own, beside the sessions."""
        return cls(paths.sessions_file())

    def known(self, host: str, images: Iterable[Shown], session: str | None) -> Known:
        """Of this host, this chat and these images."""
        rows = self._rows("SELECT session, allowed FROM cloud_consent WHERE host = ?", host)
        decided = {row["session"]: bool(row["allowed"]) for row in rows}
        return Known(
            everywhere=decided.get(EVERY_CHAT),
            chat=decided.get(session) if session else None,
            withheld=self.withheld(image.digest for image in images),
        )

    def decide(self, host: str, decision: Decision, session: str | None) -> None:
        """Keeps it. "chat" needs a session that is saved; without one it is as good as "once"."""
        with self._transaction():
            if decision == "chat" and session:
                self._put(host, session, allowed=True)
            elif decision in ("always", "never"):
                self._put(host, EVERY_CHAT, allowed=decision == "always")

    def withhold(self, digest: str) -> None:
        """This image (sha256 of the user's file) never leaves."""
        with self._transaction():
            self._db.execute(
                "INSERT INTO cloud_withheld_images (digest, decided) VALUES (?, ?) ON CONFLICT DO NOTHING",
                [digest, moment()],
            )

    def release(self, digest: str) -> None:
        """The image is asked about again like any other."""
        with self._transaction():
            self._db.execute("DELETE FROM cloud_withheld_images WHERE digest = ?", [digest])

    def withheld(self, digests: Iterable[str]) -> frozenset[str]:
        """Those of the digests that never leave."""
        wanted = list(digests)
        marks = ",".join("?" * len(wanted))
        rows = self._rows(f"SELECT digest FROM cloud_withheld_images WHERE digest IN ({marks})", *wanted)
        return frozenset(row["digest"] for row in rows)

    def hosts(self) -> dict[str, bool]:
        """Hosts decided upon for every chat."""
        rows = self._rows(
            "SELECT host, allowed FROM cloud_consent WHERE session = ? ORDER BY host", EVERY_CHAT
        )
        return {row["host"]: bool(row["allowed"]) for row in rows}

    def forget(self, host: str) -> None:
        """Every decision about a host; withheld images stay withheld."""
        with self._transaction():
            self._db.execute("DELETE FROM cloud_consent WHERE host = ?", [host])

    def _put(self, host: str, session: str, *, allowed: bool) -> None:
        self._db.execute(
            "INSERT INTO cloud_consent (host, session, allowed, decided) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (host, session) DO UPDATE SET allowed = excluded.allowed, decided = excluded.decided",
            [host, session, int(allowed), moment()],
        )
