"""The answers that the base LoRA is trained to give hold no decline that is not recognised."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from models.training import dialogues
from models.training.classes import ClassName, load_classes
from models.training.dialogues import PLACES, Talk
from router.confidence.declines import is_decline
from tests.router.confidence.test_declines import LABELLED

if TYPE_CHECKING:
    from models.training.scenes import Scene

TRAINING = Path(dialogues.__file__).parent
NO_DECLINES = {row["text"] for row in LABELLED if not row["declined"]}

BEGINS_LIKE_A_REFUSAL = re.compile(
    r"^\W*(?:(?:i|i'm|we|it|that|this|there|you|one|the \w+)\b )?"
    r"(?:\w+ )?(?:cannot|can ?not|can't|could not|couldn't|(?:do|does|did) not (?:know|have|say)|don't|doesn't|unable|"
    r"not (?:\w+ )?(?:sure|certain|possible|clear|enough|known|able)|no (?:idea|information|way)|impossible|unknown|"
    r"unclear|uncertain|sorry|unfortunately|apologi[sz]e|as an ai|hard to|difficult to)\b",
    re.IGNORECASE,
)
"""Wider than the recogniser: what a reader would look at twice."""


@dataclass(frozen=True)
class FakeScene:
    """What a dialogue says of models.training.scenes.Scene."""

    best: ClassName
    second: ClassName
    setting: str
    people: bool
    sureness: float

    def colours(self, head: str) -> tuple[str, ...]:
        return {"colour": ("grey", "black"), "background": ("green",)}[head]


def trained_answers() -> set[str]:
    """The answers in the training data. Names of objects differ in training; here they are always the same."""
    classes = load_classes()
    named = {each.name: each for each in classes}
    rows = (TRAINING / "replies.jsonl").read_text("utf-8").splitlines()
    answers = {json.loads(row)["answer"] for row in rows}
    answers |= {fact for each in classes for fact in each.kind.facts.values()}
    rng = np.random.default_rng(5)
    for setting, people, sureness in product(PLACES, (False, True), (0.95, 0.7, 0.4)):
        scene = cast("Scene", FakeScene(named["tabby"], named["beagle"], setting, people, sureness))
        for _ in range(8):
            answers |= {answer for _, answer in Talk(scene, classes, rng).dialogue(8)}
    return answers


def test_the_training_data_has_no_other_decline() -> None:
    """A reply of a new form is either recognised or labelled as no decline."""
    answers = trained_answers()
    assert len(answers) > 500
    assert any(is_decline(answer) for answer in answers)
    missed = {
        answer
        for answer in answers
        if BEGINS_LIKE_A_REFUSAL.match(answer) and not is_decline(answer) and answer not in NO_DECLINES
    }
    assert not missed


def test_what_the_model_is_trained_to_decline_with_is_recognised() -> None:
    declined = {answer for answer in trained_answers() if is_decline(answer)}
    assert declined == {
        "I cannot read text in photos.",
        "I cannot tell that from the photo.",
        "I cannot count well; I see at least one tabby.",
        "I cannot tell for sure: it is against a plain background.",
        "I cannot tell for sure: it is in a cage or a zoo.",
        "I cannot tell for sure: it is in a cave.",
    }


def test_a_new_way_to_refuse_would_be_found() -> None:
    assert BEGINS_LIKE_A_REFUSAL.match("I am not able to smell photos.")
