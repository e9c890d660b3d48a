"""The lists of questions that come with the router, read from their files.

general_questions.txt is what its background and heads are made of; asked.txt is what routers are judged by.
"""

from __future__ import annotations

from pathlib import Path

GENERAL = Path(__file__).parents[1] / "bundled" / "general_questions.txt"
ASKED = Path(__file__).parents[1] / "bundled" / "asked.txt"

CHAT = "chat"
"""The section of questions that are about no image at all."""

SPECIAL = "special images"
"""Of GENERAL: about images that some adapter might be for. They tell what asks about an image, not what is ordinary."""

ANY_IMAGE, PHOTOS = "any image", "photos"
"""Sections of both: questions that fit any image, and questions about ordinary photos."""


def read_questions(file: Path) -> dict[str, list[str]]:
    """By section, in the file's order. A line in brackets begins a section; one that begins with # is a remark."""
    sections: dict[str, list[str]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            sections[line.strip("[]")] = own = []
        elif line and not line.startswith("#"):
            own.append(line)
    return sections
