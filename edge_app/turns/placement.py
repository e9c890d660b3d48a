"""The places of one turn: the router's place policy applied to what is known of the endpoint.

Made once per turn, before anything is generated. All labels of answers are made here, from reasons.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge_app.answer import Offer
from edge_app.cloud.access import Standing
from edge_app.events import Route
from edge_app.reason_text import Label
from router.choice import Choice
from router.place_policy import (
    Escalation,
    Expected,
    FirstPlace,
    Scenario,
    cloud_first_failed,
    escalation,
    escalation_of_decline,
    first_place,
    threshold,
)
from router.types import Reason


@dataclass(frozen=True)
class PlacePlan:
    """Where a turn is answered, and why.

    local, cloud: what is expected of an answer from each; cloud is None when no endpoint is set up.
    allow_cloud: the user allowed the cloud with the question, so a missing endpoint is mentioned.
    """

    scenario: Scenario
    standing: Standing
    local: Expected
    cloud: Expected | None
    allow_cloud: bool

    @property
    def elsewhere(self) -> str:
        """What the other place is called: "cloud", or "local server" for an endpoint on this machine."""
        return self.standing.endpoint.noun if self.standing.endpoint else "cloud"

    def first(self) -> FirstPlace:
        available = self.cloud if self.standing.is_open else None
        return first_place(self.scenario, self.local, available, self.standing.closed_because)

    def local_after_failure(self, obstacle: Reason) -> FirstPlace:
        """This device, because the cloud was asked first and gave no answer."""
        return FirstPlace("local", (cloud_first_failed(self.scenario, obstacle),))

    def escalation(self, probability: float) -> Escalation:
        """Whether a local answer, right with this probability, is asked for again in the cloud.

        Without an endpoint the reason mentions that only when the user allowed the cloud, and only once.
        """
        return escalation(self.scenario, probability, self.cloud, self._obstacle())

    def escalation_of_decline(self, why: Reason) -> Escalation:
        """Whether a question that this device declined to answer is asked in the cloud."""
        return escalation_of_decline(self.scenario, why, self.cloud, self._obstacle())

    def _obstacle(self) -> Reason | None:
        if self.cloud is None and (self.scenario.cloud_first or not self.allow_cloud):
            return None
        return self.standing.closed_because

    @property
    def pause_below(self) -> float | None:
        """The confidence below which a local answer is paused; None when it is always completed.

        It is completed when the user has to be asked for consent, because the user decides after reading the whole
        answer.
        """
        if not self.standing.is_open or self.standing.permission.action != "send":
            return None
        worst = self.escalation(0.0)
        return worst.threshold if worst.escalate else None

    def offer(self, probability: float | None) -> Offer | None:
        """What the user is offered to do about a local answer.

        probability: None for a decline. Otherwise the cloud is offered when the answer is below the threshold of the
        mode's weights, also in a mode that does not escalate by itself.
        """
        if self.cloud is None:
            return "set_up_cloud" if probability is None else None
        if not self.standing.is_open:
            return None
        limit = threshold(replace(self.scenario, escalates=True), self.cloud)
        return "ask_cloud" if probability is None or probability < limit else None

    def route(self, choice: Choice, first: FirstPlace, model: str) -> Route:
        """The route of a turn that begins at `first`. model: that runs the choice on this device."""
        label = Label("", self.elsewhere, (*first.reasons, choice.reason))
        return Route(
            choice.adapter,
            first.place,
            str(label),
            choice.probability,
            choice.candidates,
            label.kind,
            model if first.place == "local" else None,
        )

    def cloud_route(self, first: FirstPlace) -> Route:
        """The route of a turn that begins in the cloud, where adapters are not used."""
        label = Label("", self.elsewhere, first.reasons)
        return Route(None, first.place, str(label), reason_kind=label.kind)

    def local_label(self, *reasons: Reason) -> Label:
        """The label of a local answer. reasons: for its place, its adapter, and why it is kept."""
        return Label("local", self.elsewhere, reasons)

    def cloud_label(self, why: FirstPlace | Escalation) -> Label:
        return Label(self.elsewhere, self.elsewhere, why.reasons)

    def asked_label(self) -> Label:
        """The label of a cloud answer that the user asked for although there was a local one."""
        return Label(self.elsewhere, self.elsewhere, (Reason("cloud_asked"),))
