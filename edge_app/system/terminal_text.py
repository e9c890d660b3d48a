"""Text that is safe and readable on a terminal."""

from __future__ import annotations

from collections.abc import Collection, Sequence

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


def printable(text: str) -> str:
    """The text without control characters and escape sequences; every kind of line end becomes a newline."""
    return text.replace("\r\n", "\n").translate(_TABLE)


def one_line(text: str) -> str:
    """The printable text on one line: every run of white space is a single space."""
    return " ".join(printable(text).split())


def text_table(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Rows of cells as aligned lines, the first row being the heading. right: columns that align to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = (
            cell.rjust(w) if i in right else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
