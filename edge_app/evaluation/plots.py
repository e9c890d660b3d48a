"""Figures of evaluations: the reliability diagram, and what every figure needs. Requires matplotlib (extra [train])."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.core.errors import UserError
from models.core.files import written_to

if TYPE_CHECKING:
    from edge_app.evaluation.confidence import Line

FORMATS = (".svg", ".png", ".pdf")
PANELS_IN_A_ROW = 4


def check_picture(path: Path) -> None:
    """Raises UserError when no figure can be written there. Commands call it before they compute anything."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"{path} is no name for a picture; end it in {', '.join(FORMATS)}.")
    try:
        import matplotlib  # noqa: F401  # only whether it is there
    except ImportError:
        raise UserError("A picture needs matplotlib; install the extra: pip install -e '.[train]'.") from None


def plotting() -> Any:
    """Returns matplotlib.pyplot, set to draw without a window and to write the same file for the same figure."""
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams["svg.hashsalt"] = "edge-app"
    matplotlib.rcParams["svg.fonttype"] = "none"  # text as text: a tenth of the size of outlines
    from matplotlib import pyplot

    return pyplot


def save(figure: Any, path: Path) -> None:
    """Writes the figure atomically and closes it. Raises UserError when the disk refuses."""
    with written_to(path, "choose another file with --picture"):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}{path.suffix}")
        figure.savefig(partial, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
        partial.replace(path)
    plotting().close(figure)


def draw_reliability(lines: Sequence[Line], path: Path) -> None:
    """A reliability diagram for each line: the share of right answers over the stated probability.

    A dot stands for a tenth of the probabilities. Its area grows with the number of answers; the bar through it is
    the 95% interval of the share.
    """
    check_picture(path)
    columns = min(len(lines), PANELS_IN_A_ROW)
    rows = math.ceil(len(lines) / columns)
    figure, axes = plotting().subplots(
        rows, columns, figsize=(2.6 * columns, 2.8 * rows), squeeze=False, layout="constrained"
    )
    for place, line in zip(axes.flat, lines, strict=False):
        _reliability_panel(place, line)
    for place in axes.flat[len(lines) :]:
        place.set_axis_off()
    save(figure, path)


def _reliability_panel(axes: Any, line: Line) -> None:
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for each in line.bins:
        low, high = _wilson_interval(each.right, each.count)
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


def _wilson_interval(share: float, count: int) -> tuple[float, float]:
    """The 95% score interval of a share among `count` answers (Wilson, JASA 1927)."""
    z = 1.96  # two-sided 95% quantile of the normal distribution
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return middle - half, middle + half
