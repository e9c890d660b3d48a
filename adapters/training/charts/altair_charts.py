"""Draws charts with Vega-Lite (altair, rendered by vl-convert): the library that training never sees.

Its colours, fonts and proportions differ from those of the training charts.
"""

from __future__ import annotations

from typing import Any, Final

import altair
import pandas
import vl_convert
from numpy.random import Generator

from adapters.training.charts.questions import number
from adapters.training.charts.scene import Chart

SCHEMES: Final = ("accent", "tableau20", "set3", "category20b", "paired", "warmgreys")
FONT: Final = "Liberation Sans"
"""The font in the wheel of vl-convert. Text in a font that is missing is left out without an error."""

WEIGHTS: Final = ("normal", "normal", "bold")
THEMES: Final = ("none", "latimes", "vox", "quartz", "powerbi", "excel")
RISE_FALL: Final = (("#06982d", "#ae1325"), ("#2ca25f", "#de2d26"), ("#1b9e77", "#d7301f"))


def draw(chart: Chart, rng: Generator) -> bytes:
    """The picture as PNG, about 480 x 360 pixels."""
    weight = str(rng.choice(WEIGHTS))
    text = int(rng.integers(12, 15))
    scheme = str(rng.choice(SCHEMES))
    body = _DRAWERS[chart.kind](chart, scheme, rng)
    specification = (
        body.properties(
            title=chart.title, width=float(rng.uniform(340, 400)), height=float(rng.uniform(250, 290))
        )
        .configure(font=FONT, background="white")
        .configure_axis(labelFont=FONT, labelFontSize=text, labelFontWeight=weight, labelAngle=0)
        .configure_title(font=FONT, fontSize=text + 3)
        .configure_legend(labelFont=FONT, labelFontSize=text)
        .to_dict()
    )
    theme = str(rng.choice(THEMES))
    known: Any = None if theme == "none" else theme
    drawn: bytes = vl_convert.vegalite_to_png(specification, theme=known)
    return drawn


def _frame(chart: Chart) -> pandas.DataFrame:
    series = (chart.values, *chart.more)
    return pandas.DataFrame(
        [
            {"label": label, "value": values[i], "series": name, "shown": number(values[i])}
            for i, label in enumerate(chart.labels)
            for name, values in zip(chart.series or ("",), series, strict=True)
        ]
    )


def _scale(chart: Chart) -> altair.Scale:
    return altair.Scale(domain=[0, chart.top * 1.15], nice=False)


def _colour(scheme: str, field: str, *, legend: bool, rng: Generator) -> Any:
    if not legend and rng.random() < 0.5:
        return altair.value(str(rng.choice(["#4c78a8", "#8c6d31", "#7b4173", "#3182bd", "#636363"])))
    return altair.Color(
        f"{field}:N",
        scale=altair.Scale(scheme=scheme),
        legend=altair.Legend(title=None) if legend else None,
        sort=None,
    )


def _bars(chart: Chart, scheme: str, rng: Generator) -> Any:
    upright = chart.kind != "horizontal_bar"
    label = (
        altair.X("label:N", sort=None, title=None) if upright else altair.Y("label:N", sort=None, title=None)
    )
    value = (altair.Y if upright else altair.X)("value:Q", scale=_scale(chart), title=None)
    grouped = bool(chart.more)
    base = altair.Chart(_frame(chart)).encode(label, value)
    if grouped:
        base = base.encode(altair.XOffset("series:N", sort=None))
    bars = base.mark_bar(cornerRadius=int(rng.integers(0, 4))).encode(
        color=_colour(scheme, "series" if grouped else "label", legend=grouped, rng=rng)
    )
    if not chart.prints_values:
        return bars
    place = {"dy": -7} if upright else {"dx": 5, "align": "left"}
    return bars + base.mark_text(fontSize=12, font=FONT, fill="black", **place).encode(text="shown:N")


def _lines(chart: Chart, _: str, rng: Generator) -> Any:
    base = altair.Chart(_frame(chart)).encode(
        altair.X("label:N", sort=None, title=None), altair.Y("value:Q", scale=_scale(chart), title=None)
    )
    drawn: Any = base.mark_line(
        point=bool(rng.random() < 0.6),
        interpolate="monotone" if rng.random() < 0.3 else "linear",
        strokeWidth=float(rng.uniform(1.5, 3)),
    ).encode(color=altair.value(str(rng.choice(["#54a24b", "#b279a2", "#9d755d", "#e45756"]))))
    return (
        drawn + base.mark_text(dy=-11, fontSize=12, font=FONT, fill="black").encode(text="shown:N")
        if chart.prints_values
        else drawn
    )


def _pie(chart: Chart, scheme: str, rng: Generator) -> Any:
    frame = _frame(chart)
    frame["entry"] = [f"{a} {b}%" for a, b in zip(frame["label"], frame["shown"], strict=True)]
    field = "entry" if chart.prints_values else "label"
    in_legend = bool(rng.random() < 0.4)
    base = altair.Chart(frame).encode(
        altair.Theta("value:Q", stack=True),
        altair.Order("value:Q"),
        color=altair.Color(
            f"{field}:N",
            scale=altair.Scale(scheme=scheme),
            legend=altair.Legend(title=None) if in_legend else None,
            sort=None,
        ),
    )
    slices = base.mark_arc(outerRadius=95, innerRadius=int(rng.choice([0, 0, 45])))
    if in_legend:
        return slices
    return slices + base.mark_text(radius=125, fontSize=13, font=FONT, fill="black").encode(text=f"{field}:N")


def _candles(chart: Chart, _: str, rng: Generator) -> Any:
    up, down = RISE_FALL[int(rng.integers(len(RISE_FALL)))]
    frame = pandas.DataFrame(
        [
            {"label": label, "open": c.open, "high": c.high, "low": c.low, "close": c.close}
            for label, c in zip(chart.labels, chart.candles, strict=True)
        ]
    )
    low, high = min(frame["low"]), max(frame["high"])
    margin = 0.06 * (high - low)
    base = altair.Chart(frame).encode(
        altair.X("label:N", sort=None, title=None),
        color=altair.condition("datum.open <= datum.close", altair.value(up), altair.value(down)),
    )
    wicks = base.mark_rule().encode(
        altair.Y("low:Q", scale=altair.Scale(domain=[low - margin, high + margin], nice=False), title=None),
        altair.Y2("high:Q"),
    )
    return wicks + base.mark_bar(size=float(rng.uniform(10, 22))).encode(
        altair.Y("open:Q"), altair.Y2("close:Q")
    )


_DRAWERS: Final = {
    "bar": _bars,
    "horizontal_bar": _bars,
    "grouped_bar": _bars,
    "line": _lines,
    "pie": _pie,
    "candlestick": _candles,
}
