"""The endpoint as a turn sees it: whether it can be asked, may be asked, and its answer.

Opens the ledger and the decisions when there is an endpoint and somebody wants to know. Keeps one client for
the life of the app, whose breaker remembers; that the network is gone is noticed here, on use. Knows no turns.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edge_app.cloud.breaker import SICK
from edge_app.cloud.consent import Consenter, ConsentStore, Permission, Proposal, Shown, judge
from edge_app.cloud.endpoint import Endpoint
from edge_app.cloud.errors import CloudError
from edge_app.cloud.payload import Payload, payload
from edge_app.settings import Settings
from edge_app.system.offline import switch as offline
from models.core.errors import UserError
from models.core.types import Message, Sampling
from router.types import Reason

if TYPE_CHECKING:
    from edge_app.cloud.client import Piece
    from edge_app.cloud.dispatch import Cloud
    from edge_app.cloud.ledger import Ledger

State = Literal["none", "offline", "ready", "failing", "resting"]
"""none: no endpoint is set up. failing: the last question that went there failed. resting: it is left alone."""


@dataclass(frozen=True)
class Standing:
    """What is known of the endpoint before anything is asked of it. endpoint: None when none is set up.

    obstacle: why it cannot be asked now; None when it can. permission: whether it may be.
    """

    endpoint: Endpoint | None
    obstacle: Reason | None
    permission: Permission

    @property
    def is_open(self) -> bool:
        """It can be asked, and whether it may be is settled or can be asked of the user."""
        return self.obstacle is None and self.permission.action != "refuse"

    @property
    def closed_because(self) -> Reason | None:
        """Why there can be no answer from there; None when it is open."""
        return self.obstacle or self.permission.reason


class CloudAccess:
    """Safe to use from several threads. consenter: None when there is no user to be asked."""

    def __init__(self, settings: Settings, consenter: Consenter | None = None) -> None:
        self.consenter = consenter
        self._settings = settings
        self._lock = threading.Lock()
        self._cloud: Cloud | None = None
        self._ledger: Ledger | None = None
        self._decisions: ConsentStore | None = None
        self._failing = False

    @property
    def is_set_up(self) -> bool:
        return self._settings.cloud_url is not None or self._settings.cloud_model is not None

    @property
    def state(self) -> State:
        """From what is known; asks nobody."""
        if not self.is_set_up:
            return "none"
        try:
            cloud = self._client()
        except UserError:
            return "none"
        if offline.is_on and not cloud.endpoint.is_local:
            return "offline"
        if cloud.breaker.state == "open":
            return "resting"
        return "failing" if self._failing else "ready"

    def standing(self, images: Sequence[Shown], session: str | None, *, allow_cloud: bool) -> Standing:
        """For a question with these images, of this chat. Only half an endpoint is an obstacle like any other."""
        if not self.is_set_up:
            return _closed(Reason("no_cloud"))
        try:
            cloud = self._client()
        except UserError as error:
            return _closed(Reason("cloud_misconfigured", {"error": str(error)}))
        place = cloud.endpoint
        return Standing(
            place, self._obstacle(cloud), self._permission(place, images, session, allow_cloud=allow_cloud)
        )

    def propose(
        self, messages: Sequence[Message], sampling: Sampling, longest_side: int | None = None
    ) -> Payload:
        """The request, whole. longest_side: of images, pixels, when that is less than the settings allow.

        Raises UserError when an image can no longer be read, or there is no endpoint.
        """
        side = self._settings.cloud_image_size
        return payload(
            self._client().endpoint,
            messages,
            sampling=sampling,
            longest_side=min(side, longest_side) if longest_side else side,
        )

    def refusal(
        self,
        request: Payload,
        reason: str,
        session: str | None,
        stopped: threading.Event,
        *,
        allow_cloud: bool,
    ) -> Reason | None:
        """None: it may be sent. Else why not. Asks the user if need be, and keeps what was decided."""
        place, images = request.endpoint, request.images
        permission = self._permission(place, images, session, allow_cloud=allow_cloud)
        if permission.action == "ask":
            assert self.consenter is not None, "nobody is asked where there is nobody"
            reply = self.consenter.ask(Proposal(request, reason, session, stopped))
            if stopped.is_set() or reply == "no":
                return Reason("host_declined", {"host": place.host})
            self.decisions.decide(place.host, reply, session)
            # An image may have been marked while the user was looking at it.
            permission = self._permission(place, images, session, allow_cloud=True)
        return permission.reason

    def ask(
        self, request: Payload, session: str | None, stopped: threading.Event
    ) -> Generator[Piece, None, None]:
        """As Cloud.ask; consent is the caller's business (`refusal`)."""
        try:
            with closing(self._client().ask(request, session=session, cancel=stopped)) as pieces:
                yield from pieces
            self._failing = False
        except CloudError as error:
            self._failing = self._failing if error.kind == "cancelled" else error.kind in SICK
            raise

    @property
    def decisions(self) -> ConsentStore:
        """What the user decided; there without an endpoint too: an image can be marked before there is one."""
        with self._lock:
            if self._decisions is None:
                self._decisions = ConsentStore.open()
            return self._decisions

    def close(self) -> None:
        with self._lock:
            for opened in (self._ledger, self._decisions):
                if opened is not None:
                    opened.close()
            self._ledger = self._decisions = self._cloud = None

    def _client(self) -> Cloud:
        from edge_app.cloud import dispatch as asking  # TLS and all that: not for who has no endpoint
        from edge_app.cloud.ledger import Ledger

        with self._lock:
            if self._cloud is None:
                asking.configured(self._settings)
                self._ledger = self._ledger or Ledger.open(self._settings)
                self._cloud = asking.from_settings(self._settings, self._ledger)
            assert self._cloud is not None, "configured"
            return self._cloud

    @staticmethod
    def _obstacle(cloud: Cloud) -> Reason | None:
        if offline.is_on and not cloud.endpoint.is_local:
            return Reason("offline")
        if cloud.breaker.state == "open":
            return Reason("cloud_resting", {"endpoint": str(cloud.endpoint)})
        return None

    def _permission(
        self, place: Endpoint, images: Sequence[Shown], session: str | None, *, allow_cloud: bool
    ) -> Permission:
        known = self.decisions.known(place.host, images, session)
        interactive = self.consenter is not None
        return judge(place, images, known, interactive=interactive, allow_cloud=allow_cloud)


def _closed(reason: Reason) -> Standing:
    return Standing(None, reason, Permission("refuse", reason))
