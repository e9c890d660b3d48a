"""Where a question is answered: the expected utility of each place under the weights of a mode.

U = P(right) - second * seconds - joule * joules - money * price

A mode has three weights and two switches: whether the cloud is asked first, and whether a doubtful local answer is
asked for again in the cloud. The cost of a local answer is already paid once it exists, so it is kept unless the
cloud's utility exceeds the probability that the local answer is right. That utility is the threshold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from router.types import Mode, Place, Reason


@dataclass(frozen=True)
class Weights:
    """The price of a second, a joule and a unit of money, in probability of a right answer."""

    second: float
    joule: float
    money: float


DEFAULT_WEIGHTS: Mapping[Mode, Weights] = {
    "auto": Weights(second=0.04, joule=0.0001, money=5.0),
    "fast": Weights(second=0.2, joule=0.0001, money=5.0),
    "quality": Weights(second=0.005, joule=0.0, money=1.0),
    "eco": Weights(second=0.02, joule=0.0005, money=5.0),
}


@dataclass(frozen=True)
class Budgets:
    """Limits of a mode; None for no limit.

    image_side: longest side, in pixels, of images that are read or sent. tokens: length of the longest answer.
    """

    image_side: int | None = None
    tokens: int | None = None


@dataclass(frozen=True)
class Expected:
    """What an answer from one place is expected to be worth and to cost.

    correct: probability that it is right, 0..1. seconds: until it is complete. joules: used on this machine and by
    the place itself. money: in the currency of the prices.
    """

    correct: float
    seconds: float
    joules: float
    money: float


@dataclass(frozen=True)
class Scenario:
    """A mode under the present conditions.

    cloud_first: the cloud is asked before this device. escalates: a doubtful local answer is asked for again in the
    cloud. on_battery: the weights lean to eco because the device runs on battery.
    """

    mode: Mode
    weights: Weights
    cloud_first: bool
    escalates: bool
    budgets: Budgets
    on_battery: bool = False

    @property
    def name(self) -> str:
        """The mode, or "auto, on battery"."""
        return f"{self.mode}, on battery" if self.on_battery else self.mode

    @property
    def escalates_declines(self) -> bool:
        """Whether a question that this device declined to answer is asked in the cloud."""
        return self.mode in ("auto", "quality")

    def utility(self, expected: Expected) -> float:
        return (
            expected.correct
            - self.weights.second * expected.seconds
            - self.weights.joule * expected.joules
            - self.weights.money * expected.money
        )


@dataclass(frozen=True)
class FirstPlace:
    """The place that is asked first. reasons: empty when there is nothing to explain (mode auto)."""

    place: Place
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True)
class Escalation:
    """Whether a local answer is asked for again in the cloud.

    threshold: the probability below which the cloud is worth asking; 0 when it never is.
    """

    escalate: bool
    threshold: float
    reasons: tuple[Reason, ...]


def scenario(
    mode: Mode,
    on_battery: bool,
    weights: Mapping[Mode, Weights] = DEFAULT_WEIGHTS,
    eco: Budgets = Budgets(),
) -> Scenario:
    """The scenario of a mode.

    eco: the budgets of mode eco. On battery, mode auto takes the mean of its own and eco's price of a joule, and
    eco's budgets.
    """
    own = weights[mode]
    if mode == "eco":
        return Scenario(mode, own, cloud_first=False, escalates=False, budgets=eco)
    if mode == "quality":
        return Scenario(mode, own, cloud_first=True, escalates=True, budgets=Budgets())
    if mode == "auto" and on_battery:
        leaning = Weights(own.second, (own.joule + weights["eco"].joule) / 2, own.money)
        return Scenario(mode, leaning, cloud_first=False, escalates=True, budgets=eco, on_battery=True)
    return Scenario(mode, own, cloud_first=False, escalates=True, budgets=Budgets())


def first_place(
    scenario: Scenario, local: Expected, cloud: Expected | None, obstacle: Reason | None = None
) -> FirstPlace:
    """The place to ask before anything is generated.

    cloud: None when it cannot be asked. obstacle: why it cannot.
    """
    mode = {"mode": scenario.mode}
    if not scenario.cloud_first:
        if scenario.on_battery:
            return FirstPlace("local", (Reason("mode_on_battery", mode),))
        return FirstPlace("local", () if scenario.mode == "auto" else (Reason("mode", mode),))
    if cloud is None:
        return FirstPlace("local", (cloud_first_failed(scenario, obstacle or Reason("no_cloud")),))
    expected = {**mode, "cloud": cloud.correct, "local": local.correct}
    return FirstPlace("cloud", (Reason("mode_prefers_cloud", expected),))


def cloud_first_failed(scenario: Scenario, obstacle: Reason) -> Reason:
    """Why a scenario that asks the cloud first answers on this device."""
    return Reason("mode_but", {"mode": scenario.mode, "obstacle": obstacle})


def escalation(
    scenario: Scenario, probability: float, cloud: Expected | None, obstacle: Reason | None = None
) -> Escalation:
    """Whether a local answer is asked for again in the cloud.

    probability: that the local answer is right, 0..1. cloud: None when no cloud is set up. obstacle: why the cloud
    cannot be asked; None when it can.
    """
    limit = threshold(scenario, cloud)
    confidence = Reason("confidence", {"probability": probability})
    if cloud is None:
        return Escalation(False, limit, (confidence,) if obstacle is None else (confidence, obstacle))
    if not scenario.escalates:
        return Escalation(False, limit, (confidence, Reason("mode_keeps_local", {"mode": scenario.mode})))
    compared = {"probability": probability, "threshold": limit}
    if probability >= limit:
        return Escalation(False, limit, (Reason("confidence_enough", compared),))
    below = Reason("confidence_below", compared)
    if obstacle is not None:
        return Escalation(False, limit, (below, obstacle))
    return Escalation(True, limit, (below,))


def escalation_of_decline(
    scenario: Scenario, why: Reason, cloud: Expected | None, obstacle: Reason | None = None
) -> Escalation:
    """Whether a question that this device declined to answer is asked in the cloud. A decline is never right.

    why: the reason of the decline. cloud, obstacle: as for `escalation`.
    """
    limit = threshold(scenario, cloud)
    if cloud is None:
        return Escalation(False, limit, (why,) if obstacle is None else (why, obstacle))
    if not scenario.escalates_declines:
        return Escalation(False, limit, (why, Reason("mode_keeps_decline", {"mode": scenario.mode})))
    if limit <= 0:
        return Escalation(False, limit, (why,))
    if obstacle is not None:
        return Escalation(False, limit, (why, obstacle))
    return Escalation(True, limit, (why,))


def threshold(scenario: Scenario, cloud: Expected | None) -> float:
    """The probability of being right from which a local answer is kept: the cloud's utility, within 0..1."""
    if cloud is None or not scenario.escalates:
        return 0.0
    return min(max(scenario.utility(cloud), 0.0), 1.0)
