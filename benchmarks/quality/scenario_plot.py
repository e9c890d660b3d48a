"""Accuracy against the share of questions that the cloud answers. Needs matplotlib. Knows only a study."""

from __future__ import annotations

from pathlib import Path

from benchmarks.quality.scenario_study import Study
from edge_app.evaluation.plots import check_picture, plotting, save

STYLES = {
    "confidence": ("#4c72b0", "-", 2.0),
    "mean log-probability": ("#dd8452", "-", 1.0),
    "router margin": ("#8172b3", "-", 1.0),
    "length": ("#937860", "-", 1.0),
    "random": ("0.6", "--", 1.0),
    "perfect router": ("#55a868", ":", 1.5),
}


def draw(found: Study, path: Path) -> None:
    """A line for each order in which questions go to the cloud; a dot for each mode."""
    check_picture(path)
    figure, axes = plotting().subplots(figsize=(6.2, 4.2), layout="constrained")
    for name, own in found.curves.items():
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
    for each in found.modes:
        share, right = 100 * (1 - each.outcome.ca), 100 * each.outcome.apsp
        axes.plot([share], [right], "o", color="black", markersize=4)
        axes.annotate(each.mode, (share, right), textcoords="offset points", xytext=(6, -10), size=8)
    axes.set_xlabel("questions that the cloud answers, %")
    axes.set_ylabel("right answers, %")
    axes.legend(fontsize=8, loc="lower right")
    axes.grid(alpha=0.3)
    save(figure, path)
