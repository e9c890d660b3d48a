"""Draws the training charts with matplotlib, seaborn and mplfinance, in random styles.

Equal generators and versions of the libraries give equal pictures.
"""

from __future__ import annotations

import io
from typing import Any, Final

import matplotlib as mpl
import matplotlib.style
import mplfinance
import pandas
import seaborn
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.random import Generator

from adapters.training.charts.questions import number
from adapters.training.charts.scene import Chart

STYLES: Final = (
    *("default", "classic", "ggplot", "bmh", "fivethirtyeight", "Solarize_Light2", "grayscale"),
    *("dark_background", "seaborn-v0_8-whitegrid", "seaborn-v0_8-darkgrid", "seaborn-v0_8-ticks"),
)
PALETTES: Final = (
    "deep",
    "muted",
    "bright",
    "dark",
    "colorblind",
    "tab10",
    "Set1",
    "Set2",
    "husl",
    "Blues_d",
)
FONTS: Final = ("DejaVu Sans", "DejaVu Serif", "DejaVu Sans Mono", "STIXGeneral", "cmr10")
CANDLE_STYLES: Final = ("yahoo", "charles", "binance", "default", "classic")
"""Green or white rises, red or black falls; styles with other colours would need a legend."""
_DOTS: Final = 100  # an inch


def draw(chart: Chart, rng: Generator) -> bytes:
    """The picture as PNG, about 480 x 360 pixels."""
    style, font = str(rng.choice(STYLES)), str(rng.choice(FONTS))
    size = float(rng.uniform(4.4, 5.4)), float(rng.uniform(3.3, 4.0))
    text = float(rng.uniform(9.5, 12))
    with mpl.style.context(["default", style]), mpl.rc_context(_sizes(font, text)):
        palette = seaborn.color_palette(str(rng.choice(PALETTES)), 8)
        if chart.candles:
            figure = _candles(chart, size, rng)
        else:
            figure = Figure(figsize=size)
            axes = figure.add_subplot()
            _DRAWERS[chart.kind](axes, chart, palette, rng)
        figure.axes[0].set_title(chart.title)
        return _png(figure)


def _sizes(font: str, text: float) -> dict[str, Any]:
    return {
        "font.family": font,
        "font.size": text,
        "axes.titlesize": text + 2,
        "axes.labelsize": text,
        "xtick.labelsize": text,
        "ytick.labelsize": text,
        "legend.fontsize": text - 1,
        "axes.formatter.use_mathtext": True,
        "figure.dpi": _DOTS,
        "savefig.dpi": _DOTS,
    }


def _png(figure: Figure) -> bytes:
    figure.set_layout_engine("tight")
    canvas = FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    canvas.print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()


def _colours(palette: list[Any], count: int, rng: Generator) -> list[Any]:
    """One colour for all bars or one for each."""
    if rng.random() < 0.5:
        return [palette[int(rng.integers(len(palette)))]] * count
    return [palette[i % len(palette)] for i in range(count)]


def _limits(chart: Chart, rng: Generator) -> tuple[float, float]:
    return 0, chart.top * float(rng.uniform(1.08, 1.25))


def _bars(axes: Any, chart: Chart, palette: list[Any], rng: Generator) -> None:
    width = float(rng.uniform(0.45, 0.85))
    colours = _colours(palette, len(chart.labels), rng)
    edge = "black" if rng.random() < 0.3 else None
    if chart.kind == "bar":
        bars = axes.bar(chart.labels, chart.values, width, color=colours, edgecolor=edge)
        axes.set_ylim(_limits(chart, rng))
    else:
        bars = axes.barh(chart.labels, chart.values, width, color=colours, edgecolor=edge)
        axes.invert_yaxis()
        axes.set_xlim(_limits(chart, rng))
    if chart.prints_values:
        axes.bar_label(bars, [number(value) for value in chart.values], padding=2)
    _grid(axes, "y" if chart.kind == "bar" else "x", rng)


