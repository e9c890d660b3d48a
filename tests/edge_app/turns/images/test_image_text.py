"""The text of an image is read and put together once, however many turns ask for it."""

from __future__ import annotations

import numpy as np
import pytest

from adapters.store.manifest import PromptPolicy
from edge_app.engine.inference_thread import Job
from edge_app.turns.images import image_text
from edge_app.turns.images.image_text import ImageTexts
from models.core.types import Image, TextLine
from models.ocr.page_layout import PageText
from models.ocr.prompt_text import as_page_lines

PAGE = PageText(tuple(TextLine(f"row {n}", 0.9, (0.1, n / 10, 0.9, n / 10 + 0.05)) for n in range(6)))


EUROS = PageText(
    tuple(
        TextLine(text, 0.9, (x - 0.03, y - 0.02, x + 0.03, y + 0.02))
        for text, x, y in [
            *(("€60", 0.05, 0.2), ("€20", 0.05, 0.6), ("€0", 0.05, 0.8)),
            *(("€55", 0.2, 0.24), ("€7", 0.45, 0.72), ("€21", 0.7, 0.58)),
            *(("Apples", 0.2, 0.88), ("Pears", 0.45, 0.88), ("Plums", 0.7, 0.88)),
        ]
    )
)
"""A bar chart with amounts that the first prompt format does not take for numbers."""


class OnePage:
    """Reads the same page in every image, and counts."""

    def __init__(self, page: PageText = PAGE) -> None:
        self.page = page
        self.read_images = 0

    def read(self, image: Image, cancel: object = None) -> PageText:
        del image, cancel
        self.read_images += 1
        return self.page

    read_document = read


@pytest.fixture
def put_together(monkeypatch: pytest.MonkeyPatch) -> list[PageText]:
    """The pages whose text was put together."""
    pages: list[PageText] = []

    def counted(page: PageText, prompt_format: int, *, chart_ranks: bool) -> str:
        pages.append(page)
        return as_page_lines(page, prompt_format, chart_ranks=chart_ranks)

    monkeypatch.setattr(image_text, "as_page_lines", counted)
    return pages


def picture(digest: str) -> Image:
    return Image(np.zeros((4, 4, 3), np.uint8), digest, digest)


def test_an_images_text_is_put_together_once_for_all_turns(put_together: list[PageText]) -> None:
    reader = OnePage()
    texts = ImageTexts(reader)
    job = Job(lambda _: None, lambda _: None)
    one, other = picture("one"), picture("other")
    for _ in range(3):
        assert texts.of([one, one], PromptPolicy("always"), job) == {"one": as_page_lines(PAGE)}
    assert len(put_together) == reader.read_images == 1
    texts.of([one, other], PromptPolicy("always"), job)
    assert len(put_together) == reader.read_images == 2


def test_a_page_that_one_adapter_read_is_put_together_for_no_other(put_together: list[PageText]) -> None:
    reader = OnePage()
    texts = ImageTexts(reader)
    job = Job(lambda _: None, lambda _: None)
    texts.of([picture("one")], PromptPolicy("always"), job)
    texts.of([picture("one")], PromptPolicy("auto"), job, 64)
    assert len(put_together) == reader.read_images == 1


def test_every_adapter_gets_the_text_in_the_format_that_it_was_trained_with(
    put_together: list[PageText],
) -> None:
    reader = OnePage(EUROS)
    texts = ImageTexts(reader)
    job = Job(lambda _: None, lambda _: None)
    asked = [
        PromptPolicy("always", chart_ranks=ranks, prompt_format=version)
        for version in (1, 2)
        for ranks in (True, False)
    ]
    said = [texts.of([picture("one")], each, job)["one"] for each in (*asked, *asked)]
    assert said[:4] == said[4:]
    assert said[:4] == [
        as_page_lines(EUROS, each.prompt_format, chart_ranks=each.chart_ranks) for each in asked
    ]
    assert len(set(said)) == 3, "version 1 finds no chart in it that could be ranked"
    assert (reader.read_images, len(put_together)) == (1, 4)
