"""Images are identified by the digest of their file, so that they can be compared, hashed and printed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Never

import numpy as np

from edge_app.turns.images.pictures import ImageOnDemand
from models.core.types import Image, Message

PIXELS: Any = np.zeros((2, 2, 3), np.uint8)
ONE = Image(PIXELS, "digest", "a.png")


def refuse() -> Never:
    raise AssertionError("nothing here needs the pixels")


def test_images_of_one_file_are_equal_whatever_they_are_called() -> None:
    again = Image(PIXELS + 1, "digest", "b.png", ("first of 12 frames",))
    assert again == ONE
    assert hash(again) == hash(ONE)
    assert {ONE, again} == {ONE}
    assert replace(ONE, digest="other") != ONE
    assert ONE != "digest"


def test_an_image_on_demand_is_equal_to_the_decoded_one_without_being_decoded() -> None:
    later = ImageOnDemand("digest", "a.png", refuse)
    assert later == ONE and later == ONE
    assert len({later, ONE}) == 1
    assert "digest" in repr(later)


def test_messages_with_images_can_be_compared_and_hashed() -> None:
    assert Message("user", "Hi", (ONE,)) == Message("user", "Hi", (Image(PIXELS.copy(), "digest", "a.png"),))
    assert len({Message("user", "Hi", (ONE,)), Message("user", "Hi")}) == 2
