"""Pictures of the evaluations: heat maps of `eval continual`, accuracy against cloud share of `eval scenarios`.

Needs matplotlib (the extra [train]).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.quality.continual.measures import WAYS, AccuracyMatrix
from benchmarks.quality.scenarios.study import Study
from edge_app.evaluation.plots import check_picture, plotting, save

# Colour, line style and width of each curve of a Study.
STYLES = {
    "confidence": ("#4c72b0", "-", 2.0),
    "mean log-probability": ("#dd8452", "-", 1.0),
    "router margin": ("#8172b3", "-", 1.0),
    "length": ("#937860", "-", 1.0),
    "random": ("0.6", "--", 1.0),
    "perfect router": ("#55a868", ":", 1.5),
}


def draw_matrices(matrices: Sequence[AccuracyMatrix], path: Path) -> None:
    """Draw accuracy by stage and domain, a row of maps for each order, a column for each way.

    Raises UserError when the file's ending is not supported, matplotlib is missing or the disk refuses.
    """
    check_picture(path)
    pyplot = plotting()
    orders = list(dict.fromkeys(matrix.order for matrix in matrices))
    size = len(orders[0])
    figure, axes = pyplot.subplots(
        len(orders),
        len(WAYS),
        figsize=(1.2 + len(WAYS) * (1.3 + 0.62 * size), len(orders) * (1.5 + 0.5 * size)),
        squeeze=False,
        layout="constrained",
    )
    for matrix in matrices:
        _draw_map(axes[orders.index(matrix.order)][list(WAYS).index(matrix.way)], matrix)
    save(figure, path)


def draw_curves(study: Study, path: Path) -> None:
    """Draw a line for each order in which questions go to the cloud, and a dot for each mode.

    Raises UserError as draw_matrices does.
    """
    check_picture(path)
    figure, axes = plotting().subplots(figsize=(6.2, 4.2), layout="constrained")
    for name, own in study.curves.items():
        colour, line, width = STYLES[name]
        steps = len(own.accuracy) - 1
        label = name if own.apgr is None else f"{name} (APGR {own.apgr:.2f})"
        axes.plot(
            [100 * i / steps for i in range(steps + 1)],
            [100 * share for share in own.accuracy],
            color=colour,
            linestyle=line,
            linewidth=width,
            label=label,
        )
    for each in study.modes:
        share, right = 100 * (1 - each.outcome.ca), 100 * each.outcome.apsp
        axes.plot([share], [right], "o", color="black", markersize=4)
        axes.annotate(each.mode, (share, right), textcoords="offset points", xytext=(6, -10), size=8)
    axes.set_xlabel("questions that the cloud answers, %")
    axes.set_ylabel("right answers, %")
    axes.legend(fontsize=8, loc="lower right")
    axes.grid(alpha=0.3)
    save(figure, path)


def _draw_map(axes: Any, matrix: AccuracyMatrix) -> None:
    size = len(matrix.order)
    cells = [[*stage, *[float("nan")] * (size - len(stage))] for stage in matrix.accuracy]
    axes.imshow(cells, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    for stage, accuracies in enumerate(matrix.accuracy):
        for domain, accuracy in enumerate(accuracies):
            colour = "black" if accuracy > 0.6 else "white"
            axes.text(domain, stage, f"{100 * accuracy:.0f}", ha="center", va="center", color=colour, size=9)
    names = [name.replace("_", " ") for name in matrix.order]
    axes.set_xticks(range(size), names, rotation=25, ha="right", size=8)
    axes.set_yticks(range(size), [f"after {name}" for name in names], size=8)
    axes.set_title(
        f"{WAYS[matrix.way]}\nLast {100 * matrix.last:.1f}, MAA {100 * matrix.maa:.1f}, BWT {100 * matrix.bwt:+.1f}",
        size=9,
    )
