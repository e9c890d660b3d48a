"""The text of an image is read and put together once, however many turns ask for it."""

from __future__ import annotations

import numpy as np
import pytest

from edge_app.engine.inference_thread import Job
from edge_app.turns import image_text
from edge_app.turns.image_text import ImageTexts
from models.core.types import Image
from models.ocr.page_layout import PageText, TextLine
from models.ocr.prompt_text import as_prompt_lines

PAGE = PageText(tuple(TextLine(f"row {n}", 0.9, (0.1, n / 10, 0.9, n / 10 + 0.05)) for n in range(6)))


class OnePage:
    """Reads the same page in every image, and counts."""

    def __init__(self) -> None:
        self.read_images = 0

    def read(self, image: Image, cancel: object = None) -> PageText:
        del image, cancel
        self.read_images += 1
        return PAGE

    read_document = read


@pytest.fixture
def put_together(monkeypatch: pytest.MonkeyPatch) -> list[PageText]:
    """The pages whose text was put together."""
    pages: list[PageText] = []

    def counted(page: PageText) -> str:
        pages.append(page)
        return as_prompt_lines(page)

    monkeypatch.setattr(image_text, "as_prompt_lines", counted)
    return pages


def picture(digest: str) -> Image:
    return Image(np.zeros((4, 4, 3), np.uint8), digest, digest)


def test_an_images_text_is_put_together_once_for_all_turns(put_together: list[PageText]) -> None:
    reader = OnePage()
    texts = ImageTexts(reader)
    job = Job(lambda _: None, lambda _: None)
    one, other = picture("one"), picture("other")
    for _ in range(3):
        assert texts.of([one, one], "always", job) == {"one": as_prompt_lines(PAGE)}
    assert len(put_together) == reader.read_images == 1
    texts.of([one, other], "always", job)
    assert len(put_together) == reader.read_images == 2


def test_a_page_that_one_adapter_read_is_put_together_for_no_other(put_together: list[PageText]) -> None:
    reader = OnePage()
    texts = ImageTexts(reader)
    job = Job(lambda _: None, lambda _: None)
    texts.of([picture("one")], "always", job)
    texts.of([picture("one")], "auto", job, 64)
    assert len(put_together) == reader.read_images == 1
