"""Where a question is answered, by which adapter, and why: the decision, and how that on the adapter is taken.

Does as it is told about adapters; told "auto", it takes what a router chose. The place is router.place_policy's.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from adapters.spec import checked_spec
from router.choice import Candidate, Choice

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


def route(*, adapter: str, installed: Collection[str], choice: Choice | None = None) -> Route:
    """adapter: an installed name or a sum (adapters.spec), "auto" or "none". Raises UserError when a name is not
    installed.

    choice: a router's, which "auto" takes. Without one "auto" means none: there is nothing to choose from.
    """
    if adapter == "auto":
        if choice is None:
            return Route(None, "local", "no adapter is installed")
        return Route(choice.adapter, "local", choice.reason, choice.probability, choice.candidates)
    if adapter == "none":
        return Route(None, "local", "no adapter, as asked")
    named = str(checked_spec(adapter, installed))
    return Route(named, "local", f"adapter {named}, as asked")
