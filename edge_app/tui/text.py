"""What is safe and readable to put on a terminal: pure functions from values to plain text.

Everything that a model, a file name or an error message says goes through `printable` before it is shown.
"""

from __future__ import annotations

from edge_app.events import Answer, Progress

_NEWLINES = {"\r": "\n", "\v": "\n", "\f": "\n", "\x85": "\n", "\u2028": "\n", "\u2029": "\n"}
_REMOVED = (
    *range(0x00, 0x09),  # C0 controls but tab and newline; escape sequences lose their first byte here
    *range(0x0E, 0x20),
    *range(0x7F, 0x85),  # delete and the C1 controls, which some terminals take for escape sequences
    *range(0x86, 0xA0),
    *range(0x202A, 0x202F),  # bidirectional overrides: they make text read as something else
    *range(0x2066, 0x206A),
    0x200E,
    0x200F,
    0x061C,
    *range(0xE0000, 0xE0080),  # invisible tag characters
)
_TABLE: dict[int, str | None] = {ord(key): value for key, value in _NEWLINES.items()}
_TABLE.update(dict.fromkeys(_REMOVED))

_STAGES = {
    "pull": "Downloading the model",
    "pack": "Packing the weights",
    "compile": "Compiling the model",
    "load": "Loading the model",
    "encode": "Looking at the image",
    "prefill": "Reading the question",
}


def printable(text: str) -> str:
    """The text without anything that a terminal would act upon; line ends become newlines."""
    return text.replace("\r\n", "\n").translate(_TABLE)


def one_line(text: str) -> str:
    """Printable, with every run of white space a single space."""
    return " ".join(printable(text).split())


def shorten(text: str, width: int) -> str:
    """At most `width` characters; the middle goes, since names differ at their ends."""
    if len(text) <= width:
        return text
    kept = max(0, width - 1)
    return f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"


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


def answer_line(answer: Answer) -> str:
    """How an answer came about, in one line."""
    parts = []
    if answer.stop_reason == "cancelled":
        parts.append("stopped")
    elif answer.stop_reason == "length":
        parts.append("cut off at the longest answer")
    parts += [
        one_line(answer.model),
        f"adapter {one_line(answer.adapter)}" if answer.adapter else "no adapter",
    ]
    parts.append(answer.place)
    count = answer.tokens.completion
    parts.append(f"{count} token" if count == 1 else f"{count} tokens")
    if answer.tokens_per_second is not None:
        parts.append(f"{answer.tokens_per_second:.0f} tokens/s")
    if answer.timing_ms.first_token is not None:
        parts.append(f"first token {seconds(answer.timing_ms.first_token / 1000)}")
    return " · ".join(parts)
