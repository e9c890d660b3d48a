"""Drawing with matplotlib (the extra [train]): checked before anything is computed, written whole.

Knows nothing of what is drawn.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models.core.errors import UserError
from models.core.files import written_to

FORMATS = (".svg", ".png", ".pdf")


def check_picture(path: Path) -> None:
    """Raises UserError, before anything is computed, when no picture can be drawn there."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"{path} is no name for a picture; end it in {', '.join(FORMATS)}.")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UserError(
            "A picture needs matplotlib; install the extra: pip install 'edge-app[train]'."
        ) from None


def plotting() -> Any:
    """matplotlib.pyplot, without a window; the same figure gives the same file."""
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams["svg.hashsalt"] = "edge-app"
    matplotlib.rcParams["svg.fonttype"] = "none"  # words stay words, in a tenth of the size
    from matplotlib import pyplot

    return pyplot


def save(figure: Any, path: Path) -> None:
    """Writes the figure and closes it. UserError when the disk refuses."""
    with written_to(path, "choose another file with --picture"):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}{path.suffix}")
        figure.savefig(partial, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
        partial.replace(path)
    plotting().close(figure)
