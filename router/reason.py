"""The reason for a decision, as a value that programs can compare. edge_app/reason_text.py renders it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Reason:
    """One reason for one decision.

    kind: a stable identifier such as "confidence_below". `ask --json` and `route --json` print it as `reason_kind`.
    fields: the values that the sentence of this kind shows. A router of another distribution, whose reasons have no
        sentence here, returns kind "text" with the field "text": a clause without a full stop.
    """

    kind: str
    fields: Mapping[str, str | float | tuple[str, ...] | Reason | None] = field(default_factory=dict)
