"""What answers are expected to take, and what they took: the averages and the meter, as turns use them.

Opens the averages at their first use. Knows no policy.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from edge_app.costs.averages import Expectations, Taken
from edge_app.costs.energy import EnergyMeter, Power, Reading
from edge_app.events import Answer
from edge_app.settings import Settings
from models.core.errors import UserError
from router.names import Place
from router.place_policy import Expected


class Outlook:
    """Safe to use from several threads. learns: False for answers that are none of the user's, as in an
    evaluation."""

    def __init__(self, settings: Settings, *, learns: bool) -> None:
        self._settings = settings
        self._learns = learns
        self._lock = threading.Lock()
        self._averages: Expectations | None = None
        self._meter = EnergyMeter(Power(settings.watts_busy, settings.watts_waiting))

    def of(self, place: Place, adapter: str | None) -> Expected:
        return self._opened().of(place, adapter)

    def begin(self) -> Reading:
        return self._meter.now()

    def learn_local(self, answer: Answer, ready: float, before: Reading) -> None:
        """Of an answer that came to its end. ready: `time.perf_counter()` when the model was loaded, which is no
        part of what the next answer will take. before: the reading at its beginning."""
        if answer.stop_reason in ("stop", "length"):
            joules = self._meter.since(before).joules
            taken = Taken(time.perf_counter() - ready, joules, correct=answer.confidence)
            self._learn("local", answer.adapter, taken)

    def learn_remote(self, answer: Answer, seconds: float, before: Reading) -> None:
        """seconds: since it was sent."""
        price, tokens = self._settings.cloud_prices.get(answer.model), answer.tokens
        money = price.of(tokens.prompt, tokens.completion) if price is not None else 0.0
        self._learn("cloud", None, Taken(seconds, self._meter.since(before).joules, money))

    def close(self) -> None:
        with self._lock:
            if self._averages is not None:
                self._averages.close()
                self._averages = None

    def _learn(self, place: Place, adapter: str | None, taken: Taken) -> None:
        if self._learns:
            with suppress(UserError):  # an average is not worth an answer
                self._opened().learn(place, adapter, taken)

    def _opened(self) -> Expectations:
        with self._lock:
            if self._averages is None:
                self._averages = Expectations.open(self._settings)
            return self._averages
