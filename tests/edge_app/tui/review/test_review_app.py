"""The review of doubtful rows in the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from textual import events
from textual.widget import Widget
from textual.widgets import Input, Static

from edge_app.events import Picture
from edge_app.extract.review import Review, ReviewItem
from edge_app.extract.rows import PageRow
from edge_app.extract.sources import PageJob
from edge_app.extract.store import ExtractStore
from edge_app.extract.task import asked_fields
from edge_app.tui.review.review_app import ReviewApp
from models.core.errors import UserError
from models.core.types import Image

ASKED = asked_fields("company, total:number")


class Drawn(Widget):
    """Stands for the picture. size of the image: in its tooltip."""

    def __init__(self, picture: PIL.Image.Image) -> None:
        super().__init__()
        self.tooltip = f"{picture.width}x{picture.height}"


@pytest.fixture
def answers() -> Iterator[ExtractStore]:
    store = ExtractStore.open()
    yield store
    store.close()


def decode(picture: Picture) -> Image:
    if picture == Path("[gone].png"):
        raise UserError("There is no file [gone].png.")
    return Image(np.zeros((60, 2800, 3), np.uint8), "0a", str(picture))


def app(answers: ExtractStore) -> ReviewApp:
    items = []
    for number, name in enumerate(("a.png", "[gone].png", "c.png")):
        row = PageRow(name, 1, f"0{number}", ("Shop", 9.9), (0.9, 0.2), "receipts", "local")
        items.append(ReviewItem(10 + number, PageJob(name, 1, row.digest, lambda name=name: Path(name)), row))
    return ReviewApp(items, Review(ASKED, answers, 0.5), decode, Drawn)


def text(app: ReviewApp, selector: str) -> str:
    return str(app.query_one(selector, Static).content)


async def test_enter_accepts_and_typing_corrects_the_doubtful_field(answers: ExtractStore) -> None:
    review = app(answers)
    async with review.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        assert text(review, "#where") == "1 of 3 · a.png, page 1"
        await pilot.press("enter")
        await pilot.press("1", "2", ".", "5", "enter")
        assert text(review, "#where") == "3 of 3 · c.png, page 1"
        await pilot.press("shift+tab", "A", "enter")
    assert {number: row.values for number, row in review.decided.items()} == {
        10: ("Shop", 9.9),
        11: ("Shop", 12.5),
        12: ("A", 9.9),
    }
    assert [answers.reviewed(f"0{n}", 1, ASKED.keys)["total:number"].value for n in range(3)] == [
        9.9,
        12.5,
        9.9,
    ]


def burst(app: ReviewApp, *keys: str) -> None:
    """Sends keys as a terminal does that sends them at once."""
    for key in keys:
        app.post_message(events.Key(key, key if len(key) == 1 else None))


async def test_keys_that_come_in_one_burst_are_taken_in_their_order(answers: ExtractStore) -> None:
    review = app(answers)
    async with review.run_test() as pilot:
        await pilot.pause()
        burst(
            review,
            "end",
            "ctrl+u",
            *"12.5",
            "enter",
            *"7",
            "enter",
            "up",
            "end",
            "ctrl+u",
            *"Abc",
            "enter",
            "enter",
        )
        while len(review.decided) < 3:
            await pilot.pause()
    assert {number: row.values for number, row in review.decided.items()} == {
        10: ("Shop", 12.5),
        11: ("Shop", 7),
        12: ("Abc", 9.9),
    }


async def test_the_picture_of_the_row_is_beside_it_and_one_that_is_gone_is_said(
    answers: ExtractStore,
) -> None:
    review = app(answers)
    async with review.run_test(size=(100, 30)) as pilot:
        await review.workers.wait_for_complete()
        await pilot.pause()
        assert review.query_one(Drawn).tooltip == "1400x30"
        assert review.query_one(Drawn).region.right <= review.query(Input).first().region.x
        await pilot.press("ctrl+n")
        await review.workers.wait_for_complete()
        await pilot.pause()
        assert not review.query(Drawn)
        assert text(review, "#trouble") == "There is no file [gone].png."


async def test_what_is_no_value_is_said_and_the_row_stays(answers: ExtractStore) -> None:
    review = app(answers)
    async with review.run_test() as pilot:
        await pilot.pause()
        await pilot.press(*"nine", "enter")
        assert "total is a number" in text(review, "#trouble")
        assert text(review, "#where").startswith("1 of 3")
    assert review.decided == {}


async def test_escape_ends_the_review_and_keeps_what_was_decided(answers: ExtractStore) -> None:
    review = app(answers)
    async with review.run_test() as pilot:
        await pilot.pause()
        await pilot.press("enter", "escape")
        await pilot.pause()
    assert set(review.decided) == {10}
    assert answers.reviewed("00", 1, ASKED.keys)
