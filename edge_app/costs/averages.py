"""What the next answer will take, from what earlier ones took: running averages by place and adapter.

Each average begins at a stated prior, which counts as one answer; later answers count at least a tenth, so that
a faster network or a busier machine shows after a few. Kept in the database, for every process of this user.
Knows nothing of how times and energy are taken, nor of what is decided by them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from edge_app.settings import Settings
from edge_app.storage.database import DatabaseFile, moment
from edge_app.system import paths
from router.names import Place
from router.place_policy import Expected

LEAST_SHARE = 0.1
"""Of the newest answer in an average."""

PRIOR_LOCAL = Expected(correct=0.7, seconds=1.0, joules=15.0, money=0.0)
"""A short answer about a photo on two ordinary cores."""

PRIOR_CLOUD_SECONDS, PRIOR_CLOUD_JOULES = 3.0, 6.0
"""An answer of a few sentences over the internet, and a machine that is awake meanwhile."""

PRIOR_TOKENS_IN, PRIOR_TOKENS_OUT = 1000, 150
"""Of a question with one image, as most endpoints count them."""

NOBODY = ""
"""How no adapter is written in the table."""


@dataclass(frozen=True)
class Taken:
    """What one answer took. joules: on this machine. money: 0 for what has no price. correct: the calibrated
    probability that it is right; None when nobody can say, as of a cloud's."""

    seconds: float
    joules: float
    money: float = 0.0
    correct: float | None = None


class Expectations(DatabaseFile):
    """cloud: what is expected of it before it has answered; its `correct` stays, since nothing measures it.
    elsewhere: joules of a cloud's answer that are used there; nothing measures them either."""

    holds = "what answers took"

    def __init__(self, file: Path, cloud: Expected, elsewhere: float) -> None:
        super().__init__(file)
        self._elsewhere: dict[Place, float] = {"local": 0.0, "cloud": elsewhere}
        self._priors: dict[Place, Expected] = {"local": PRIOR_LOCAL, "cloud": cloud}

    @classmethod
    def open(cls, settings: Settings) -> Expectations:
        """The user's own, beside the sessions."""
        return cls(paths.sessions_file(), cloud_prior(settings), settings.cloud_joules)

    def of(self, place: Place, adapter: str | None) -> Expected:
        """Of the next answer from there. adapter: None for the plain model, and for the cloud."""
        known = self._here(place, adapter)
        return replace(known, joules=known.joules + self._elsewhere[place])

    def _here(self, place: Place, adapter: str | None) -> Expected:
        """With the joules of this machine alone, as they are kept."""
        rows = self._rows(
            "SELECT correct, seconds, joules, money FROM expectations WHERE place = ? AND adapter = ?",
            place,
            adapter or NOBODY,
        )
        return Expected(**rows[0]) if rows else self._priors[place]

    def learn(self, place: Place, adapter: str | None, taken: Taken) -> None:
        with self._transaction():  # nobody else changes it between the look and the entry
            known = self._here(place, adapter)
            rows = self._rows(
                "SELECT answers FROM expectations WHERE place = ? AND adapter = ?", place, adapter or NOBODY
            )
            answers = rows[0]["answers"] if rows else 0
            share = max(1 / (answers + 2), LEAST_SHARE)  # the prior is one of them

            def moved(average: float, value: float | None) -> float:
                return average if value is None else average + share * (value - average)

            self._db.execute(
                "INSERT INTO expectations (place, adapter, answers, correct, seconds, joules, money, updated)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (place, adapter) DO UPDATE SET"
                " answers = excluded.answers, correct = excluded.correct, seconds = excluded.seconds,"
                " joules = excluded.joules, money = excluded.money, updated = excluded.updated",
                [
                    *(place, adapter or NOBODY, answers + 1, moved(known.correct, taken.correct)),
                    *(moved(known.seconds, taken.seconds), moved(known.joules, taken.joules)),
                    *(moved(known.money, taken.money), moment()),
                ],
            )


def cloud_prior(settings: Settings) -> Expected:
    """Of the cloud that is set up, before it has answered; the joules are this machine's. A model without a price
    counts as free."""
    price = settings.cloud_prices.get(settings.cloud_model or "")
    return Expected(
        correct=settings.cloud_correct,
        seconds=PRIOR_CLOUD_SECONDS,
        joules=PRIOR_CLOUD_JOULES,
        money=price.of(PRIOR_TOKENS_IN, PRIOR_TOKENS_OUT) if price else 0.0,
    )
