"""An image that waits to be sent, and its reading. Knows files; no widgets."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import PIL.Image

from edge_app.system.terminal_text import one_line
from edge_app.tui.conversation.previews import thumbnail
from edge_app.tui.text import file_size
from models.core.errors import UserError
from models.core.images import load_image
from models.core.types import Image


@dataclass(frozen=True)
class Attachment:
    """size: bytes of the file. width, height: pixels. notes: what the user should know of how it was read."""

    path: Path
    name: str
    digest: str
    size: int
    width: int
    height: int
    notes: tuple[str, ...]
    picture: PIL.Image.Image

    @property
    def facts(self) -> str:
        return " · ".join([f"{self.width} × {self.height}", file_size(self.size), *map(one_line, self.notes)])


def read_attachment(path: Path) -> Attachment:
    """Takes up to a second for a large file. Raises UserError, one sentence, for what is not an image."""
    path = path.absolute()
    image = load_image(path)
    try:
        size = path.stat().st_size
        width, height = _pixels(path, image)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    return Attachment(
        path, one_line(image.name), image.digest, size, width, height, image.notes, thumbnail(image)
    )


def _pixels(path: Path, image: Image) -> tuple[int, int]:
    """Width and height of the file, upright; the decoded image may have been reduced."""
    height, width = image.pixels.shape[:2]
    with warnings.catch_warnings(), PIL.Image.open(path) as header:
        warnings.simplefilter("ignore")
        whole = header.size
    return whole if (whole[0] > whole[1]) == (width > height) else (whole[1], whole[0])
