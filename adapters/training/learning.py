"""The optimisation: LoRA by AdamW, judged on images it does not learn, kept at its best, resumable.

Everything is seeded and a step's lessons depend on its number alone, so a resumed run ends with the same bits
as one that was never stopped. Knows nothing of where lessons come from or what becomes of the adapter.
"""

from __future__ import annotations

import ctypes
import math
import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from adapters.training.batches import Course
from adapters.training.token_rows import Lesson, pack
from models.core.errors import UserError
from models.training.examples import NOT_LEARNT
from models.training.language import PackedBatch, TorchLanguageModel

WARM_UP = 30
EVALUATIONS = 8
PATIENCE = 4
"""So many evaluations without a better one end the training, in its second half: words that are compared
with the image are learnt late and at once, so a flat curve says nothing before."""

JUDGED_TOGETHER = 8

SURE = 0.01  # nats a token: nothing is left to learn when everything is right with this loss
PACE_STEPS = 12
"""Steps after which the pace is known, when a number of minutes is asked for."""


@dataclass(frozen=True)
class Judgement:
    """On held-out images: loss in nats a token, shares of whole answers that greedy decoding gets right."""

    loss: float
    accuracy: float
    by_type: Mapping[str, float]

    def better_than(self, other: Judgement | None) -> bool:
        return other is None or (self.accuracy, -self.loss) > (other.accuracy, -other.loss)


@dataclass(frozen=True)
class Step:
    """loss: nats a token over the last steps. judgement: at the last evaluation, None before the first."""

    done: int
    total: int
    loss: float
    seconds_left: float
    judgement: Judgement | None
    evaluated: bool


@dataclass(frozen=True)
class Schedule:
    """steps: at most. minutes: when not 0, as many steps as fit into so many, if those are fewer."""

    steps: int
    learning_rate: float
    minutes: float = 0.0


@dataclass(frozen=True)
class HeldOut:
    """Lessons that are never learnt. types: of every branch, lesson by lesson."""

    lessons: Sequence[Lesson]
    types: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Learnt:
    """How it went. step: at which the adapter was at its best, which it now is again."""

    steps: int
    step: int
    best: Judgement


