"""Runs one planned turn on the inference thread: load, look, route, read, generate, judge, and save as it goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from adapters.bank import Lease
from edge_app.engine.engine_host import EngineHost, leave_if_cancelled, reporter
from edge_app.engine.inference_thread import CancelledError, Job
from edge_app.events import (
    Answer,
    ContextTrimmed,
    Failed,
    Routed,
    StopReason,
    Timing,
    TokenCounts,
    TokenText,
)
from edge_app.storage.sessions import SessionStore
from edge_app.turns.adapter_choice import Chooser, shown_last
from edge_app.turns.image_text import ImageTexts
from edge_app.turns.planned_turn import Planned
from models.core.errors import UserError
from router.choice import Choice
from router.confidence.rule import Confidence, Evidence
from router.place_policy import FirstPlace
from router.reason import Reason

if TYPE_CHECKING:
    from models.language.generation import Generation

FLUSH_SECONDS = 1.0
"""How much of an answer a kill -9 may cost, at most."""

HOPE_TOKENS = 4
"""An answer that may be given up is judged after every so many tokens."""

NOT_ROUTED = Choice(None, None, Reason("not_routed"))


@dataclass(frozen=True)
class Equipment:
    """What turns share. Belongs to the inference thread. confidence: loads the rule at its first use."""

    host: EngineHost
    chooser: Chooser
    texts: ImageTexts
    confidence: Callable[[], Confidence]


class Answering:
    """The local answer of a turn; first: where it began, and why. give_up: it stops when its beginning says that its
    confidence will be below that; None always ends it.

    `run` it once (on the inference thread), or `stopped` when it was cancelled
    before its turn came; when it `gave_up`, it can be `resume`d, and holds its adapter until it is or `drop`ped.

    Afterwards there is an `answer`, saved where turns are, or a `failure`. ready: when the engine was loaded.
    """

    def __init__(
        self,
        planned: Planned,
        first: FirstPlace,
        equipment: Equipment,
        sessions: SessionStore | None,
        give_up: float | None = None,
    ) -> None:
        self.answer: Answer | None = None
        self.failure: Failed | None = None
        self.gave_up = False
        self.ready = planned.started
        self._planned = planned
        self._first = first
        self._equipment = equipment
        self._host = equipment.host
        self._choice = planned.choice or NOT_ROUTED
        self._route_ms = planned.route_ms
        self._sessions = sessions
        self._hopeless_below = give_up
        self._is_resumed = False
        self._image_ms = 0.0
        self._first_token_ms: float | None = None
        self._logprobs: list[float] = []
        self._generation: Generation | None = None
        self._lease: Lease | None = None
        self._answerer: int | None = None
        self._head: float | None = None
        self._ocr: float | None = None

    @property
    def text(self) -> str:
        """What has come so far."""
        return self._generation.text if self._generation else ""

    def run(self, job: Job) -> None:
        self._guarded(self._begin, job)

    def resume(self, job: Job) -> None:
        """To the end this time. Should another answer have begun in between, it ends where it was, cancelled."""
        self.gave_up, self._hopeless_below, self._is_resumed = False, None, True
        self._guarded(self._go_on, job)

    def stopped(self, job: Job) -> None:
        """Instead of `run`."""
        del job
        self.leave()

    def leave(self) -> None:
        """It ends where it is, cancelled."""
        try:
            self._finish("cancelled")
        except UserError as error:  # what there is of the answer cannot be saved
            self.failure = Failed(str(error), error.exit_code)
        finally:
            self.drop()

    def drop(self) -> None:
        """From any thread; nobody will ask for the rest."""
        if self._lease is not None:
            self._lease.release()

    def choose(self, job: Job) -> None:
        """Only routes, instead of `run`: ends in Routed, or in Failed."""
        try:
            self._choose(job)
        except CancelledError:
            return
        except UserError as error:
            job.emit(Failed(str(error), error.exit_code))

    def partial(self) -> Answer:
        """What there is of an answer that was given up."""
        return self._answer("cancelled")

    def _guarded(self, action: Callable[[Job], None], job: Job) -> None:
        try:
            self._or_stop(action, job)
        except UserError as error:
            self._save_failure(str(error))
            self.failure = Failed(str(error), error.exit_code)
        except BaseException as error:
            self._save_failure(f"{type(error).__name__}: {error}")
            raise
        finally:
            if not self.gave_up:
                self.drop()

    def _or_stop(self, action: Callable[[Job], None], job: Job) -> None:
        try:
            action(job)
        except CancelledError:
            self._finish("cancelled")

    def _begin(self, job: Job) -> None:
        self._host.engine(job)
        self.ready = time.perf_counter()
        self._host.prefetch(self._choice.adapter)
        if self._planned.turn.see_images:
            self._encode(job)
        if self._planned.choice is None:
            self._choose(job)
        leave_if_cancelled(job)
        self._lease = self._host.acquire(self._choice.adapter, job)
        texts = self._read(self._lease, job)
        leave_if_cancelled(job)
        self._generation = self._host.engine(job).generate(
            self._planned.messages,
            self._planned.sampling,
            adapter=self._lease.weights,
            use_words=self._planned.turn.use_words and self._lease.reads.words,
            see_images=self._planned.turn.see_images,
            texts=texts,
            cancel=job.cancelled,
            progress=reporter(job, job.emit),
        )
        self._answerer = (self._lease.weights or self._host.engine(job)).generation
        self._head = self._certainty(self._lease, job)
        self._go_on(job)

    def _encode(self, job: Job) -> None:
        """New images are always reported; earlier ones only when they have to be encoded again."""
        engine, new = self._host.engine(job), {picture.image.digest for picture in self._planned.new}
        for message in self._planned.messages:
            for image in message.images:
                if image.digest in new or not engine.is_encoded(image):
                    self._image_ms += self._host.encode(image, job)

    def _choose(self, job: Job) -> None:
        """As asked, or what the router finds best now that the engine can tell it what there is to see."""
        turn, planned = self._planned.turn, self._planned
        started = time.perf_counter()
        if planned.choice is None:
            engine = self._host.engine(job)
            leave_if_cancelled(job)
            shown = planned.messages if turn.see_images else [replace(m, images=()) for m in planned.messages]
            self._choice = self._equipment.chooser.choose(engine, shown, planned.installed)
        self._route_ms += 1000 * (time.perf_counter() - started)
        job.emit(Routed(planned.places.route(self._choice, self._first), turn.mode, self._route_ms))

    def _read(self, lease: Lease, job: Job) -> dict[str, str]:
        """The text in the images, when the adapter wants it; without one, of what looks like a document."""
        if not self._planned.turn.see_images:
            return {}
        wanted = lease.reads.ocr
        images = [image for message in self._planned.messages for image in message.images]
        side = self._planned.places.scenario.budgets.image_side
        started = time.perf_counter()
        texts = self._equipment.texts.of(images, wanted, job, side)
        image = shown_last(self._planned.messages)
        self._ocr = self._equipment.texts.probability(image, wanted, side) if image is not None else None
        self._image_ms += 1000 * (time.perf_counter() - started)
        return texts

    def _go_on(self, job: Job) -> None:
        generation = self._generation
        assert generation is not None, "it has begun"
        flushed = time.monotonic()
        for token in generation:
            if self._first_token_ms is None:
                self._first_token_ms = self._planned.elapsed()
                if generation.dropped_turns:
                    job.emit(ContextTrimmed(generation.dropped_turns))
            self._logprobs.append(token.logprob)
            if token.text:
                job.emit(TokenText(token.text))
            if self._is_hopeless():
                self.gave_up = True
                self._save_partial()
                return
            if time.monotonic() - flushed >= FLUSH_SECONDS:
                self._save_partial()
                flushed = time.monotonic()
            if self._is_resumed:  # the generation itself listens to the job that it was begun in
                leave_if_cancelled(job)
        assert generation.stop_reason is not None, "a generation that ended says why"
        self._finish(generation.stop_reason)

    def _is_hopeless(self) -> bool:
        below, generation = self._hopeless_below, self._generation
        if below is None or generation is None or generation.stop_reason is not None:
            return False
        if len(self._logprobs) % HOPE_TOKENS:
            return False
        return self._equipment.confidence().hopeless(self._evidence(), below)

    def _certainty(self, lease: Lease, job: Job) -> float | None:
        """How sure the heads are of the image in question; it has been encoded for the prompt already."""
        image = shown_last(self._planned.messages) if self._planned.turn.see_images else None
        return self._host.engine(job).certainty(image, lease.weights) if image else None

    def _evidence(self) -> Evidence:
        candidates = [candidate.score for candidate in self._choice.candidates]
        scores = sorted([0.0, *candidates], reverse=True)  # no adapter has 0
        return Evidence(
            logprobs=tuple(self._logprobs),
            adapter=self._choice.adapter,
            generation=self._answerer,
            head=self._head,
            route=self._choice.probability,
            margin=scores[0] - scores[1] if candidates else None,
            has_image=self._planned.turn.see_images and shown_last(self._planned.messages) is not None,
            ocr=self._ocr,
        )

    def _finish(self, reason: StopReason) -> None:
        answer = self._answer(reason)
        if self._sessions is not None and self._planned.saved is not None:
            status: Literal["stopped", "complete"] = "stopped" if reason == "cancelled" else "complete"
            self._sessions.finish_turn(self._planned.saved, status, answer)
        self.answer = answer

    def _answer(self, reason: StopReason) -> Answer:
        planned, generation, logprobs = self._planned, self._generation, self._logprobs
        mean = sum(logprobs) / len(logprobs) if logprobs else None
        evidence = self._evidence()
        sure = self._equipment.confidence().judge(evidence).probability if logprobs else None
        whole = sure if reason != "cancelled" else None
        decoded = generation.completion_tokens - 1 if generation is not None else 0
        speed = None
        if generation is not None and decoded > 0 and generation.decode_ms > 0:
            speed = 1000 * decoded / generation.decode_ms
        label = planned.places.local_label(self._first, self._choice, whole)
        return Answer(
            text=self.text,
            adapter=self._choice.adapter,
            place="local",
            mode=planned.turn.mode,
            confidence=sure,
            reason=str(label),
            reason_kind=label.kind,
            model=self._host.model,
            stop_reason=reason,
            tokens=TokenCounts(
                prompt=generation.prompt_tokens,
                image=generation.image_tokens,
                cached=generation.cached_tokens,
                completion=generation.completion_tokens,
            )
            if generation
            else TokenCounts(),
            timings=Timing(
                route=self._route_ms,
                image=self._image_ms,
                prefill=generation.prefill_ms if generation else 0.0,
                first_token=self._first_token_ms,
                total=planned.elapsed(),
            ),
            tokens_per_second=speed,
            session=planned.saved.session if planned.saved else None,
            mean_logprob=mean,
            min_logprob=min(logprobs) if logprobs else None,
            evidence=evidence,
            offer="ask_cloud" if whole is not None and planned.places.offers(whole) else None,
        )

    def _save_partial(self) -> None:
        if self._sessions is not None and self._planned.saved is not None:
            self._sessions.save_partial(self._planned.saved, self.text)

    def _save_failure(self, sentence: str) -> None:
        if self._sessions is not None and self._planned.saved is not None:
            with suppress(UserError):  # the disk may be what failed; the first failure is the one to tell
                self._sessions.fail_turn(self._planned.saved, self.text, sentence)
