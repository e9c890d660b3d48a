"""Plain types that settings, the command line and every part of the router share.

Imports nothing but the standard library, so that `--help` is fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

RouterName = Literal["heads", "prototypes", "model"]
ROUTERS: tuple[RouterName, ...] = get_args(RouterName)

Mode = Literal["auto", "fast", "quality", "eco"]
"""What matters most to the user (compare the scenarios of ECVL-ROUTER)."""

Place = Literal["local", "cloud"]
"""Where an answer is computed. "cloud" is any endpoint, also one on this machine."""


@dataclass(frozen=True)
class Reason:
    """One reason for one decision, as a value that programs can compare. edge_app/reason_text.py renders it.

    kind: a stable identifier such as "confidence_below". `ask --json` and `route --json` print it as `reason_kind`.
    fields: the values that the sentence of this kind shows. A router of another distribution, whose reasons have no
        sentence here, returns kind "text" with the field "text": a clause without a full stop.
    """

    kind: str
    fields: Mapping[str, str | float | tuple[str, ...] | Reason | None] = field(default_factory=dict)
