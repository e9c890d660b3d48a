"""A run of text with its place in an image."""

from __future__ import annotations

from dataclasses import dataclass

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, as shares of the width and height."""


@dataclass(frozen=True)
class TextLine:
    """A run of text. probability: 0..1."""

    text: str
    probability: float
    box: Box

    @property
    def centre(self) -> tuple[float, float]:
        """x, y."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2
