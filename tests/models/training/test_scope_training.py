"""What a step of the scope's training draws: no example is asked, and tasks that are not declared are out of scope."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("torch", reason="training needs the extra [train]: pip install -e '.[train]'")

from models.training.scope.data import ImageKind, ScopeQuestion
from models.training.scope.train import Drawn, draw

COLOURS = ("red", "green", "blue", "black")


def kind(count: int) -> ImageKind:
    """With a task for each of the first colours, and three questions for each task."""
    tasks = {colour: (f"Is it {colour}?", f"{colour}?") for colour in COLOURS[:count]}
    asked = [ScopeQuestion(f"{colour} {n}", "in", task=colour) for colour in tasks for n in range(3)]
    return ImageKind(
        "colours", tasks, (*asked, ScopeQuestion("Who?", "out"), ScopeQuestion("Thanks!", "chat"))
    )


def drawn(count: int) -> list[Drawn]:
    rng, one = random.Random(0), kind(count)
    return [draw(one, one, {}, rng) for _ in range(60)]


def test_questions_of_a_task_that_is_not_declared_are_out_of_scope() -> None:
    sizes = set()
    for inside, outside, examples in drawn(4):
        declared = {text.split()[-1].strip("?") for own in examples for text in own}
        sizes.add(len(examples))
        assert {question.split()[0] for question in inside} <= declared
        asked_outside = {question.split()[0] for question in outside} & set(COLOURS)
        assert not asked_outside & declared
        assert asked_outside == set(COLOURS) - declared
        assert {"Who?", "Thanks!"} <= set(outside)
    assert sizes == {3, 4}


def test_kinds_with_few_tasks_declare_all_of_them() -> None:
    assert all(len(examples) == 2 for _, _, examples in drawn(2))
