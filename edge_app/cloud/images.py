"""Prepares images for sending: downscales them and encodes new JPEG files from the pixels.

The new file has no EXIF, no location, no embedded thumbnail, no colour profile and no comment.
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
"""JPEG quality. Lower values begin to make small print illegible."""


@dataclass(frozen=True)
class OutgoingImage:
    """An image as it is sent.

    digest: sha256 (hex) of the user's file, which identifies the image everywhere. jpeg: the bytes that are sent;
    sha256 is theirs. width, height: pixels of the JPEG. thumbnail: a JPEG of at most THUMBNAIL_SIDE pixels a side, to
    be shown; it is not sent.
    """

    name: str
    digest: str
    jpeg: bytes
    sha256: str
    width: int
    height: int
    thumbnail: bytes


def outgoing(image: Image, longest_side: int = DEFAULT_SIDE) -> OutgoingImage:
    """Prepares an image for sending.

    longest_side: in pixels; a smaller image is not enlarged.
    """
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
