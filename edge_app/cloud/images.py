"""Images on their way out: downscaled, re-encoded from bare pixels, so that nothing but the picture leaves.

No EXIF, no place, no thumbnail of the camera's, no colour profile, no comment: the file is made new.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

import PIL.Image

from models.core.types import Image

DEFAULT_SIDE = 1024
THUMBNAIL_SIDE = 256
QUALITY = 88
"""JPEG quality: artefacts of lower ones begin to hurt small print."""


@dataclass(frozen=True)
class OutgoingImage:
    """digest: of the user's file (its identity everywhere). jpeg: the bytes that leave; sha256 (hex) is theirs.
    thumbnail: a JPEG of at most THUMBNAIL_SIDE a side, to show; it does not leave."""

    name: str
    digest: str
    jpeg: bytes
    sha256: str
    width: int
    height: int
    thumbnail: bytes


def outgoing(image: Image, longest_side: int = DEFAULT_SIDE) -> OutgoingImage:
    """The image as it would be sent: its longest side at most longest_side pixels, never enlarged."""
    full = PIL.Image.fromarray(image.pixels)
    sent = _within(full, longest_side)
    jpeg = _jpeg(sent)
    return OutgoingImage(
        name=image.name,
        digest=image.digest,
        jpeg=jpeg,
        sha256=hashlib.sha256(jpeg).hexdigest(),
        width=sent.width,
        height=sent.height,
        thumbnail=_jpeg(_within(sent, THUMBNAIL_SIDE)),
    )


def _within(image: PIL.Image.Image, side: int) -> PIL.Image.Image:
    longest = max(image.size)
    if longest <= side:
        return image
    width, height = (max(1, round(length * side / longest)) for length in image.size)
    return image.resize((width, height), PIL.Image.Resampling.LANCZOS, reducing_gap=3.0)


def _jpeg(image: PIL.Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()
