"""Where a question is answered, by which adapter, and why: the decision, and the policy that takes it.

The policy knows one place, this device, and does as it is told about adapters; told "auto", it takes what a
router chose. It never pretends: what it cannot do (use a cloud) is said in the reason.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from adapters.spec import checked_spec
from router.query import Candidate, Choice

Place = Literal["local", "cloud"]


@dataclass(frozen=True)
class Route:
    """adapter: a name or a sum, or None for the plain model. reason: one clause a person can read.

    probability: that this choice is right, 0..1, as the router sees it; None when nobody had to choose.
    candidates: what the choice was made from, best first.
    """

    adapter: str | None
    place: Place
    reason: str
    probability: float | None = None
    candidates: tuple[Candidate, ...] = ()


def route(
    *, adapter: str, mode: str, allow_cloud: bool, installed: Collection[str], choice: Choice | None = None
) -> Route:
    """adapter: an installed name or a sum (adapters.spec), "auto" or "none". Raises UserError when a name is not
    installed.

    choice: a router's, which "auto" takes. Without one "auto" means none: there is nothing to choose from.
    """
    place = _about_the_place(mode, allow_cloud)
    if adapter == "auto":
        if choice is None:
            return Route(None, "local", "; ".join([*place, "no adapter is installed"]))
        reason = "; ".join([*place, choice.reason])
        return Route(choice.adapter, "local", reason, choice.probability, choice.candidates)
    if adapter == "none":
        return Route(None, "local", "; ".join([*place, "no adapter, as asked"]))
    named = str(checked_spec(adapter, installed))
    return Route(named, "local", "; ".join([*place, f"adapter {named}, as asked"]))


def _about_the_place(mode: str, allow_cloud: bool) -> list[str]:
    if mode == "quality" or allow_cloud:
        return ["no cloud model is configured, so the answer comes from this device"]
    if mode != "auto":
        return [f"mode {mode} makes no difference yet: only this device answers, with one model"]
    return []
