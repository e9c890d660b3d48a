"""The chat's wording of progress, sizes and places: pure functions from values to plain text.

Text of a model, a file name or an error message passes through `one_line` or `printable` before it is shown.
"""

from __future__ import annotations

from edge_app.cloud.endpoint import Endpoint
from edge_app.events import Progress
from edge_app.system.battery import Battery
from edge_app.system.terminal_text import one_line

_STAGES = {
    "pull": "Downloading the model",
    "pack": "Packing the weights",
    "compile": "Compiling the model",
    "load": "Loading the model",
    "encode": "Looking at the image",
    "read": "Reading the text in the image",
    "prefill": "Reading the question",
    "wait": "Waiting for the endpoint",
}


def file_size(count: int) -> str:
    """A size in bytes, kB, MB or GB (decimal units)."""
    if count < 1000:
        return f"{count} bytes"
    if count < 1_000_000:
        return f"{count / 1000:.0f} kB"
    if count < 1_000_000_000:
        return f"{count / 1_000_000:.1f} MB"
    return f"{count / 1_000_000_000:.1f} GB"


def progress_text(progress: Progress) -> str:
    """The step in progress, with the share that is done where it is known. An image is encoded in tiles."""
    what = one_line(progress.message).rstrip(".…") or _STAGES[progress.stage]
    done, total = progress.done, progress.total
    if progress.stage == "pull":
        if not total:
            return f"{what}: {done / 1e6:.1f} MB" if done else what
        return f"{what}: {100 * done // total}% of {total / 1e6:.1f} MB"
    if progress.stage == "encode" and total and total > 1:
        return f"{what}, tile {min(done + 1, total)} of {total}"
    if progress.stage == "wait":
        return f"{what}, for at most {total} s" if total else what
    return f"{what}: {100 * done // total}%" if total and total > 1 else what


def download_text(model: str, progress: Progress) -> str:
    """The progress of a model's download, short enough for the line at the top."""
    if progress.stage == "pull" and progress.total:
        return f"downloading {one_line(model)}: {100 * progress.done // progress.total}%"
    return progress_text(progress)


def context_text(used: int, context: int | None) -> str:
    """How much of the model's context a chat takes. used, context: in tokens."""
    return f"{used:,} of {context:,} tokens" if context and used else ""


def network_text(endpoint: Endpoint | None, *, offline: bool, failing: bool) -> str:
    """The network that an answer may use. A server on this machine is available offline too."""
    if offline and (endpoint is None or not endpoint.is_local):
        return "offline"
    if endpoint is None:
        return "no cloud"
    parts = ["offline"] if offline else []
    parts.append(f"{endpoint.noun} {one_line(endpoint.host)}{', failing' if failing else ''}")
    return ", ".join(parts)


def battery_text(battery: Battery | None) -> str:
    """The state of the battery; empty without one."""
    if battery is None:
        return ""
    return f"plugged in, {battery.percent}%" if battery.plugged else f"battery {battery.percent}%"