class Learner:
    """One training run."""

    def __init__(
        self, language: TorchLanguageModel, course: Course, held_out: HeldOut, checkpoint: Path, recipe: str
    ) -> None:
        """checkpoint: the file to go on from. recipe: all that decides the result; must be the same there."""
        self._language, self._course, self._held_out = language, course, held_out
        self._checkpoint, self._recipe = checkpoint, recipe
        self._optimiser = torch.optim.AdamW(
            language.parameters(), lr=0.0, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )
        self._first = 0
        self._total = 0
        self._best: tuple[Judgement, int, dict[str, torch.Tensor]] | None = None
        self._since_best = 0

    def run(self, schedule: Schedule, resume: bool, progress: Callable[[Step], None]) -> Learnt:
        """Learn until the schedule ends or nothing gets better; leave the adapter at its best."""
        keep_freed_memory()
        self._total = schedule.steps
        if resume:
            self._load()
        recent: list[float] = []
        started, step, judgement = time.monotonic(), self._first, self._best[0] if self._best else None
        while step < self._total:
            self._set_rate(learning_rate(step, self._total, schedule.learning_rate))
            recent = [*recent[-19:], self._step(pack(self._course.step(step), self._language.embedding))]
            step += 1
            pace = (time.monotonic() - started) / (step - self._first)
            if schedule.minutes and step == PACE_STEPS:
                self._total = min(self._total, max(PACE_STEPS, int(schedule.minutes * 60 / pace)))
            evaluated = step % max(1, self._total // EVALUATIONS) == 0 or step == self._total
            if evaluated:
                judgement = self._judge(step)
                self._save(step)
            left = pace * (self._total - step)
            progress(Step(step, self._total, sum(recent) / len(recent), left, judgement, evaluated))
            if evaluated and self._finished(step, judgement):
                break
        assert self._best is not None
        best, at, state = self._best
        self._language.load_state(state)
        return Learnt(step, at, best)

    def _judge(self, step: int) -> Judgement:
        judgement = judge(self._language, self._held_out)
        self._since_best += 1
        if judgement.better_than(self._best[0] if self._best else None):
            state = {name: value.clone() for name, value in self._language.state().items()}
            self._best, self._since_best = (judgement, step, state), 0
        return judgement

    def _finished(self, step: int, judgement: Judgement | None) -> bool:
        perfect = judgement is not None and judgement.accuracy == 1 and judgement.loss < SURE
        return perfect or (step * 2 > self._total and self._since_best >= PATIENCE)

    def _set_rate(self, rate: float) -> None:
        for group in self._optimiser.param_groups:
            group["lr"] = rate

    def _step(self, batch: PackedBatch) -> float:
        self._optimiser.zero_grad(set_to_none=True)
        loss = self._language.loss(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._language.parameters(), 1.0)
        self._optimiser.step()
        return float(loss.detach())

    def _save(self, step: int) -> None:
        partial = self._checkpoint.with_suffix(".partial")
        assert self._best is not None
        best, at, state = self._best
        content = {
            "recipe": self._recipe, "step": step, "total": self._total, "adapter": self._language.state(),
            "optimiser": self._optimiser.state_dict(), "since_best": self._since_best,
            "best": {"loss": best.loss, "accuracy": best.accuracy, "by_type": dict(best.by_type)},
            "best_step": at, "best_state": state,
        }  # fmt: skip
        torch.save(content, partial)
        partial.replace(self._checkpoint)

    def _load(self) -> None:
        if not self._checkpoint.is_file():
            return
        saved: dict[str, Any] = torch.load(self._checkpoint, weights_only=True)
        if saved["recipe"] != self._recipe:
            raise UserError(
                f"{self._checkpoint} is of a training with other data or options; leave --resume away to begin anew."
            )
        self._language.load_state(saved["adapter"])
        self._optimiser.load_state_dict(saved["optimiser"])
        self._first, self._total, self._since_best = saved["step"], saved["total"], saved["since_best"]
        self._best = (Judgement(**saved["best"]), saved["best_step"], saved["best_state"])


def learning_rate(step: int, steps: int, highest: float) -> float:
    """Linear warm-up, then a cosine down to a twentieth."""
    warm_up = min(WARM_UP, steps // 5)
    if step < warm_up:
        return highest * (step + 1) / warm_up
    done = (step - warm_up) / max(1, steps - warm_up)
    return highest * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))


def judge(language: TorchLanguageModel, held_out: HeldOut) -> Judgement:
    """An answer is right when every one of its tokens is the likeliest: what greedy decoding would say."""
    losses: list[float] = []
    right: dict[str, list[bool]] = defaultdict(list)
    with torch.inference_mode():
        for first in range(0, len(held_out.lessons), JUDGED_TOGETHER):
            lessons = held_out.lessons[first : first + JUDGED_TOGETHER]
            types = [kind for kinds in held_out.types[first : first + JUDGED_TOGETHER] for kind in kinds]
            batch = pack(lessons, language.embedding)
            wanted = batch.targets != NOT_LEARNT
            logits, targets = language.logits(batch, wanted), batch.targets[wanted]
            losses += functional.cross_entropy(logits, targets, reduction="none").tolist()
            lengths = [sum(branch.learn) for lesson in lessons for branch in lesson.branches]
            for kind, hit in zip(types, (logits.argmax(1) == targets).split(lengths), strict=True):
                right[kind].append(bool(hit.all()))
    every = [hit for hits in right.values() for hit in hits]
    shares = {kind: sum(hits) / len(hits) for kind, hits in right.items()}
    return Judgement(sum(losses) / len(losses), sum(every) / len(every), shares)


def keep_freed_memory() -> None:
    """Tell glibc to keep what is freed: a third of the time would go into page faults. Elsewhere: nothing."""
    if os.name != "posix":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-4, 0)  # M_MMAP_MAX: no mapping of their own for large blocks
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: give nothing back
