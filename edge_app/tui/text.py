"""What is readable on a terminal: pure functions from values to plain text.

Everything that a model, a file name or an error message says goes through `printable` before it is shown.
"""

from __future__ import annotations

from edge_app.cloud.endpoint import Endpoint
from edge_app.events import Answer, Progress
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
}

_ENDS = {
    "cancelled": "stopped",
    "length": "cut off at the longest answer",
    "content_filter": "ended by the cloud's filter",
}
EVEN = 0.5
"""Below this an answer is likelier wrong than right."""


def file_size(count: int) -> str:
    """Bytes in decimal units, as file managers show them."""
    if count < 1000:
        return f"{count} bytes"
    if count < 1_000_000:
        return f"{count / 1000:.0f} kB"
    return f"{count / 1_000_000:.1f} MB"


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 1 else f"{value:.1f} s" if value < 60 else f"{value / 60:.1f} min"


def progress_text(progress: Progress) -> str:
    """What is going on, with the share of it that is done where that is known."""
    what = one_line(progress.message).rstrip(".…") or _STAGES[progress.stage]
    done, total = progress.done, progress.total
    if progress.stage == "pull":
        if not total:
            return f"{what}: {done / 1e6:.1f} MB" if done else what
        return f"{what}: {100 * done // total}% of {total / 1e6:.1f} MB"
    return f"{what}: {100 * done // total}%" if total and total > 1 else what


def network_text(endpoint: Endpoint | None, *, offline: bool, failing: bool) -> str:
    """What of the network an answer may use. A server on this machine is there without a network too."""
    if offline and (endpoint is None or not endpoint.is_local):
        return "offline"
    if endpoint is None:
        return "no cloud"
    parts = ["offline"] if offline else []
    parts.append(f"{endpoint.noun} {one_line(endpoint.host)}{', failing' if failing else ''}")
    return ", ".join(parts)


def battery_text(battery: Battery | None) -> str:
    if battery is None:
        return ""
    return f"plugged in, {battery.percent}%" if battery.plugged else f"battery {battery.percent}%"


def is_unsure(answer: Answer) -> bool:
    """A local answer that is likelier wrong than right, or that its mode would rather have from the cloud."""
    if answer.place != "local":
        return False
    return answer.offer is not None or (answer.confidence is not None and answer.confidence < EVEN)


def answer_line(answer: Answer) -> str:
    """How an answer came about, in one line; where and why is its reason."""
    parts = [_ENDS.get(answer.stop_reason, ""), one_line(answer.model)]
    if answer.place == "local":
        parts.append(f"adapter {one_line(answer.adapter)}" if answer.adapter else "no adapter")
        if answer.confidence is not None:
            parts.append(f"confidence {answer.confidence:.2f}{', low' if is_unsure(answer) else ''}")
    count = answer.tokens.completion
    parts.append(f"{count} token" if count == 1 else f"{count} tokens")
    if answer.tokens_per_second is not None:
        parts.append(f"{answer.tokens_per_second:.0f} tokens/s")
    if answer.timings.first_token is not None:
        parts.append(f"first token {seconds(answer.timings.first_token / 1000)}")
    return " · ".join(part for part in parts if part)
