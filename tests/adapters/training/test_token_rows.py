"""Examples: questions share their image, branches do not see one another, and only answers are learnt."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the extra [train]: pip install -e '.[train]'")
pytest.importorskip("transformers", reason="training needs the extra [train]: pip install -e '.[train]'")

import torch

from adapters.training.batches import BatchPlan, ImageQuestions
from adapters.training.data import TrainingRow
from adapters.training.learning import HeldOut, Learner, Schedule, Step, score_held_out
from adapters.training.token_rows import Branch, TrainingExample, TrainingImage, pack
from models.core.errors import UserError
from models.training.language import TorchLanguageModel, branch_mask
from tests.models.training.test_language import tiny

pytestmark = pytest.mark.train


def image(number: int) -> TrainingImage:
    rows = np.random.default_rng(number).normal(0, 0.2, (2, 64)).astype(np.float32)
    return TrainingImage(f"image {number}", rows)


def branch(seed: int, question: int, answer: int) -> Branch:
    ids = np.random.default_rng(seed).integers(0, 40, question + answer)
    return Branch(tuple(ids.tolist()), (False,) * question + (True,) * answer)


def example(number: int, branches: tuple[Branch, ...]) -> TrainingExample:
    return TrainingExample(image(number), (3, -1, -2, 7), branches)


def language() -> TorchLanguageModel:
    torch.manual_seed(5)
    made = TorchLanguageModel(tiny(), rank=4, alpha=8)
    with torch.no_grad():
        for value in made.state().values():
            value.normal_(0, 0.05)
    return made


def test_a_branch_sees_the_prefix_and_itself() -> None:
    mask = branch_mask((2, 2, 1)).int().tolist()
    assert mask == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 1]]


def test_questions_that_share_their_image_give_the_loss_of_questions_alone() -> None:
    model = language()
    branches = (branch(1, 5, 3), branch(2, 4, 3), branch(3, 6, 3))
    alone = [float(model.loss(pack([example(1, (each,))], model.embedding)).detach()) for each in branches]
    together = [example(1, branches), example(2, (branches[0],))]
    other = float(model.loss(pack([example(2, (branches[0],))], model.embedding)).detach())
    shared = float(model.loss(pack(together, model.embedding)).detach())
    assert shared == pytest.approx((sum(alone) + other) / 4, rel=0.01)


def test_an_answer_is_right_when_every_token_is_the_likeliest() -> None:
    model = language()
    asked = branch(1, 5, 0)
    tokens = list(asked.tokens)
    with torch.inference_mode():
        for _ in range(3):  # decode greedily
            batch = pack(
                [example(1, (Branch((*tokens, 0), (False,) * len(tokens) + (True,)),))], model.embedding
            )
            tokens.append(int(model.logits(batch, batch.targets != -100)[0].argmax()))
    learn = (False,) * 5 + (True,) * 3
    right, wrong = Branch(tuple(tokens), learn), Branch((*tokens[:-1], (tokens[-1] + 1) % 40), learn)
    held_out = HeldOut([example(1, (right, wrong))], [["a", "b"]])
    scored = score_held_out(model, held_out)
    assert scored.by_type == {"a": 1.0, "b": 0.0}
    assert scored.accuracy == 0.5


def test_a_long_example_is_computed_again_and_gives_the_same_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = language()
    batch = pack([example(1, (branch(1, 5, 3), branch(2, 4, 3)))], model.embedding)
    kept: list[int] = []
    gradients = []
    for limit in (512, 10):
        monkeypatch.setattr("models.training.language.KEPT_TOKENS", limit)
        packed: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, packed=packed: (packed.append(tensor.numel()), tensor)[1],  # type: ignore[misc]
            lambda tensor: tensor,
        ):
            loss = model.loss(batch)
        kept.append(sum(packed))
        gradients.append(torch.autograd.grad(loss, model.parameters()))
    assert kept[1] < kept[0] / 2
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


class PlannedExamples:
    """A plan of which step n is always the same."""

    def __init__(self, stop_at: int = -1) -> None:
        self._stop_at = stop_at

    def step(self, number: int) -> list[TrainingExample]:
        if number == self._stop_at:
            raise KeyboardInterrupt
        return [example(number % 5, (branch(number % 5, 4, 2), branch(50 + number % 5, 3, 2)))]


def learner(
    model: TorchLanguageModel,
    checkpoint: Path,
    plan: PlannedExamples,
    recipe: str = "same",
    clock: Callable[[], float] = time.monotonic,
) -> Learner:
    held_out = HeldOut([example(0, (branch(0, 4, 2),))], [["a"]])
    return Learner(model, plan, held_out, checkpoint, recipe, clock)  # type: ignore[arg-type]


def test_a_stopped_training_that_is_resumed_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole, parts = language(), language()
    steps = Schedule(30, 1e-2)
    told = learner(whole, tmp_path / "whole.pt", PlannedExamples()).run(steps, False, lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        learner(parts, tmp_path / "parts.pt", PlannedExamples(stop_at=17)).run(steps, False, lambda _: None)
    with pytest.raises(UserError, match="other data or options"):
        learner(language(), tmp_path / "parts.pt", PlannedExamples(), "other").run(
            steps, True, lambda _: None
        )
    resumed = language()
    again = learner(resumed, tmp_path / "parts.pt", PlannedExamples()).run(steps, True, lambda _: None)
    assert again == told
    for name, value in whole.state().items():
        assert torch.equal(resumed.state()[name], value), name


@pytest.mark.parametrize("share", [0, 0.5, 0.95])
def test_a_checkpoint_that_was_cut_says_to_begin_anew(tmp_path: Path, share: float) -> None:
    checkpoint, steps = tmp_path / "training.pt", Schedule(2, 1e-2)
    learner(language(), checkpoint, PlannedExamples()).run(steps, False, lambda _: None)
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=r"training.pt is damaged .* leave --resume away"):
        learner(language(), checkpoint, PlannedExamples()).run(steps, True, lambda _: None)


@pytest.mark.parametrize("content", [[1], {"adapter": {}}])
def test_a_file_that_is_no_checkpoint_says_to_begin_anew(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "training.pt")
    with pytest.raises(UserError, match="no checkpoint of a training; leave --resume away"):
        learner(language(), tmp_path / "training.pt", PlannedExamples()).estimate(Schedule(2, 1e-2), True)


def test_a_training_whose_time_is_over_stops_and_is_resumed_to_the_same_bits(tmp_path: Path) -> None:
    whole, parts, resumed = language(), language(), language()
    learner(whole, tmp_path / "whole.pt", PlannedExamples()).run(Schedule(12, 1e-2), False, lambda _: None)
    late = Schedule(12, 1e-2, seconds=1e-9)
    with pytest.raises(UserError, match=r"over after step 1 of 12.*--resume"):
        learner(parts, tmp_path / "parts.pt", PlannedExamples()).run(late, False, lambda _: None)
    again = learner(resumed, tmp_path / "parts.pt", PlannedExamples())
    assert again.estimate(Schedule(12, 1e-2), True) > 0
    again.run(Schedule(12, 1e-2), True, lambda _: None)
    for name, value in whole.state().items():
        assert torch.equal(resumed.state()[name], value), name


class Watch:
    """A clock that goes on by as many seconds whenever a step begins."""

    def __init__(self, pace: float) -> None:
        self.now, self._pace = 0.0, pace

    def __call__(self) -> float:
        return self.now

    def plan(self, stop_at: int = -1) -> PlannedExamples:
        watch = self

        class Planned(PlannedExamples):
            def step(self, number: int) -> list[TrainingExample]:
                watch.now += watch._pace
                return super().step(number)

        return Planned(stop_at)


def test_the_learning_rate_falls_by_the_clock_when_minutes_are_given() -> None:
    timed, stepped = Schedule(1000, 1e-2, minutes=2), Schedule(1000, 1e-2)
    rates = [timed.rate(step, seconds) for step, seconds in ((40, 10.0), (40, 60.0), (41, 60.0), (42, 119.0))]
    assert rates[0] > rates[1] == rates[2] > rates[3]
    assert rates[3] == pytest.approx(5e-4, rel=0.01)
    assert timed.rate(3, 60.0) == stepped.rate(3, 60.0) < 1e-2, "it warms up by steps"
    assert stepped.rate(500, 10.0) == stepped.rate(500, 60.0)
    assert timed.share(999, 1.0) == 0.999, "the steps may be done before the minutes are over"


@pytest.mark.parametrize("pace", [5.0, 12.0])
def test_a_training_of_minutes_ends_when_they_are_over_however_slow_its_steps_are(
    tmp_path: Path, pace: float
) -> None:
    watch = Watch(pace)
    seen: list[Step] = []
    schedule = Schedule(1000, 1e-2, minutes=2)
    learner(language(), tmp_path / "c.pt", watch.plan(), clock=watch).run(schedule, False, seen.append)
    assert watch.now == 120
    assert seen[-1].evaluated
    assert seen[-1].total == seen[-1].done == 120 / pace
    assert seen[-1].seconds_left == 0


def test_a_training_of_minutes_that_is_resumed_has_only_the_minutes_that_were_left(tmp_path: Path) -> None:
    schedule = Schedule(1000, 1e-2, minutes=2)
    first = Watch(10.0)
    with pytest.raises(KeyboardInterrupt):
        learner(language(), tmp_path / "c.pt", first.plan(stop_at=7), clock=first).run(
            schedule, False, lambda _: None
        )
    second = Watch(10.0)
    again = learner(language(), tmp_path / "c.pt", second.plan(), clock=second)
    learnt = again.run(schedule, True, lambda _: None)
    assert learnt.steps == 12
    assert second.now <= 120 - 4 * 10, (
        "of the first run at most the seconds since the last checkpoint are lost"
    )


def test_the_adapter_is_left_at_its_best(tmp_path: Path) -> None:
    model = language()
    seen: list[Step] = []
    learnt = learner(model, tmp_path / "c.pt", PlannedExamples()).run(Schedule(24, 3e-2), False, seen.append)
    scored = [step.score for step in seen if step.evaluated]
    assert any(learnt.best == each for each in scored)
    assert not any(each and each.better_than(learnt.best) for each in scored)
    held_out = HeldOut([example(0, (branch(0, 4, 2),))], [["a"]])
    assert score_held_out(model, held_out).loss == pytest.approx(learnt.best.loss, rel=1e-3)


class PlainBuilder:
    """Builds an example of as many tokens as an image has questions."""

    def questions(self, seen: TrainingImage, rows: list[TrainingRow]) -> TrainingExample:
        return TrainingExample(seen, (1, -1, -2), tuple(Branch((5, 6), (False, True)) for _ in rows))

    def conversation(self, seen: TrainingImage, rows: list[TrainingRow]) -> TrainingExample:
        return TrainingExample(seen, (1, -1, -2), (Branch((5, 6) * len(rows), (False, True) * len(rows)),))


@pytest.mark.parametrize("images", [3, 40])
def test_an_epoch_has_every_image_once_and_the_seed_decides_the_order(images: int) -> None:
    row = TrainingRow(Path("x"), "", "q", "a", "t", "train", "", "set")
    asked = [ImageQuestions(image(number), (row, row)) for number in range(images)]

    def plan(seed: int) -> BatchPlan:
        return BatchPlan(asked, PlainBuilder(), seed, step_tokens=30)  # type: ignore[arg-type]

    first, same, other = plan(1), plan(1), plan(2)
    count = first.steps_an_epoch
    names = [each.image.digest for step in range(count) for each in first.step(step)]
    assert sorted(names) == sorted(each.image.digest for each in asked)
    assert names == [each.image.digest for step in range(count) for each in same.step(step)]
    second = [each.image.digest for step in range(count, 2 * count) for each in first.step(step)]
    few = BatchPlan(asked, PlainBuilder(), 1, step_tokens=1, most_steps=images)  # type: ignore[arg-type]
    assert few.steps_an_epoch == images
    if images > 3:
        assert names != second
        assert names != [each.image.digest for step in range(count) for each in other.step(step)]
