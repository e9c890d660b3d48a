"""Which place answers a turn, in words: the router's policy applied to what is known of the endpoint.

Pure: made once for a turn, before anything is generated. Every label that an answer can have comes from here.
Knows neither how answers are made nor how the user is asked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge_app.cloud.access import Standing
from router.place_policy import Expected, Placed, Scenario, Verdict, after, first, threshold
from router.route import Route


@dataclass(frozen=True)
class Placing:
    """local, cloud: what is expected of both; cloud None when no endpoint is set up.

    allow_cloud: the user said so with the question: then it is told when the cloud could not be had.
    """

    scenario: Scenario
    standing: Standing
    local: Expected
    cloud: Expected | None
    allow_cloud: bool

    @property
    def noun(self) -> str:
        """What the other place is called."""
        return self.standing.endpoint.noun if self.standing.endpoint else "cloud"

    def first(self) -> Placed:
        available = self.cloud if self.standing.is_open else None
        placed = first(self.scenario, self.local, available, self.standing.without)
        return replace(placed, reason=self._named(placed.reason))

    def after(self, probability: float) -> Verdict:
        """Of a local answer; escalates only where that is possible. That no endpoint is set up is told to who asks
        for one, once."""
        verdict = after(self.scenario, probability, self.cloud, self.standing.without)
        sure = f"local confidence {probability:.2f}"
        if self.cloud is None:
            told = self.standing.without if self.allow_cloud and not self.scenario.cloud_first else ""
            return replace(verdict, reason=joined(sure, told))
        if not self.scenario.escalates:
            return replace(verdict, reason=joined(sure, self._named(verdict.reason)))
        if verdict.escalate and not self.standing.is_open:
            return Verdict(False, verdict.threshold, joined(verdict.reason, self.standing.without))
        return verdict

    def _named(self, reason: str) -> str:
        """The policy knows one other place; of an endpoint on this machine "cloud" is not said."""
        return reason.replace("the cloud", f"the {self.noun}")

    @property
    def give_up(self) -> float | None:
        """Below which confidence a local answer need not go on; None when it always has to. The user is asked
        about whole answers only: who says no wants to read one."""
        settled = self.standing.is_open and self.standing.permission.action == "send"
        return self.after(0.0).threshold if settled and self.after(0.0).escalate else None

    def offers(self, probability: float) -> bool:
        """Whether asking the cloud is worth an offer: the answer is doubtful by the mode's own weights, in a mode
        that does not ask by itself too."""
        if self.cloud is None or not self.standing.is_open:
            return False
        return probability < threshold(replace(self.scenario, escalates=True), self.cloud)

    def local_label(self, first: Placed, route: Route, probability: float | None) -> str:
        """first: where it began. probability: None of an answer that did not come to its end."""
        judged = "" if probability is None else self.after(probability).reason.removeprefix("local ")
        return label("local", first.reason, route.reason, judged)

    def cloud_label(self, why: Placed | Verdict) -> str:
        return label(self.noun, why.reason)

    def demanded_label(self) -> str:
        """Of an answer that the user asked for although there was one."""
        return label(self.noun, "as you asked")


def placed(route: Route, first: Placed) -> Route:
    """The route of a turn, with its place and why that is."""
    return replace(route, place=first.place, reason=joined(first.reason, route.reason))


def label(place: str, *reasons: str) -> str:
    """What an answer is labelled with."""
    said = joined(*reasons)
    return f"{place}: {said}" if said else place


def joined(*reasons: str) -> str:
    """Clauses, in their order. What a later one begins with is said once; "mode auto" goes without saying."""
    told: list[str] = []
    for part in (part for reason in reasons for part in reason.split("; ") if part):
        told = [each for each in told if not part.startswith(each)]
        if part != "mode auto":
            told.append(part)
    return "; ".join(told)
