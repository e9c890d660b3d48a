"""Where a question is answered, by which adapter, and why: the decision, and the policy that takes it.

The policy knows one place, this device, and does as it is told about adapters. It never pretends: what it
cannot do (choose an adapter by itself, use a cloud) is said in the reason.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from models.errors import UserError

Place = Literal["local", "cloud"]


@dataclass(frozen=True)
class Route:
    """adapter: a name, or None for the plain model. reason: one clause a person can read."""

    adapter: str | None
    place: Place
    reason: str


def route(*, adapter: str, mode: str, allow_cloud: bool, installed: Collection[str]) -> Route:
    """adapter: an installed name, "auto" or "none". Raises UserError when the name is not installed."""
    reasons = []
    if mode == "quality" or allow_cloud:
        reasons.append("no cloud model is configured, so the answer comes from this device")
    elif mode != "auto":
        reasons.append(f"mode {mode} makes no difference yet: only this device answers, with one model")
    chosen: str | None = None
    if adapter == "none":
        reasons.append("no adapter, as asked")
    elif adapter == "auto":
        reasons.append(
            f"no adapter: {len(installed)} installed, and one is used only when named"
            if installed
            else "no adapter is installed"
        )
    elif adapter in installed:
        chosen = adapter
        reasons.append(f"adapter {adapter}, as asked")
    else:
        known = ", ".join(sorted(installed)) if installed else "none"
        raise UserError(f"There is no adapter named {adapter!r} (installed: {known}).")
    return Route(chosen, "local", "; ".join(reasons))
