"""A turn that is ready to run: plain data, made before the engine or the cloud is needed."""

from __future__ import annotations

import time
from dataclasses import dataclass

from edge_app.storage.sessions import SavedTurnId
from edge_app.turn import Turn
from edge_app.turns.conversation import ReadPicture
from edge_app.turns.placement import PlacePlan
from models.core.types import Message, Sampling
from router.choice import Choice


@dataclass(frozen=True)
class Planned:
    """started: `time.perf_counter()` when it was handed over.

    session: that it continues. messages: the whole context, this question last. new: this turn's images.
    installed: the adapters' names. choice: None when the router is to choose. places: where it is answered.
    saved: where it is on disk, None when nothing is saved.
    """

    turn: Turn
    session: str | None
    messages: tuple[Message, ...]
    new: tuple[ReadPicture, ...]
    sampling: Sampling
    installed: tuple[str, ...]
    choice: Choice | None
    places: PlacePlan
    saved: SavedTurnId | None
    started: float
    route_ms: float

    @property
    def session_id(self) -> str | None:
        """What the turn belongs to; None when nothing is saved."""
        return self.saved.session if self.saved is not None else self.session

    def elapsed(self) -> float:
        """Milliseconds since the turn was handed over."""
        return 1000 * (time.perf_counter() - self.started)
