"""Images of a turn know how closely they are to be looked at, once an encoder asks."""

from __future__ import annotations

import numpy as np
import pytest

from edge_app.assistant import Assistant, Turn
from edge_app.events import Answered, Failed, ImageEncoded
from edge_app.settings import Settings
from edge_app.storage.sessions import SessionStore
from edge_app.turns.images import detailed_images
from edge_app.turns.images.detailed_images import focus_with_detail, make_fit, with_detail
from edge_app.turns.images.image_focus import ImageFocus
from models.core.errors import QuestionTooLongError
from models.core.types import Detail, Image, Message, Progress, no_progress
from models.engine import PackedAdapter
from tests.edge_app.conftest import png
from tests.edge_app.engine.test_engine_pool import describe_models
from tests.edge_app.fakes import FakeEngine, FakeTokens

PHOTO = Image(np.full((40, 40, 3), 90, np.uint8), "a", "a.jpg", ("first of 12 frames",))
OTHER = Image(np.zeros((40, 40, 3), np.uint8), "b", "b.jpg")


class TilingEngine(FakeEngine):
    """Notes the detail of each image that it encodes."""

    def __init__(self) -> None:
        super().__init__()
        self.details: list[Detail] = []

    def is_encoded(self, image: Image, adapter: PackedAdapter | None = None) -> bool:
        del image, adapter
        return False

    def encode_image(
        self, image: Image, adapter: PackedAdapter | None = None, progress: Progress = no_progress
    ) -> FakeTokens:
        self.details.append(image.detail)
        return super().encode_image(image, adapter, progress)

    def certainty(self, image: Image, adapter: object = None) -> float | None:
        del image, adapter
        return None


def test_it_stays_the_image_that_it_was() -> None:
    image = with_detail(PHOTO, "low")
    assert image == PHOTO
    assert (image.digest, image.name, image.notes) == ("a", "a.jpg", ("first of 12 frames",))
    assert image.pixels is PHOTO.pixels
    assert image.detail == "low"


def test_the_image_is_examined_once_and_only_when_the_detail_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    examined: list[Image] = []

    def is_page(image: Image) -> bool:
        examined.append(image)
        return True

    monkeypatch.setattr(detailed_images, "may_be_page", is_page)
    image = with_detail(PHOTO, "auto", ["What is this?"])
    assert not examined
    assert (image.detail, image.detail) == ("high", "high")
    assert examined == [PHOTO]


def test_every_image_of_the_focus_is_looked_at_in_one_way() -> None:
    messages = (
        Message("user", "How many are there?", (PHOTO, OTHER)),
        Message("assistant", "Two."),
        Message("user", "Sure?", (PHOTO,)),
    )
    focus = focus_with_detail(ImageFocus(PHOTO, messages), "auto")
    assert focus.image is not None
    assert focus.image.detail == "high"
    assert focus.messages == messages
    assert focus.messages[0].images[0] is focus.messages[2].images[0] is focus.image
    assert [image.detail for image in focus.messages[0].images] == ["high", "high"]
    assert focus_with_detail(ImageFocus(None, messages[1:2]), "low").image is None


@pytest.mark.parametrize(
    ("setting", "asked", "question", "detail"),
    [
        ("auto", None, "What is this?", "low"),
        ("auto", None, "How many are there?", "high"),
        ("high", None, "What is this?", "high"),
        ("high", "low", "How many are there?", "low"),
    ],
)
def test_a_turn_is_looked_at_as_it_asks_else_as_the_setting_says(
    store: SessionStore, setting: str, asked: str | None, question: str, detail: str
) -> None:
    engine = TilingEngine()
    with Assistant(Settings(image_detail=setting), store, engine.load) as assistant:
        turn = Turn(question, images=(png(),), adapter="none", detail=asked)  # type: ignore[arg-type]
        assert not any(isinstance(event, Failed) for event in assistant.answer(turn))
    assert set(engine.details) == {detail}


def test_an_attached_image_is_prepared_as_it_will_be_looked_at(store: SessionStore) -> None:
    engine = TilingEngine()
    with Assistant(Settings(), store, engine.load) as assistant:
        list(assistant.prepare([png()]))
        list(assistant.prepare([png()], "high"))
    assert engine.details == ["low", "high"]


FOUR = tuple(png(colour) for colour in ("red", "blue", "green", "white"))
"""At high detail they take 160 tokens of FakeEngine's context of 128."""


def test_four_images_that_do_not_fit_are_refused_before_one_is_looked_at(store: SessionStore) -> None:
    describe_models({"large": 10}, images_at_once=4)
    engine = TilingEngine()
    with Assistant(Settings(model="large"), store, engine.load) as assistant:
        events = list(assistant.answer(Turn("Compare them.", images=FOUR, adapter="none", detail="high")))
    failed = events[-1]
    assert isinstance(failed, Failed)
    assert failed.message.startswith(
        "The 4 images at high detail take more tokens than the model reads at once."
    )
    assert "detail low" in failed.message
    assert engine.details == []


def test_one_image_that_does_not_fit_is_refused_without_the_advice_to_ask_about_fewer() -> None:
    image = with_detail(PHOTO, "high")
    with pytest.raises(QuestionTooLongError) as refused:
        make_fit([Message("user", "What is this?", (image,))], lambda: False)
    assert str(refused.value) == (
        "The image at high detail takes more tokens than the model reads at once. Look at it less closely "
        "(detail low), or set context_length to more."
    )


def test_detail_that_the_app_chose_is_lowered_where_it_would_not_fit_and_that_is_said(
    store: SessionStore,
) -> None:
    describe_models({"large": 10}, images_at_once=4)
    engine = TilingEngine()
    turns = [Turn("How many cats are there?", images=images, adapter="none") for images in (FOUR[:3], FOUR)]
    notes = []
    with Assistant(Settings(model="large"), store, engine.load) as assistant:
        for turn in turns:
            events = list(assistant.answer(turn))
            assert isinstance(events[-1], Answered)
            notes.append([event.notes for event in events if isinstance(event, ImageEncoded)])
    assert engine.details == ["high"] * 3 + ["low"] * 4
    assert notes[0] == [()] * 3
    assert notes[1] == [("looked at less closely (detail low): the 4 images would not fit",)] * 4
