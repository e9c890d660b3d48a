"""The endpoint as turns use it: whether it can be asked, whether it may be asked, and its answer.

Ledger and decisions are opened at their first use. One client, with its breaker, is kept for the life of the app.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from edge_app.cloud.breaker import SICK
from edge_app.cloud.consent import Consenter, ConsentStore, IdentifiedImage, Permission, Proposal, judge
from edge_app.cloud.endpoint import Endpoint
from edge_app.cloud.errors import CloudError
from edge_app.cloud.payload import Payload, payload
from edge_app.schemas.answer_schema import AnswerSchema
from edge_app.settings import Settings
from edge_app.system.offline import switch as offline
from models.core.errors import UserError
from models.core.types import Message, Sampling
from router.types import Reason

if TYPE_CHECKING:
    from edge_app.cloud.dispatch import Cloud
    from edge_app.cloud.ledger import Ledger
    from edge_app.cloud.protocol.answer_reader import CloudWaiting, Piece
    from edge_app.cloud.protocol.dialect import DialectStore
    from edge_app.cloud.protocol.model_list import ModelListStore

State = Literal["none", "offline", "ready", "failing", "resting"]
"""none: no endpoint is set up. failing: the last question failed. resting: it is not asked for a while (breaker)."""


@dataclass(frozen=True)
class Standing:
    """What is known of the endpoint before a request.

    endpoint: None when none is set up. obstacle: why it cannot be asked now; None when it can. permission: whether it
    may be asked.
    """

    endpoint: Endpoint | None
    obstacle: Reason | None
    permission: Permission

    @property
    def is_open(self) -> bool:
        """Whether it can be asked, and the user has allowed it or can be asked for consent."""
        return self.obstacle is None and self.permission.action != "refuse"

    @property
    def closed_because(self) -> Reason | None:
        """Why the endpoint cannot give an answer; None when it is open."""
        return self.obstacle or self.permission.reason


class CloudAccess:
    """Safe to use from several threads. consenter: None when there is no user to ask.

    After `close` the state is "none", and everything else raises RuntimeError.
    """

    def __init__(self, settings: Settings, consenter: Consenter | None = None) -> None:
        self.consenter = consenter
        self._settings = settings
        self._lock = threading.Lock()
        self._cloud: Cloud | None = None
        self._ledger: Ledger | None = None
        self._decisions: ConsentStore | None = None
        self._dialects: DialectStore | None = None
        self._model_lists: ModelListStore | None = None
        self._failing = False
        self._closed = False

    @property
    def is_set_up(self) -> bool:
        return self._settings.cloud_url is not None or self._settings.cloud_model is not None

    @property
    def state(self) -> State:
        """From earlier requests; sends none."""
        if self._closed or not self.is_set_up:
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

    def standing(
        self, images: Sequence[IdentifiedImage], session: str | None, *, allow_cloud: bool
    ) -> Standing:
        """For a question with these images in this chat. An incomplete endpoint is an obstacle too."""
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

    def experts(
        self, adapters: Sequence[str], permission: Permission, session: str | None, stopped: threading.Event
    ) -> frozenset[str]:
        """Those of the adapters that the endpoint has a model of the same name for, as far as is known.

        The endpoint is asked for its list only if it may be sent to without asking the user. Otherwise the last list
        counts, so that the user is shown the model that will be asked.
        """
        cloud, prices = self._client(), self._settings.cloud_prices
        place = cloud.endpoint
        wanted = frozenset(adapters)
        if self._settings.cloud_daily_limit is not None and not place.is_local:
            wanted &= prices.keys()  # for the others the limit could not be kept
        if not wanted:
            return wanted
        known = self._lists.known(place.host)
        if permission.action == "send" and (known is None or not known[1]):
            self.list_models(session, stopped)
            known = self._lists.known(place.host)
        return frozenset() if known is None else wanted & known[0]

    def list_models(self, session: str | None, stopped: threading.Event) -> None:
        """Asks the endpoint for its list of models and remembers it. The caller has consent for the host."""
        cloud = self._client()
        if (found := cloud.models(session, stopped)) is not None:
            self._lists.learn(cloud.endpoint.host, found)

    def knows_models(self) -> bool:
        """Whether the endpoint's list of models is known, of whatever age."""
        return self._lists.known(self._client().endpoint.host) is not None

    def forget_models(self) -> None:
        """The endpoint no longer has a model that it listed."""
        self._lists.forget(self._client().endpoint.host)

    def propose(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        longest_side: int | None = None,
        model: str | None = None,
        schema: AnswerSchema | None = None,
    ) -> Payload:
        """Builds the complete request, as the endpoint is known to want it.

        longest_side: of images, in pixels; the settings' value counts when it is smaller. model: of the endpoint;
        None for the settings' one. schema: what the answer has to fit. Raises UserError when an image can no longer be
        read, or when there is no endpoint.
        """
        side, cloud = self._settings.cloud_image_size, self._client()
        request = payload(
            cloud.endpoint if model is None else replace(cloud.endpoint, model=model),
            messages,
            sampling=sampling,
            longest_side=min(side, longest_side) if longest_side else side,
            schema=schema,
        )
        return cloud.spoken(request)

    def refusal(
        self,
        request: Payload,
        reason: str,
        session: str | None,
        stopped: threading.Event,
        *,
        allow_cloud: bool,
    ) -> Reason | None:
        """Why the request must not be sent; None when it may. Asks the user if needed and saves the decision."""
        place, images = request.endpoint, request.images
        permission = self._permission(place, images, session, allow_cloud=allow_cloud)
        if permission.action == "ask":
            return self._refused(request, reason, session, stopped)
        return permission.reason

    def refusal_to_change(
        self, request: Payload, reason: str, session: str | None, stopped: threading.Event
    ) -> Reason | None:
        """As `refusal`, for another request than the one that was allowed: the user is asked in any case.

        Without a user to ask it is refused.
        """
        if self.consenter is None:
            return Reason("host_declined", {"host": request.endpoint.host})
        return self._refused(request, reason, session, stopped)

    def _refused(
        self, request: Payload, reason: str, session: str | None, stopped: threading.Event
    ) -> Reason | None:
        """Asks the user. Saves the decision, and returns why the request must not be sent; None when it may."""
        place = request.endpoint
        assert self.consenter is not None, '`judge` returns "ask" only when there is a consenter'
        reply = self.consenter.ask(Proposal(request, reason, session, stopped))
        if stopped.is_set() or reply == "no":
            return Reason("host_declined", {"host": place.host})
        self.decisions.decide(place.host, reply, session)
        # The user may have withheld an image meanwhile.
        return self._permission(place, request.images, session, allow_cloud=True).reason

    def ask(
        self, request: Payload, session: str | None, stopped: threading.Event
    ) -> Generator[Piece | CloudWaiting, None, None]:
        """As Cloud.ask. The caller has consent (`refusal`)."""
        try:
            with closing(self._client().ask(request, session=session, cancel=stopped)) as pieces:
                yield from pieces
            self._failing = False
        except CloudError as error:
            self._failing = self._failing if error.kind == "cancelled" else error.kind in SICK
            raise

    @property
    def decisions(self) -> ConsentStore:
        """The user's decisions. Images can be withheld before there is an endpoint."""
        with self._lock:
            self._check_open()
            if self._decisions is None:
                self._decisions = ConsentStore.open()
            return self._decisions

    @property
    def _lists(self) -> ModelListStore:
        from edge_app.cloud.protocol.model_list import ModelListStore

        with self._lock:
            self._check_open()
            self._model_lists = self._model_lists or ModelListStore.open()
            return self._model_lists

    def close(self) -> None:
        with self._lock:
            for opened in (self._ledger, self._decisions, self._dialects, self._model_lists):
                if opened is not None:
                    opened.close()
            self._ledger = self._decisions = self._dialects = self._model_lists = self._cloud = None
            self._closed = True

    def _check_open(self) -> None:
        """Called with the lock held."""
        if self._closed:
            raise RuntimeError("the access to the cloud is closed")

    def _client(self) -> Cloud:
        from edge_app.cloud import dispatch  # imports TLS, which is not needed without an endpoint
        from edge_app.cloud.ledger import Ledger
        from edge_app.cloud.protocol.dialect import DialectStore

        with self._lock:
            self._check_open()
            if self._cloud is None:
                dispatch.configured(self._settings)
                self._ledger = self._ledger or Ledger.open(self._settings)
                self._dialects = self._dialects or DialectStore.open()
                self._cloud = dispatch.from_settings(self._settings, self._ledger, self._dialects)
            assert self._cloud is not None, "`configured` raises when there is no endpoint"
            return self._cloud

    @staticmethod
    def _obstacle(cloud: Cloud) -> Reason | None:
        if offline.is_on and not cloud.endpoint.is_local:
            return Reason("offline")
        if cloud.breaker.state == "open":
            return Reason("cloud_resting", {"endpoint": str(cloud.endpoint)})
        return None

    def _permission(
        self, place: Endpoint, images: Sequence[IdentifiedImage], session: str | None, *, allow_cloud: bool
    ) -> Permission:
        known = self.decisions.known(place.host, images, session)
        interactive = self.consenter is not None
        return judge(place, images, known, interactive=interactive, allow_cloud=allow_cloud)


def _closed(reason: Reason) -> Standing:
    return Standing(None, reason, Permission("refuse", reason))
