"""Heat maps of a run over several domains: accuracy by stage and domain, one map for each order and way.

Needs matplotlib (the extra [train]). Knows only the measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.quality.continual_measures import WAYS, Course
from edge_app.evaluation.plots import check_picture, plotting, save


def draw(courses: Sequence[Course], path: Path) -> None:
    """Writes the picture: a row of maps for each order, a column for each way. UserError when it cannot."""
    check_picture(path)
    pyplot = plotting()
    orders = list(dict.fromkeys(course.order for course in courses))
    size = len(orders[0])
    figure, axes = pyplot.subplots(
        len(orders),
        len(WAYS),
        figsize=(1.2 + len(WAYS) * (1.3 + 0.62 * size), len(orders) * (1.5 + 0.5 * size)),
        squeeze=False,
        layout="constrained",
    )
    for course in courses:
        _map(axes[orders.index(course.order)][list(WAYS).index(course.way)], course)
    save(figure, path)


def _map(axes: Any, course: Course) -> None:
    size = len(course.order)
    cells = [[*stage, *[float("nan")] * (size - len(stage))] for stage in course.accuracy]
    axes.imshow(cells, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    for stage, accuracies in enumerate(course.accuracy):
        for domain, accuracy in enumerate(accuracies):
            colour = "black" if accuracy > 0.6 else "white"
            axes.text(domain, stage, f"{100 * accuracy:.0f}", ha="center", va="center", color=colour, size=9)
    names = [name.replace("_", " ") for name in course.order]
    axes.set_xticks(range(size), names, rotation=25, ha="right", size=8)
    axes.set_yticks(range(size), [f"after {name}" for name in names], size=8)
    axes.set_title(
        f"{WAYS[course.way]}\nLast {100 * course.last:.1f}, MAA {100 * course.maa:.1f}, BWT {100 * course.bwt:+.1f}",
        size=9,
    )
