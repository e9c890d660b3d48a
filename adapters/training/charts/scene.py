"""The content of a chart, drawn at random: its kind, labels and numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, Literal

import numpy as np
from numpy.random import Generator

from adapters.training.charts.words import ChartWords

Kind = Literal["bar", "horizontal_bar", "grouped_bar", "line", "pie", "candlestick"]
KINDS: Final[tuple[Kind, ...]] = ("bar", "horizontal_bar", "grouped_bar", "line", "pie", "candlestick")
Trend = Literal["up", "down", "flat"]

MOST: Final = 6
"""Categories, points or slices of a chart."""

_STEPS: Final = {10: 1, 20: 1, 50: 1, 100: 1, 200: 5, 500: 10, 1000: 10}
"""Highest value of an axis -> step of the printed values."""


@dataclass(frozen=True)
class Candle:
    open: float
    high: float
    low: float
    close: float


@dataclass(frozen=True)
class Chart:
    """One chart. noun: what a label is called in questions. top: the axis runs from 0 to a little above it.

    values: one a label (of the first series); empty for candlesticks. more: further series of a grouped bar.
    trend: of a line that has a clear one. prints_values: the numbers stand in the picture.
    """

    kind: Kind
    title: str
    noun: str
    labels: tuple[str, ...]
    top: float
    values: tuple[float, ...] = ()
    more: tuple[tuple[float, ...], ...] = ()
    series: tuple[str, ...] = ()
    candles: tuple[Candle, ...] = ()
    trend: Trend | None = None
    prints_values: bool = False


def random_chart(kind: Kind, words: ChartWords, rng: Generator) -> Chart:
    """A chart of this kind. Equal generators give equal charts."""
    title = str(rng.choice(words.titles))
    if kind == "candlestick":
        return _candlestick(title, words, rng)
    if kind == "line":
        return _line(title, words, rng)
    noun, labels = _category(words, rng) if kind == "pie" or rng.random() < 0.8 else _period(words, rng)
    prints = bool(rng.random() < (0.8 if kind == "pie" else 0.65))
    if kind == "pie":
        shares = _shares(len(labels), rng)
        return Chart(kind, title, noun, labels, 100, shares, prints_values=prints)
    top = int(rng.choice(list(_STEPS)))
    if kind == "grouped_bar":
        return _grouped(Chart(kind, title, noun, labels, top, prints_values=prints), words, rng)
    return Chart(kind, title, noun, labels, top, _values(len(labels), top, prints, rng), prints_values=prints)


def _category(words: ChartWords, rng: Generator) -> tuple[str, tuple[str, ...]]:
    noun = str(rng.choice(list(words.categories)))
    count = int(rng.integers(3, MOST + 1))
    return noun, tuple(str(label) for label in rng.choice(words.categories[noun], count, replace=False))


def _period(
    words: ChartWords, rng: Generator, least: int = 3, most: int = MOST
) -> tuple[str, tuple[str, ...]]:
    """A kind of period and `least` to `most` consecutive labels of it."""
    fitting = [noun for noun, all_of in words.periods.items() if len(all_of) >= least]
    noun = str(rng.choice(fitting))
    everything = words.periods[noun]
    count = int(rng.integers(least, min(most, len(everything)) + 1))
    first = int(rng.integers(0, len(everything) - count + 1))
    return noun, everything[first : first + count]


def _values(count: int, top: int, printed: bool, rng: Generator) -> tuple[float, ...]:
    """Numbers whose order can be seen: no two nearer than 6% of the axis. Unprinted ones are multiples of a
    tenth of the axis, so that they can be read off."""
    step = _STEPS[top] if printed else top / 10
    while True:
        drawn = [float(round(step * k, 6)) for k in rng.integers(1, round(top / step) + 1, count)]
        ordered = sorted(drawn)
        if all(high - low >= 0.06 * top for low, high in pairwise(ordered)):
            return tuple(drawn)


def _shares(count: int, rng: Generator) -> tuple[float, ...]:
    """Whole percentages that sum to 100, no two nearer than 3 and none under 5."""
    while True:
        cuts = sorted(rng.choice(range(5, 96), count - 1, replace=False))
        shares = [int(b - a) for a, b in zip([0, *cuts], [*cuts, 100], strict=True)]
        ordered = sorted(shares)
        if ordered[0] >= 5 and all(b - a >= 3 for a, b in pairwise(ordered)):
            return tuple(float(share) for share in shares)


def _grouped(chart: Chart, words: ChartWords, rng: Generator) -> Chart:
    """Two or three series of which one bar is clearly the highest."""
    count = int(rng.integers(2, 4))
    labels = chart.labels[:4]
    names = tuple(str(name) for name in rng.choice(words.series, count, replace=False))
    series: list[tuple[float, ...]] = []
    while not series or not _has_clear_top(series, chart.top):
        series = [_values(len(labels), int(chart.top), False, rng) for _ in range(count)]
    return replace(chart, labels=labels, values=series[0], more=tuple(series[1:]), series=names)


def _has_clear_top(series: list[tuple[float, ...]], top: float) -> bool:
    by_label = sorted(max(one[i] for one in series) for i in range(len(series[0])))
    return by_label[-1] - by_label[-2] >= 0.09 * top


def _line(title: str, words: ChartWords, rng: Generator) -> Chart:
    noun, labels = _period(words, rng, least=4)
    prints = bool(rng.random() < 0.6)
    top = int(rng.choice(list(_STEPS)))
    trend: Trend | None = (None, "up", "down", "flat")[int(rng.choice(4, p=[0.2, 0.3, 0.3, 0.2]))]
    if trend is None:
        return Chart(
            "line", title, noun, labels, top, _values(len(labels), top, prints, rng), prints_values=prints
        )
    step = _STEPS[top]
    while True:
        if trend == "flat":
            level = rng.uniform(0.25, 0.75)
            shares = level + rng.uniform(-0.05, 0.05, len(labels))  # float64 [labels]
        else:
            low, high = rng.uniform(0.08, 0.3), rng.uniform(0.65, 0.95)
            shares = np.array([low + (high - low) * i / (len(labels) - 1) for i in range(len(labels))])
            shares += rng.uniform(-0.1, 0.1, len(labels))
            shares = shares[::-1] if trend == "down" else shares
        values = tuple(float(step * round(share * top / step)) for share in shares)
        if (
            min(values) > 0
            and max(values) <= top
            and (trend == "flat") == (max(values) - min(values) <= 0.15 * top)
        ):
            return Chart("line", title, noun, labels, top, values, trend=trend, prints_values=prints)


def _candlestick(title: str, words: ChartWords, rng: Generator) -> Chart:
    """5 to 7 candles of which one close is clearly the highest; clearly higher or lower at the end."""
    noun, labels = _period(words, rng, least=5, most=7)
    while True:
        price = float(rng.integers(40, 200))
        spread = price * rng.uniform(0.03, 0.08)
        drift = rng.choice([-1, 1]) * rng.uniform(0.1, 0.6) * spread
        candles = []
        for _ in labels:
            close = price + drift + rng.normal(0, spread)
            high = max(price, close) + abs(rng.normal(0, 0.4 * spread))
            low = min(price, close) - abs(rng.normal(0, 0.4 * spread))
            candles.append(Candle(price, high, low, close))
            price = close + rng.normal(0, 0.15 * spread)
        height = max(c.high for c in candles) - min(c.low for c in candles)
        closes = sorted(c.close for c in candles)
        moved = abs(candles[-1].close - candles[0].open)
        last = abs(candles[-1].close - candles[-1].open)
        if (
            min(c.low for c in candles) > 0
            and closes[-1] - closes[-2] > 0.08 * height
            and min(moved / 2, last) > 0.08 * height
        ):
            return Chart(
                "candlestick", title, noun, labels, max(c.high for c in candles), candles=tuple(candles)
            )
