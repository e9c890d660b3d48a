"""Where a question is answered: what the user wants, as a utility over what an answer is worth and costs.

U = P(right) - second * seconds - joule * joules - money * price. A mode is three weights and two habits: whether
the cloud is asked first, and whether a local answer that turned out doubtful is asked for again there. Once the
local answer exists its cost is paid, so it is kept unless the cloud's utility exceeds the probability that it
is right: that utility is the threshold. Pure arithmetic; knows neither how probabilities come about nor clouds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from router.names import Mode

if TYPE_CHECKING:
    from router.route import Place


@dataclass(frozen=True)
class Weights:
    """What a second, a joule and a unit of money are worth, in probability of a right answer."""

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
    """What a mode allows itself. image_side: pixels, the longest side of images that are read or sent; tokens:
    the longest answer. None: no limit of its own."""

    image_side: int | None = None
    tokens: int | None = None


@dataclass(frozen=True)
class Expected:
    """Of an answer from one place. correct: probability that it is right. joules: on this machine, and what the
    place itself uses. money: in the currency of the prices."""

    correct: float
    seconds: float
    joules: float
    money: float


@dataclass(frozen=True)
class Scenario:
    """name: the mode, or "auto, on battery". cloud_first: the cloud is asked before this device. escalates: a
    doubtful local answer is asked for again in the cloud. note: what the user should know of it, or nothing."""

    name: str
    weights: Weights
    cloud_first: bool
    escalates: bool
    budgets: Budgets
    note: str = ""

    def utility(self, expected: Expected) -> float:
        return (
            expected.correct
            - self.weights.second * expected.seconds
            - self.weights.joule * expected.joules
            - self.weights.money * expected.money
        )


@dataclass(frozen=True)
class Placed:
    """reason: one clause a person can read."""

    place: Place
    reason: str


@dataclass(frozen=True)
class Verdict:
    """On a local answer. threshold: the probability below which the cloud would be worth asking; 0 when nothing
    would make it so. reason: one clause a person can read."""

    escalate: bool
    threshold: float
    reason: str


def scenario(
    mode: Mode,
    on_battery: bool,
    weights: Mapping[Mode, Weights] = DEFAULT_WEIGHTS,
    eco: Budgets = Budgets(),
) -> Scenario:
    """eco: the budgets of that mode. On battery, auto weighs energy half-way between itself and eco, and keeps to
    eco's budgets."""
    own = weights[mode]
    if mode == "eco":
        return Scenario(mode, own, cloud_first=False, escalates=False, budgets=eco)
    if mode == "quality":
        return Scenario(mode, own, cloud_first=True, escalates=True, budgets=Budgets())
    if mode == "auto" and on_battery:
        leaning = Weights(own.second, (own.joule + weights["eco"].joule) / 2, own.money)
        note = "leaning to eco, on battery"
        return Scenario("auto, on battery", leaning, False, True, eco, note)
    return Scenario(mode, own, cloud_first=False, escalates=True, budgets=Budgets())


def first(wanted: Scenario, local: Expected, cloud: Expected | None, without: str = "") -> Placed:
    """Where to begin, before anything is generated. without: why there is no cloud, when there is none."""
    if not wanted.cloud_first:
        return Placed("local", "; ".join(part for part in (f"mode {wanted.name}", wanted.note) if part))
    if cloud is None:
        return Placed("local", f"mode {wanted.name}, but {without or 'there is no cloud to ask'}")
    return Placed(
        "cloud",
        f"mode {wanted.name}: {cloud.correct:.2f} expected of the cloud, {local.correct:.2f} of this device",
    )


def after(wanted: Scenario, probability: float, cloud: Expected | None, without: str = "") -> Verdict:
    """Whether a local answer, right with this probability, is asked for again in the cloud."""
    limit = threshold(wanted, cloud)
    if not wanted.escalates:
        return Verdict(False, limit, f"mode {wanted.name} asks the cloud only when told to")
    said = f"local confidence {probability:.2f}"
    if cloud is None:
        return Verdict(False, limit, f"{said}; {without or 'there is no cloud to ask'}")
    if probability < limit:
        return Verdict(True, limit, f"{said} below {limit:.2f}")
    return Verdict(False, limit, f"{said}, {limit:.2f} is enough")


def threshold(wanted: Scenario, cloud: Expected | None) -> float:
    """The probability of being right that a local answer needs to be kept: the cloud's utility."""
    if cloud is None or not wanted.escalates:
        return 0.0
    return min(max(wanted.utility(cloud), 0.0), 1.0)
