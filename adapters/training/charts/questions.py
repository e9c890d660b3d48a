"""Questions about a chart, with their answers.

Types: `chart_type`; `value` (the number is printed in the chart) and `read_off` (it must be read off the axis);
`extreme` (the label with the highest or lowest value); `place` (which bar or point is highest or lowest, as an
ordinal); `trend` of a line (up: it climbs from the lowest 30% of the axis to the highest 35%, but for steps of a
tenth to either side; flat: it stays within 15% of the axis); `yes_no` comparisons, half yes; `direction` (rise or
fall of the price) and `highest_close` of candlesticks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.random import Generator

from adapters.training.charts.scene import Chart, Kind

CHART_TYPES: Final[dict[Kind, str]] = {
    "bar": "bar chart",
    "horizontal_bar": "horizontal bar chart",
    "grouped_bar": "grouped bar chart",
    "line": "line chart",
    "pie": "pie chart",
    "candlestick": "candlestick chart",
}
ORDINALS: Final = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh")
QUESTIONS_A_CHART: Final = 3
FURTHER_QUESTIONS: Final = 6
"""Questions in addition, for charts of the split "train". They share its image and its text, so they cost little."""

_MARKS: Final[dict[Kind, tuple[str, str]]] = {
    "bar": ("from the left", "bar"),
    "horizontal_bar": ("from the top", "bar"),
    "line": ("from the left", "point"),
}


@dataclass(frozen=True)
class Question:
    text: str
    answer: str
    type: str


def number(value: float) -> str:
    """A number as charts and answers print it, without a decimal point when it is whole."""
    return f"{value:g}"


def labels_of(chart: Chart) -> dict[str, str]:
    """Facts that can be seen without reading, as words: what a projector head may learn.

    chart, highest, lowest (ordinals), trend, overall and last (rise or fall of all candles and of the last), and
    height1... (tenths of the axis, "0" to "10") as far as they apply.
    """
    facts = {"chart": chart.kind.split("_")[0]}
    if chart.candles:
        closes = [candle.close for candle in chart.candles]
        facts["highest"] = ORDINALS[closes.index(max(closes))]
        facts["overall"] = _direction(chart.candles[0].open, closes[-1])
        facts["last"] = _direction(chart.candles[-1].open, closes[-1])
        return facts
    if chart.trend is not None:
        facts["trend"] = chart.trend
    heights = [max(row) for row in zip(chart.values, *chart.more, strict=True)]
    if _has_order(chart):
        facts["highest"] = ORDINALS[heights.index(max(heights))]
        facts["lowest"] = ORDINALS[heights.index(min(heights))]
    if chart.kind in _MARKS:
        facts |= {f"height{i}": number(round(10 * h / chart.top)) for i, h in enumerate(heights, 1)}
    return facts


def questions_about(chart: Chart, rng: Generator) -> tuple[Question, ...]:
    """QUESTIONS_A_CHART questions of different types, at random."""
    makers = _makers(chart)
    found: dict[str, Question] = {}
    for index in rng.permutation(len(makers)):
        question = makers[index](chart, rng)
        found.setdefault(question.text if question.type == "yes_no" else question.type, question)
    return tuple(found.values())[:QUESTIONS_A_CHART]


def further_questions(chart: Chart, asked: Sequence[Question], rng: Generator) -> tuple[Question, ...]:
    """At most FURTHER_QUESTIONS questions that are not in `asked`.

    The first are two comparisons, each followed by the one with the opposite answer, so that the answer can only be
    learnt from the chart. The others are of any type.
    """
    makers = _makers(chart)
    found = {question.text: question for question in asked}
    for _ in range(FURTHER_QUESTIONS // 3 if _yes_no in makers else 0):
        first, second, higher = _pair(chart, rng)
        for comparison in (_compare(chart, first, second, higher), _compare(chart, second, first, higher)):
            found.setdefault(comparison.text, comparison)
    for index in rng.permutation(np.repeat(range(len(makers)), 3)):
        question = makers[index](chart, rng)
        found.setdefault(question.text, question)
    return tuple(found.values())[len(asked) :][:FURTHER_QUESTIONS]


def _makers(chart: Chart) -> list[Callable[[Chart, Generator], Question]]:
    """The functions that make questions about a chart. One that occurs twice is chosen twice as often."""
    makers: list[Callable[[Chart, Generator], Question]] = [_chart_type]
    if chart.candles:
        return [*makers, _direction_overall, _last_direction, _highest_close]
    if _has_order(chart):
        makers += [_extreme, _extreme]
        makers += [_place] if chart.kind in _MARKS else []
        makers += [_yes_no, _yes_no] if not chart.more else []
    if not chart.more:
        makers += [_value] if chart.prints_values else []
        makers += (
            [_read_off] if not chart.prints_values and chart.kind != "pie" and chart.trend is None else []
        )
    return makers + ([_trend, _trend, _trend] if chart.trend is not None else [])


def _has_order(chart: Chart) -> bool:
    """Whether the marks show which label is highest. A flat line shows it by printed numbers alone."""
    return not chart.candles and (chart.trend is None or (chart.trend != "flat" and _clear_ends(chart)))


def _clear_ends(chart: Chart) -> bool:
    ordered = sorted(chart.values)
    gap = 0.04 * chart.top
    return ordered[-1] - ordered[-2] >= gap and ordered[1] - ordered[0] >= gap


def _pick(rng: Generator, *texts: str) -> str:
    return str(rng.choice(texts))


def _chart_type(chart: Chart, rng: Generator) -> Question:
    text = _pick(rng, "What kind of chart is this?", "Which type of chart is shown?")
    return Question(text, CHART_TYPES[chart.kind], "chart_type")


def _value(chart: Chart, rng: Generator) -> Question:
    index = int(rng.integers(len(chart.labels)))
    text = _pick(rng, "What is the value of {}?", "What is the value for {}?").format(chart.labels[index])
    return Question(text, number(chart.values[index]), "value")


def _read_off(chart: Chart, rng: Generator) -> Question:
    index = int(rng.integers(len(chart.labels)))
    text = f"Read the value of {chart.labels[index]} off the axis."
    return Question(text, number(chart.values[index]), "read_off")


def _extreme(chart: Chart, rng: Generator) -> Question:
    heights = [max(row) for row in zip(chart.values, *chart.more, strict=True)]
    highest = bool(chart.more) or bool(rng.random() < 0.5)
    wanted = max(heights) if highest else min(heights)
    word = "highest" if highest else "lowest"
    text = _pick(rng, f"Which {chart.noun} has the {word} value?", f"Which {chart.noun} is the {word}?")
    return Question(text, chart.labels[heights.index(wanted)], "extreme")


def _place(chart: Chart, rng: Generator) -> Question:
    side, mark = _MARKS[chart.kind]
    highest = bool(rng.random() < 0.6)
    words = ("longest", "shortest") if chart.kind == "horizontal_bar" else ("highest", "lowest")
    wanted = max(chart.values) if highest else min(chart.values)
    text = f"Counted {side}, which {mark} is the {words[0] if highest else words[1]}?"
    return Question(text, ORDINALS[chart.values.index(wanted)], "place")


def _trend(chart: Chart, rng: Generator) -> Question:
    assert chart.trend is not None
    text = _pick(rng, "What is the trend: up, down or flat?", "Does the line go up, go down or stay flat?")
    return Question(text, chart.trend, "trend")


def _yes_no(chart: Chart, rng: Generator) -> Question:
    return _compare(chart, *_pair(chart, rng))


def _pair(chart: Chart, rng: Generator) -> tuple[int, int, bool]:
    """Indices of two labels with clearly different values, and whether to ask if the first is higher (else lower)."""
    first, second = (int(i) for i in rng.choice(len(chart.labels), 2, replace=False))
    higher = bool(rng.random() < 0.6)
    if (chart.values[first] == chart.values[second]) or abs(
        chart.values[first] - chart.values[second]
    ) < 0.04 * chart.top:
        ordered = sorted(range(len(chart.values)), key=lambda i: chart.values[i])
        first, second = (ordered[0], ordered[-1]) if rng.random() < 0.5 else (ordered[-1], ordered[0])
    return first, second, higher


def _compare(chart: Chart, first: int, second: int, higher: bool) -> Question:
    text = f"Is {chart.labels[first]} {'higher' if higher else 'lower'} than {chart.labels[second]}?"
    return Question(text, "yes" if (chart.values[first] > chart.values[second]) == higher else "no", "yes_no")


def _direction(before: float, after: float) -> str:
    return "rise" if after > before else "fall"


def _direction_overall(chart: Chart, rng: Generator) -> Question:
    text = _pick(
        rng, "Did the price rise or fall overall?", "Over the whole chart, did the price rise or fall?"
    )
    return Question(text, _direction(chart.candles[0].open, chart.candles[-1].close), "direction")


def _last_direction(chart: Chart, rng: Generator) -> Question:
    text = _pick(
        rng, "Did the price rise or fall in the last candle?", "Is the last candle a rise or a fall?"
    )
    return Question(text, _direction(chart.candles[-1].open, chart.candles[-1].close), "direction")


def _highest_close(chart: Chart, rng: Generator) -> Question:
    closes = [candle.close for candle in chart.candles]
    text = _pick(
        rng, f"Which {chart.noun} had the highest close?", f"In which {chart.noun} was the close highest?"
    )
    return Question(text, chart.labels[closes.index(max(closes))], "highest_close")
