"""Images of a conversation as the language model reads them, kept in memory within bounds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from models.language.prefix_cache import AdapterKey
from models.language.prompt import EncodedImage, RowIds

MAX_ENCODED_IMAGES = 64
"""Encoded images that are kept in addition to those of the last conversation.

An image that is encoded again gets new row ids, so the KV cache of its prompts cannot be used."""

MAX_ENCODED_BYTES = 64 << 20
"""The bytes of their rows. One image in 13 tiles takes 9 MB in a model of 2 billion weights."""

ImageKey = tuple[str, AdapterKey]
"""What the rows of an image depend on, as the vision encoder says, and the adapter that changes them."""


class EncodedImages:
    """The encoded images of one engine.

    in_conversation: distinct images of the last conversation, of which none is dropped.
    """

    def __init__(self) -> None:
        self.in_conversation = 0
        self._row_ids = RowIds()
        self._images: OrderedDict[ImageKey, EncodedImage] = OrderedDict()

    def __contains__(self, key: ImageKey) -> bool:
        return key in self._images

    def get(self, key: ImageKey, encode: Callable[[], EncodedImage]) -> EncodedImage:
        """The image of this key, encoded now if it is not kept."""
        if key not in self._images:
            self._images[key] = encode()
        self._images.move_to_end(key)
        self._forget_oldest()
        return self._images[key]

    def row_ids(self, embeddings: NDArray[np.float32]) -> range:
        """New row ids for an image's rows."""
        return self._row_ids.take(len(embeddings))

    def clear(self) -> None:
        """Drop all."""
        self._images.clear()

    def _forget_oldest(self) -> None:
        """Drop images beyond the bounds, but none of the last conversation."""
        least = 2 * self.in_conversation  # with and without an adapter
        size = sum(image.embeddings.nbytes for image in self._images.values())
        while len(self._images) > max(least, 1) and (
            len(self._images) > MAX_ENCODED_IMAGES + least or size > MAX_ENCODED_BYTES
        ):
            size -= self._images.popitem(last=False)[1].embeddings.nbytes


def counted_image(grid: tuple[int, int], rows: int) -> EncodedImage:
    """An image that was not encoded, to measure prompts with. grid: as in EncodedImage."""
    return EncodedImage(range(-1, -1 - rows, -1), np.empty((0, 0), np.float32), grid=grid)
