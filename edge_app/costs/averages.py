"""What the next answer is expected to cost: running averages by place, adapter and model, kept in the user's database.

Each average begins at a prior, which counts as one answer. A later answer counts at least LEAST_SHARE, so that a
faster network or a busier machine shows after a few answers. All processes of the user share the averages.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from edge_app.answer import Answer
from edge_app.costs.energy import EnergyMeter, Power, Reading
from edge_app.settings import DEFAULT_MODEL, Settings
from edge_app.storage.database import DatabaseFile, moment
from edge_app.system import paths
from models.core.errors import UserError
from router.place_policy import Expected
from router.types import Place

LEAST_SHARE = 0.1
"""The smallest weight of the newest answer in an average."""

PRIOR_LOCAL = Expected(correct=0.7, seconds=1.0, joules=15.0, money=0.0)
"""A short answer about a photo on two ordinary cores."""

PRIOR_CLOUD_SECONDS, PRIOR_CLOUD_JOULES = 3.0, 6.0
"""An answer of a few sentences over the internet, while this machine waits for it."""

PRIOR_TOKENS_IN, PRIOR_TOKENS_OUT = 1000, 150
"""Tokens of a question with one image and of its answer, as most endpoints count them."""

NO_ADAPTER = ""
"""The table's value for answers of the embedded default without an adapter."""

OTHER_MODEL = "@"
"""The table's value for answers of another model without an adapter begins with this, which no adapter's name has. An
adapter runs on one model."""


@dataclass(frozen=True)
class AnswerCost:
    """What one answer took.

    joules: used on this machine. money: 0 when the model has no price. correct: the calibrated probability that the
    answer is right, 0..1; None when it is unknown, as for a cloud answer.
    """

    seconds: float
    joules: float
    money: float = 0.0
    correct: float | None = None


class CostTable(DatabaseFile):
    """The averages in the database.

    cloud: the prior of the endpoint; its `correct` never changes, because nothing measures it. elsewhere: joules that
    a cloud answer uses outside this machine, which nothing measures either; added to what is expected of the cloud.
    """

    holds = "the cost averages"

    def __init__(self, file: Path, cloud: Expected, elsewhere: float) -> None:
        super().__init__(file)
        self._elsewhere: dict[Place, float] = {"local": 0.0, "cloud": elsewhere}
        self._priors: dict[Place, Expected] = {"local": PRIOR_LOCAL, "cloud": cloud}

    @classmethod
    def open(cls, settings: Settings) -> CostTable:
        """The user's own, in the file of the sessions."""
        return cls(paths.sessions_file(), cloud_prior(settings), settings.cloud_joules)

    def of(self, place: Place, adapter: str | None) -> Expected:
        """What the next answer is expected to cost. adapter: None for the default model, and for the cloud."""
        here = self._average(place, adapter)
        return replace(here, joules=here.joules + self._elsewhere[place])

    def learn(self, place: Place, adapter: str | None, cost: AnswerCost) -> None:
        """Moves each average towards the answer's value by the share 1 / (answers + 2), at least LEAST_SHARE."""
        with self._transaction():  # so that no other process writes between reading and writing
            before = self._average(place, adapter)
            rows = self._rows(
                "SELECT answers FROM expectations WHERE place = ? AND adapter = ?",
                place,
                adapter or NO_ADAPTER,
            )
            answers = rows[0]["answers"] if rows else 0
            share = max(1 / (answers + 2), LEAST_SHARE)

            def moved(average: float, value: float | None) -> float:
                return average if value is None else average + share * (value - average)

            self._db.execute(
                "INSERT INTO expectations (place, adapter, answers, correct, seconds, joules, money, updated)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (place, adapter) DO UPDATE SET"
                " answers = excluded.answers, correct = excluded.correct, seconds = excluded.seconds,"
                " joules = excluded.joules, money = excluded.money, updated = excluded.updated",
                [
                    *(place, adapter or NO_ADAPTER, answers + 1, moved(before.correct, cost.correct)),
                    *(moved(before.seconds, cost.seconds), moved(before.joules, cost.joules)),
                    *(moved(before.money, cost.money), moment()),
                ],
            )

    def _average(self, place: Place, adapter: str | None) -> Expected:
        """The average as it is kept, with the joules of this machine alone."""
        rows = self._rows(
            "SELECT correct, seconds, joules, money FROM expectations WHERE place = ? AND adapter = ?",
            place,
            adapter or NO_ADAPTER,
        )
        return Expected(**rows[0]) if rows else self._priors[place]


def cloud_prior(settings: Settings) -> Expected:
    """What is expected of the endpoint before it has answered. joules: of this machine. A model without a price is
    free."""
    price = settings.cloud_prices.get(settings.cloud_model or "")
    return Expected(
        correct=settings.cloud_correct,
        seconds=PRIOR_CLOUD_SECONDS,
        joules=PRIOR_CLOUD_JOULES,
        money=price.of(PRIOR_TOKENS_IN, PRIOR_TOKENS_OUT) if price else 0.0,
    )


def _answerer(adapter: str | None, model: str) -> str | None:
    """The table's value for who answers."""
    return adapter if adapter or model == DEFAULT_MODEL else f"{OTHER_MODEL}{model}"


class CostAverages:
    """Measures answers and keeps their averages. Safe to use from several threads.

    Opens the database at the first use. After `close`, `of` raises RuntimeError and answers are no longer learnt from.

    learns: False when answers are not the user's, as in an evaluation.
    """

    def __init__(self, settings: Settings, *, learns: bool) -> None:
        self._settings = settings
        self._learns = learns
        self._lock = threading.Lock()
        self._table: CostTable | None = None
        self._closed = False
        self._meter = EnergyMeter(Power(settings.watts_busy, settings.watts_waiting))

    def of(self, place: Place, adapter: str | None, model: str = DEFAULT_MODEL) -> Expected:
        """What the next answer is expected to cost. Raises UserError when the database cannot be used.

        model: the name of the model that answers where there is no adapter on this device.
        """
        with self._lock:
            return self._opened().of(place, _answerer(adapter, model))

    def begin(self) -> Reading:
        """A reading to be taken before an answer, for `learn_local` or `learn_cloud`."""
        return self._meter.now()

    def learn_local(self, answer: Answer, ready: float, before: Reading) -> None:
        """Learns from an answer that was not stopped.

        ready: `time.perf_counter()` when the model was loaded; the next answer does not wait for the load.
        """
        if answer.stop_reason in ("stop", "length"):
            joules = self._meter.since(before).joules
            cost = AnswerCost(time.perf_counter() - ready, joules, correct=answer.confidence)
            self._learn("local", _answerer(answer.adapter, answer.model), cost)

    def learn_cloud(self, answer: Answer, seconds: float, before: Reading) -> None:
        """Learns from a complete cloud answer. seconds: from sending the request to the end of the answer."""
        price, tokens = self._settings.cloud_prices.get(answer.model), answer.tokens
        money = price.of(tokens.prompt, tokens.completion) if price is not None else 0.0
        self._learn("cloud", None, AnswerCost(seconds, self._meter.since(before).joules, money))

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._table is not None:
                self._table.close()
                self._table = None

    def _learn(self, place: Place, adapter: str | None, cost: AnswerCost) -> None:
        with self._lock, suppress(UserError):  # an answer does not fail for the sake of an average
            if self._learns and not self._closed:
                self._opened().learn(place, adapter, cost)

    def _opened(self) -> CostTable:
        """Called with the lock held."""
        if self._closed:
            raise RuntimeError("the cost averages are closed")
        if self._table is None:
            self._table = CostTable.open(self._settings)
        return self._table
