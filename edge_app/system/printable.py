"""What is safe to put on a terminal: text without anything that a terminal would act upon."""

from __future__ import annotations

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
    """The text without anything that a terminal would act upon; line ends become newlines."""
    return text.replace("\r\n", "\n").translate(_TABLE)
