"""Trains a LoRA with AdamW, scores it on held-out images, keeps the best state, and can be resumed.

Everything is seeded and a step's examples depend only on its number, so a resumed run gives the same bits as one that
was never stopped. A run with a limit in minutes is the exception: its learning rate follows the clock, so that it has
fallen to its end when the time is over, however busy the machine was.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional

from adapters.training.batches import BatchPlan
from adapters.training.token_rows import TrainingExample, pack
from models.core.errors import UserError
from models.core.files import replacing
from models.training.examples import NOT_LEARNT
from models.training.language import PackedBatch, TorchLanguageModel, cosine_rate, load_checkpoint

WARM_UP = 30
EVALUATIONS = 8
PATIENCE = 4
"""Evaluations without an improvement that end the training, in its second half only: comparisons between words and the
image are learnt late and suddenly, so a flat curve means little before."""

SCORED_TOGETHER = 8
SCORE_COST = 1 / 3  # of a token that is scored, in tokens that are learnt: there is no backward pass

TIMED_STEPS = 3  # of different examples, since images differ in their tiles
CHECKPOINT_SECONDS = 300.0
"""Most seconds of work that an interruption loses."""

SLACK = 1.5
"""A training that takes this many times as long as was announced stops and can be resumed."""

CLOCK_PARTS = 100_000
"""Into so many parts the given minutes are cut for the learning rate."""

SURE = 0.01  # nats a token; training ends at this loss if every held-out answer is right


@dataclass(frozen=True)
class HeldOutScore:
    """The score on held-out images.

    loss: nats a token. accuracy: share of answers that greedy decoding gets right. by_type: the same by question type.
    """

    loss: float
    accuracy: float
    by_type: Mapping[str, float]

    def better_than(self, other: HeldOutScore | None) -> bool:
        return other is None or (self.accuracy, -self.loss) > (other.accuracy, -other.loss)


@dataclass(frozen=True)
class Step:
    """Progress. loss: nats a token, mean of the last 20 steps. score: of the last evaluation, None before the first."""

    done: int
    total: int
    loss: float
    seconds_left: float
    score: HeldOutScore | None
    evaluated: bool


@dataclass(frozen=True)
class Schedule:
    """steps: the most there are. minutes: when not 0, training ends after these if the steps take longer.

    seconds: when not 0, training stops after these, with a checkpoint.
    """

    steps: int
    learning_rate: float
    minutes: float = 0.0
    seconds: float = 0.0

    def share(self, step: int, seconds: float) -> float:
        """How much of the training is done after a number of steps and seconds, 0..1."""
        done = step / max(1, self.steps)
        return min(1.0, max(done, seconds / (60 * self.minutes)) if self.minutes else done)

    def rate(self, step: int, seconds: float) -> float:
        """The learning rate of a step, counted from 0, that begins after a number of seconds (see cosine_rate)."""
        warm_up = min(WARM_UP, self.steps // 5)
        if step < warm_up or not self.minutes:
            return cosine_rate(step, self.steps, self.learning_rate, warm_up)
        return cosine_rate(round(self.share(step, seconds) * CLOCK_PARTS), CLOCK_PARTS, self.learning_rate, 0)


@dataclass(frozen=True)
class HeldOut:
    """Examples that are not learnt. types: the question's type of every branch, for each example."""

    examples: Sequence[TrainingExample]
    types: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Learnt:
    """The result. steps: done in all. step: after which the adapter was best; it has that state."""

    steps: int
    step: int
    best: HeldOutScore


