"""The heads that tell chat from questions about an image."""

from __future__ import annotations

import numpy as np
import pytest

from models.compiled_engine import CompiledEngine
from router.routers.background import CHAT, GENERAL, bundled_background, read_questions
from router.routers.chat_detection import FORM
from router.routers.make_background import fit_chat_head


def test_a_fitted_head_tells_two_clouds_apart() -> None:
    rng = np.random.default_rng(0)
    about, chat = rng.standard_normal((80, 6)) + 1.5, rng.standard_normal((60, 6)) - 1.5
    head = fit_chat_head(about.astype(np.float32), chat.astype(np.float32), 1.0)
    news = rng.standard_normal((50, 6)).astype(np.float32)
    assert np.mean([head.logit(each) > 0 for each in news + 1.5]) > 0.95
    assert np.mean([head.logit(each) < 0 for each in news - 1.5]) > 0.95


def test_features_that_never_change_do_no_harm() -> None:
    vectors = np.zeros((6, 3), np.float32)
    vectors[:, 0] = [1, 2, 3, -1, -2, -3]
    head = fit_chat_head(vectors[:3], vectors[3:], 1.0)
    assert np.isfinite(head.weight).all()
    assert head.logit(np.array([2, 0, 0], np.float32)) > 0


@pytest.mark.slow
def test_the_bundled_head_is_fitted_to_the_bundled_questions(engine: CompiledEngine) -> None:
    kinds = read_questions(GENERAL)
    about = [question for kind, own in kinds.items() if kind != CHAT for question in own][::12]
    chat = kinds[CHAT][::12]
    for questions, sign in ((about, 1), (chat, -1)):
        logits = [
            bundled_background().state.logit(engine.text_state(FORM.format(each))) for each in questions
        ]
        assert np.mean([sign * logit > 0 for logit in logits]) > 0.95


@pytest.mark.slow
@pytest.mark.parametrize(
    ("question", "about_image"),
    [
        ("How many windows does the building have?", True),
        ("Is the person on the left taller?", True),
        ("Tell me a story about a wolf.", False),
        ("How far is it from Berlin to Madrid?", False),
    ],
)
def test_questions_of_no_list_are_told_apart(
    engine: CompiledEngine, question: str, about_image: bool
) -> None:
    assert (bundled_background().state.logit(engine.text_state(FORM.format(question))) > 0) == about_image
