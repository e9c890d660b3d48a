"""Reliability: of the answers that got a probability, how many were right. Needs matplotlib.

Knows only the lines of a study.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_app.evaluation.confidence import Line
from edge_app.evaluation.plots import check_picture, plotting, save

COLUMNS = 4


def draw(lines: Sequence[Line], path: Path) -> None:
    """A panel for each line: a dot for each tenth of probability, the larger the more answers."""
    check_picture(path)
    columns = min(len(lines), COLUMNS)
    rows = math.ceil(len(lines) / columns)
    figure, axes = plotting().subplots(
        rows, columns, figsize=(2.6 * columns, 2.8 * rows), squeeze=False, layout="constrained"
    )
    for place, line in zip(axes.flat, lines, strict=False):
        _panel(place, line)
    for place in axes.flat[len(lines) :]:
        place.set_axis_off()
    save(figure, path)


def _panel(axes: Any, line: Line) -> None:
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for each in line.bins:
        low, high = _interval(each.right, each.count)
        axes.plot([each.said, each.said], [low, high], color="#4c72b0", linewidth=1)
    axes.scatter(
        [each.said for each in line.bins],
        [each.right for each in line.bins],
        s=[12 + 160 * each.count / line.rows for each in line.bins],
        color="#4c72b0",
        zorder=3,
    )
    area = line.aurocs["confidence"]
    told = "all of one kind" if area is None else f"AUROC {area:.2f}"
    axes.set_title(
        f"{line.name.replace('_', ' ')}: {line.rows} answers\n{told}, ECE {100 * line.ece:.1f}%", size=8
    )
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    axes.set_xlabel("probability that was said", size=7)
    axes.set_ylabel("share that was right", size=7)
    axes.tick_params(labelsize=7)


def _interval(share: float, count: int) -> tuple[float, float]:
    """Wilson's 95% interval of a share."""
    z = 1.96
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return middle - half, middle + half
