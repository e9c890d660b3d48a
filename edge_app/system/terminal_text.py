"""Makes text safe for a terminal, and aligns tables."""

from __future__ import annotations

from collections.abc import Collection, Sequence

_NEWLINES = {"\r": "\n", "\v": "\n", "\f": "\n", "\x85": "\n", "\u2028": "\n", "\u2029": "\n"}
_REMOVED = (
    *range(0x00, 0x09),  # C0 controls except tab and newline; without ESC, an escape sequence is plain text
    *range(0x0E, 0x20),
    *range(0x7F, 0x85),  # DEL and the C1 controls, some of which begin escape sequences
    *range(0x86, 0xA0),
    *range(0x202A, 0x202F),  # bidirectional overrides, which can disguise text
    *range(0x2066, 0x206A),
    0x200E,
    0x200F,
    0x061C,
    *range(0xE0000, 0xE0080),  # invisible tag characters
)
_TABLE: dict[int, str | None] = {ord(key): value for key, value in _NEWLINES.items()}
_TABLE.update(dict.fromkeys(_REMOVED))


def printable(text: str) -> str:
    """The text without control and invisible format characters. Every kind of line end becomes a newline."""
    return text.replace("\r\n", "\n").translate(_TABLE)


def one_line(text: str) -> str:
    """The printable text on one line: each run of white space becomes one space."""
    return " ".join(printable(text).split())


def capitalised(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def text_table(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Rows of cells as lines with aligned columns. right: indices of columns that are aligned to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = (
            cell.rjust(w) if i in right else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