def _groups(axes: Any, chart: Chart, palette: list[Any], rng: Generator) -> None:
    series = (chart.values, *chart.more)
    first = int(rng.integers(4))
    frame = pandas.DataFrame(
        [
            {"label": label, "series": name, "value": values[i]}
            for i, label in enumerate(chart.labels)
            for name, values in zip(chart.series, series, strict=True)
        ]
    )
    seaborn.barplot(
        frame, x="label", y="value", hue="series", ax=axes, palette=palette[first : first + len(series)]
    )
    axes.set_xlabel("")
    axes.set_ylabel("")
    axes.set_ylim(0, chart.top * 1.3)
    if chart.prints_values:
        for bars in axes.containers:
            axes.bar_label(bars, fmt="%g", padding=1)
    axes.legend(title=None, loc="upper center", ncols=len(series))
    _grid(axes, "y", rng)


def _lines(axes: Any, chart: Chart, palette: list[Any], rng: Generator) -> None:
    marker = str(rng.choice(["o", "s", "^", "D", ""]))
    axes.plot(
        chart.labels,
        chart.values,
        color=palette[int(rng.integers(len(palette)))],
        marker=marker,
        linestyle=str(rng.choice(["-", "-", "--"])),
        linewidth=float(rng.uniform(1.5, 3)),
    )
    axes.set_ylim(_limits(chart, rng))
    axes.margins(x=0.1)
    if rng.random() < 0.25:
        axes.fill_between(range(len(chart.labels)), chart.values, alpha=0.25)
    if chart.prints_values:
        for x, value in enumerate(chart.values):
            axes.annotate(number(value), (x, value), textcoords="offset points", xytext=(0, 6), ha="center")
    _grid(axes, "both", rng)


def _pie(axes: Any, chart: Chart, palette: list[Any], rng: Generator) -> None:
    colours = [palette[i % len(palette)] for i in range(len(chart.labels))]
    labels, inside = list(chart.labels), None
    if chart.prints_values and rng.random() < 0.85:
        labels = [f"{label} {number(share)}%" for label, share in zip(labels, chart.values, strict=True)]
    elif chart.prints_values:
        inside = "%d%%"
    in_legend = inside is None and bool(rng.random() < 0.3)
    hole = {"width": 0.45} if rng.random() < 0.25 else {}
    wedges, *_ = axes.pie(
        chart.values,
        labels=None if in_legend else labels,
        colors=colours,
        autopct=inside,
        pctdistance=0.75,
        startangle=float(rng.uniform(0, 360)),
        counterclock=bool(rng.random() < 0.5),
        wedgeprops={"edgecolor": "white", "linewidth": 1, **hole},
    )
    if in_legend:
        axes.legend(wedges, labels, loc="center left", bbox_to_anchor=(1, 0.5))


def _candles(chart: Chart, size: tuple[float, float], rng: Generator) -> Figure:
    frame = pandas.DataFrame(
        [(c.open, c.high, c.low, c.close) for c in chart.candles],
        columns=["Open", "High", "Low", "Close"],
        index=pandas.date_range("2020-01-06", periods=len(chart.candles), freq="D"),
    )
    figure = Figure(figsize=size)
    axes = figure.add_subplot()
    style = mplfinance.make_mpf_style(
        base_mpf_style=str(rng.choice(CANDLE_STYLES)), rc={"font.family": mpl.rcParams["font.family"]}
    )
    mplfinance.plot(frame, type="candle", ax=axes, style=style, ylabel="")
    axes.set_xticks(range(len(chart.labels)), chart.labels, rotation=0)
    return figure


def _grid(axes: Any, along: str, rng: Generator) -> None:
    if rng.random() < 0.4:
        axes.grid(visible=True, axis=along, alpha=0.4)
        axes.set_axisbelow(True)


_DRAWERS: Final = {
    "bar": _bars,
    "horizontal_bar": _bars,
    "grouped_bar": _groups,
    "line": _lines,
    "pie": _pie,
}