class Learner:
    """One training run."""

    def __init__(
        self,
        language: TorchLanguageModel,
        plan: BatchPlan,
        held_out: HeldOut,
        checkpoint: Path,
        recipe: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """checkpoint: the file to resume from. recipe: digest of everything that decides the result. clock: seconds.

        A checkpoint with another recipe is refused.
        """
        self._clock = clock
        self._language, self._plan, self._held_out = language, plan, held_out
        self._checkpoint, self._recipe = checkpoint, recipe
        self._optimiser = torch.optim.AdamW(
            language.parameters(), lr=0.0, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )
        self._first = 0
        self._before = 0.0  # seconds of the runs that this one resumes
        self._best: tuple[HeldOutScore, int, dict[str, torch.Tensor]] | None = None
        self._since_best = 0

    def estimate(self, schedule: Schedule, resume: bool) -> float:
        """The seconds that `run` takes at most, from TIMED_STEPS steps that are timed. Nothing is learnt in them."""
        keep_freed_memory()
        if resume:
            self._load()
        if self._first >= schedule.steps:
            return 0.0
        left = range(self._first, schedule.steps)
        batches = [
            pack(self._plan.step(number), self._language.embedding)
            for number in left[:: -(-len(left) // TIMED_STEPS)]
        ]
        self._gradient(batches[0])  # the first one takes longer
        started = self._clock()
        for batch in batches:
            self._gradient(batch)
        seconds = self._clock() - started
        self._optimiser.zero_grad(set_to_none=True)
        scored = sum(example.size for example in self._held_out.examples)
        a_token = seconds / sum(len(batch.targets) for batch in batches)
        step, scoring = seconds / len(batches), EVALUATIONS * SCORE_COST * a_token * scored
        most = step * len(left) + scoring
        return min(most, max(0.0, schedule.minutes * 60 - self._before)) if schedule.minutes else most

    def run(self, schedule: Schedule, resume: bool, progress: Callable[[Step], None]) -> Learnt:
        """Train until the schedule ends or the score stops improving. The adapter then has its best state.

        Raises UserError, after a checkpoint, when schedule.seconds are over.
        """
        keep_freed_memory()
        if resume:
            self._load()
        recent: list[float] = []
        started, step, score = self._clock(), self._first, self._best[0] if self._best else None
        kept, share = started, schedule.share(self._first, self._before)
        while share < 1:
            self._set_rate(schedule.rate(step, self._before + self._clock() - started))
            recent = [*recent[-19:], self._step(pack(self._plan.step(step), self._language.embedding))]
            step += 1
            gone, last = self._clock() - started, share
            share = schedule.share(step, self._before + gone)
            evaluated = _is_evaluated(schedule, step, last, share)
            if evaluated:
                score = self._score_held_out(step)
            over = bool(schedule.seconds) and gone > schedule.seconds
            if evaluated or over or self._clock() - kept > CHECKPOINT_SECONDS:
                self._save(step, self._before + self._clock() - started)
                kept = self._clock()
            total = min(schedule.steps, max(step, round(step / share)))
            left = gone / (step - self._first) * (total - step)
            progress(Step(step, total, sum(recent) / len(recent), left, score, evaluated))
            if evaluated and self._finished(share, score):
                break
            if over and share < 1:
                raise UserError(
                    f"The time that was announced is over after step {step} of {total}; "
                    "go on from the checkpoint with --resume."
                )
        assert self._best is not None
        best, at, state = self._best
        self._language.load_state(state)
        return Learnt(step, at, best)

    def _score_held_out(self, step: int) -> HeldOutScore:
        score = score_held_out(self._language, self._held_out)
        self._since_best += 1
        if score.better_than(self._best[0] if self._best else None):
            state = {name: value.clone() for name, value in self._language.state().items()}
            self._best, self._since_best = (score, step, state), 0
        return score

    def _finished(self, share: float, score: HeldOutScore | None) -> bool:
        """Whether training can end before the schedule does."""
        perfect = score is not None and score.accuracy == 1 and score.loss < SURE
        return perfect or (share > 0.5 and self._since_best >= PATIENCE)

    def _set_rate(self, rate: float) -> None:
        for group in self._optimiser.param_groups:
            group["lr"] = rate

    def _step(self, batch: PackedBatch) -> float:
        self._optimiser.zero_grad(set_to_none=True)
        loss = self._gradient(batch)
        torch.nn.utils.clip_grad_norm_(self._language.parameters(), 1.0)
        self._optimiser.step()
        return float(loss.detach())

    def _gradient(self, batch: PackedBatch) -> torch.Tensor:
        loss = self._language.loss(batch)
        loss.backward()
        return loss

    def _save(self, step: int, seconds: float) -> None:
        """Replace the checkpoint. Raises OSError."""
        best, at, state = self._best or (None, 0, {})
        content = {
            "recipe": self._recipe, "step": step, "seconds": seconds, "adapter": self._language.state(),
            "optimiser": self._optimiser.state_dict(), "since_best": self._since_best,
            "best": best and {"loss": best.loss, "accuracy": best.accuracy, "by_type": dict(best.by_type)},
            "best_step": at, "best_state": state,
        }  # fmt: skip
        self._checkpoint.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self._checkpoint) as file:
            torch.save(content, file)

    def _load(self) -> None:
        """Continue from the checkpoint if there is one. Raises UserError when it is damaged or has another recipe."""
        if not self._checkpoint.is_file():
            return
        saved = load_checkpoint(self._checkpoint)
        if saved.get("recipe") != self._recipe:
            raise UserError(
                f"{self._checkpoint} is of a training with other data or options; leave --resume away to begin anew."
            )
        self._language.load_state(saved["adapter"])
        self._optimiser.load_state_dict(saved["optimiser"])
        self._first, self._since_best = saved["step"], saved["since_best"]
        self._before = float(saved.get("seconds", 0.0))
        if saved["best"] is not None:
            self._best = (HeldOutScore(**saved["best"]), saved["best_step"], saved["best_state"])


def _is_evaluated(schedule: Schedule, step: int, last: float, share: float) -> bool:
    """Whether the adapter is scored after a step, with which the share that is done grew from `last`."""
    if schedule.minutes:
        return int(share * EVALUATIONS) > int(last * EVALUATIONS)
    return step % max(1, schedule.steps // EVALUATIONS) == 0 or step == schedule.steps


def score_held_out(language: TorchLanguageModel, held_out: HeldOut) -> HeldOutScore:
    """Score an adapter by teacher forcing. An answer is right when each of its tokens has the largest logit, so that
    greedy decoding would give it."""
    losses: list[float] = []
    right: dict[str, list[bool]] = defaultdict(list)
    with torch.inference_mode():
        for first in range(0, len(held_out.examples), SCORED_TOGETHER):
            examples = held_out.examples[first : first + SCORED_TOGETHER]
            types = [kind for kinds in held_out.types[first : first + SCORED_TOGETHER] for kind in kinds]
            batch = pack(examples, language.embedding)
            wanted = batch.targets != NOT_LEARNT
            logits, targets = language.logits(batch, wanted), batch.targets[wanted]
            losses += functional.cross_entropy(logits, targets, reduction="none").tolist()
            lengths = [sum(branch.learn) for example in examples for branch in example.branches]
            for kind, hit in zip(types, (logits.argmax(1) == targets).split(lengths), strict=True):
                right[kind].append(bool(hit.all()))
    every = [hit for hits in right.values() for hit in hits]
    shares = {kind: sum(hits) / len(hits) for kind, hits in right.items()}
    return HeldOutScore(sum(losses) / len(losses), sum(every) / len(every), shares)


def keep_freed_memory() -> None:
    """Make glibc keep freed memory, because page faults would take a third of the time. No effect on other systems."""
    if os.name != "posix":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-4, 0)  # M_MMAP_MAX: no mapping of their own for large blocks
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: give nothing back
