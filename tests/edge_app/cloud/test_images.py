"""A sent image has the stated size and no metadata."""

from __future__ import annotations

import hashlib
import io
import json
import re

import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.cloud.endpoint import endpoint
from edge_app.cloud.images import THUMBNAIL_SIDE, outgoing
from edge_app.cloud.payload import payload
from models.core.images import load_image
from models.core.types import Image, Message, Sampling

PLACE = endpoint("https://api.example.com/v1", "big-model")


def photo_with_secrets() -> bytes:
    image = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8))
    exif = image.getexif()
    exif[0x010F] = "SecretCamera"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)  # GPS latitude
    buffer = io.BytesIO()
    profile = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
    image.save(
        buffer, "JPEG", exif=exif, icc_profile=profile, comment=b"SecretComment", xmp=b"<x>SecretXmp</x>"
    )
    return buffer.getvalue()


def image(width: int, height: int) -> Image:
    pixels = np.random.default_rng(width).integers(0, 255, (height, width, 3), np.uint8)
    return Image(pixels, hashlib.sha256(pixels.tobytes()).hexdigest(), "photo.png")


def test_no_metadata_leaves() -> None:
    original = photo_with_secrets()
    assert all(
        secret in original for secret in (b"SecretCamera", b"SecretComment", b"SecretXmp", b"ICC_PROFILE")
    )
    sent = outgoing(load_image(original, "photo.jpg"))
    with PIL.Image.open(io.BytesIO(sent.jpeg)) as read:
        assert set(read.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
        assert dict(read.getexif()) == {}
    markers = set(re.findall(rb"\xff([\xe1-\xef\xfe])", sent.jpeg.split(b"\xff\xda")[0]))
    assert markers == set(), "application segments or comments"
    assert b"Secret" not in sent.jpeg + sent.thumbnail


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        ((2000, 1000), 1024, (1024, 512)),
        ((1000, 2000), 1024, (512, 1024)),
        ((300, 200), 1024, (300, 200)),
        ((2000, 3), 64, (64, 1)),
    ],
)
def test_the_longest_side_is_the_setting_and_nothing_is_enlarged(
    size: tuple[int, int], side: int, expected: tuple[int, int]
) -> None:
    sent = outgoing(image(*size), side)
    with PIL.Image.open(io.BytesIO(sent.jpeg)) as read:
        assert (read.format, read.size) == ("JPEG", expected)
    assert (sent.width, sent.height) == expected
    with PIL.Image.open(io.BytesIO(sent.thumbnail)) as read:
        assert max(read.size) <= THUMBNAIL_SIDE


def test_the_payload_shows_what_it_sends() -> None:
    first, second = image(40, 30), image(30, 40)
    made = payload(
        PLACE,
        [
            Message("system", "Be brief."),
            Message("user", "What is it?", (first,)),
            Message("assistant", "A cat."),
            Message("user", "And this?", (second,)),
        ],
        sampling=Sampling(max_tokens=99),
        longest_side=32,
    )
    sent = json.loads(made.body)
    assert (made.question, made.earlier_turns, made.system) == ("And this?", 1, "Be brief.")
    assert [i.digest for i in made.images] == [first.digest, second.digest]
    assert made.size == len(made.body) and made.sha256 == hashlib.sha256(made.body).hexdigest()
    assert [m["role"] for m in sent["messages"]] == ["system", "user", "assistant", "user"]
    parts = sent["messages"][-1]["content"]
    assert [part["type"] for part in parts] == ["image_url", "text"]
    assert parts[0]["image_url"]["url"].startswith("data:image/jpeg;base64,/9j/")
    assert (sent["model"], sent["max_tokens"], sent["stream"]) == ("big-model", 99, True)
    assert "temperature" not in sent


@given(st.text(), st.text())
@settings(max_examples=50)
def test_any_text_becomes_json_that_says_the_same(system: str, question: str) -> None:
    sent = json.loads(
        payload(
            PLACE, [Message("system", system), Message("user", question)], sampling=Sampling(max_tokens=1)
        ).body
    )
    said = [message["content"] for message in sent["messages"]]
    assert said == [text.encode("utf-8", "replace").decode() for text in (system, question)]
