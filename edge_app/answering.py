"""Runs one planned turn on the inference thread: load, look, route, read, generate, and save as it goes."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from adapters.bank import Lease
from edge_app.choosing import Chooser, shown_last
from edge_app.context import ReadPicture
from edge_app.events import (
    Answer,
    Answered,
    ContextTrimmed,
    Failed,
    Routed,
    StopReason,
    Timing,
    TokenCounts,
    TokenText,
)
from edge_app.host import EngineHost, leave_if_cancelled, reporter
from edge_app.inference import CancelledError, Job
from edge_app.reading import ImageTexts
from edge_app.sessions import SavedTurnId, SessionStore
from edge_app.turn import Turn
from models.errors import UserError
from models.types import Message, Sampling
from router.confidence import Evidence
from router.route import Route, route

if TYPE_CHECKING:
    from models.generation import Generation

FLUSH_SECONDS = 1.0
"""How much of an answer a kill -9 may cost, at most."""


NOT_ROUTED = Route(None, "local", "stopped before an adapter was chosen")


@dataclass(frozen=True)
class Equipment:
    """What turns share. Belongs to the inference thread."""

    host: EngineHost
    chooser: Chooser
    texts: ImageTexts


@dataclass(frozen=True)
class Planned:
    """A turn that is ready to run. started: `time.perf_counter()` when it was handed over.

    session: that it continues. messages: the whole context, this question last. new: this turn's images.
    installed: the adapters' names. route: None when the router is to choose. saved: where it is on disk, None
    when nothing is saved.
    """

    turn: Turn
    session: str | None
    messages: tuple[Message, ...]
    new: tuple[ReadPicture, ...]
    sampling: Sampling
    installed: tuple[str, ...]
    route: Route | None
    saved: SavedTurnId | None
    started: float
    route_ms: float


class Answering:
    """Call `run` once (on the inference thread), or `stopped` when it was cancelled before its turn came."""

    def __init__(
        self, planned: Planned, equipment: Equipment, sessions: SessionStore | None, job: Job
    ) -> None:
        self._planned = planned
        self._equipment = equipment
        self._host = equipment.host
        self._route = planned.route or NOT_ROUTED
        self._route_ms = planned.route_ms
        self._sessions = sessions
        self._job = job
        self._image_ms = 0.0
        self._first_token_ms: float | None = None
        self._logprobs: list[float] = []
        self._generation: Generation | None = None
        self._head: float | None = None
        self._ocr: float | None = None

    def run(self) -> None:
        try:
            self._run_or_stop()
        except UserError as error:
            self._save_failure(str(error))
            self._job.emit(Failed(str(error), error.exit_code))
        except BaseException as error:
            self._save_failure(f"{type(error).__name__}: {error}")
            raise

    def choose(self) -> None:
        """Only routes, instead of `run`: ends in Routed, or in Failed."""
        try:
            self._choose()
        except CancelledError:
            return
        except UserError as error:
            self._job.emit(Failed(str(error), error.exit_code))

    def stopped(self) -> None:
        """Ends in Failed when what there is of the answer cannot be saved."""
        try:
            self._finish("cancelled")
        except UserError as error:
            self._job.emit(Failed(str(error), error.exit_code))

    def _run_or_stop(self) -> None:
        try:
            self._host.engine(self._job)
            self._host.prefetch(self._route.adapter)
            if self._planned.turn.see_images:
                self._encode()
            if self._planned.route is None:
                self._choose()
            leave_if_cancelled(self._job)
            with self._host.acquire(self._route.adapter, self._job) as lease:
                self._generate(lease, self._read(lease))
        except CancelledError:
            self._finish("cancelled")

    def _encode(self) -> None:
        """New images are always reported; earlier ones only when they have to be encoded again."""
        engine, new = self._host.engine(self._job), {picture.image.digest for picture in self._planned.new}
        for message in self._planned.messages:
            for image in message.images:
                if image.digest in new or not engine.is_encoded(image):
                    self._image_ms += self._host.encode(image, self._job)

    def _choose(self) -> None:
        """As asked, or what the router finds best now that the engine can tell it what there is to see."""
        turn, planned = self._planned.turn, self._planned
        started, choice = time.perf_counter(), None
        if planned.route is None:
            engine = self._host.engine(self._job)
            leave_if_cancelled(self._job)
            shown = planned.messages if turn.see_images else [replace(m, images=()) for m in planned.messages]
            choice = self._equipment.chooser.choose(engine, shown, planned.installed)
        self._route = route(
            adapter=turn.adapter,
            mode=turn.mode,
            allow_cloud=turn.allow_cloud,
            installed=planned.installed,
            choice=choice,
        )
        self._route_ms += 1000 * (time.perf_counter() - started)
        self._job.emit(Routed(self._route, turn.mode, self._route_ms))

    def _read(self, lease: Lease) -> dict[str, str]:
        """The text in the images, when the adapter wants it; without one, of what looks like a document."""
        if not self._planned.turn.see_images:
            return {}
        wanted = lease.weights.ocr if lease.weights is not None else "auto"
        images = [image for message in self._planned.messages for image in message.images]
        started = time.perf_counter()
        texts = self._equipment.texts.of(images, wanted, self._job)
        image = shown_last(self._planned.messages)
        self._ocr = self._equipment.texts.probability(image, wanted) if image is not None else None
        self._image_ms += 1000 * (time.perf_counter() - started)
        return texts

    def _generate(self, lease: Lease, texts: dict[str, str]) -> None:
        planned = self._planned
        leave_if_cancelled(self._job)
        generation = self._host.engine(self._job).generate(
            planned.messages,
            planned.sampling,
            lora=lease.weights,
            use_words=planned.turn.use_words,
            see_images=planned.turn.see_images,
            texts=texts,
            cancel=self._job.cancelled,
            progress=reporter(self._job, self._job.emit),
        )
        self._generation = generation
        self._head = self._certainty(lease)
        flushed = time.monotonic()
        for token in generation:
            if self._first_token_ms is None:
                self._first_token_ms = self._elapsed()
                if generation.dropped_turns:
                    self._job.emit(ContextTrimmed(generation.dropped_turns))
            self._logprobs.append(token.logprob)
            if token.text:
                self._job.emit(TokenText(token.text))
            if time.monotonic() - flushed >= FLUSH_SECONDS:
                self._save_partial()
                flushed = time.monotonic()
        assert generation.stop_reason is not None, "a generation that ended says why"
        self._finish(generation.stop_reason)

    def _certainty(self, lease: Lease) -> float | None:
        """How sure the heads are of the image in question; it has been encoded for the prompt already."""
        image = shown_last(self._planned.messages) if self._planned.turn.see_images else None
        return self._host.engine(self._job).certainty(image, lease.weights) if image else None

    def _evidence(self) -> Evidence:
        candidates = [candidate.score for candidate in self._route.candidates]
        scores = sorted([0.0, *candidates], reverse=True)  # no adapter has 0
        return Evidence(
            logprobs=tuple(self._logprobs),
            adapter=self._route.adapter,
            head=self._head,
            route=self._route.probability,
            margin=scores[0] - scores[1] if candidates else None,
            has_image=self._head is not None,
            ocr=self._ocr,
        )

    def _finish(self, reason: StopReason) -> None:
        answer = self._answer(reason)
        if self._sessions is not None and self._planned.saved is not None:
            status: Literal["stopped", "complete"] = "stopped" if reason == "cancelled" else "complete"
            self._sessions.finish_turn(self._planned.saved, status, answer)
        self._job.emit(Answered(answer))

    def _answer(self, reason: StopReason) -> Answer:
        planned, generation, logprobs = self._planned, self._generation, self._logprobs
        mean = sum(logprobs) / len(logprobs) if logprobs else None
        decoded = generation.completion_tokens - 1 if generation is not None else 0
        speed = None
        if generation is not None and decoded > 0 and generation.decode_ms > 0:
            speed = 1000 * decoded / generation.decode_ms
        return Answer(
            answer=generation.text if generation else "",
            adapter=self._route.adapter,
            place=self._route.place,
            mode=planned.turn.mode,
            confidence=math.exp(mean) if mean is not None else None,
            reason=self._route.reason,
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
            timing_ms=Timing(
                route=self._route_ms,
                image=self._image_ms,
                prefill=generation.prefill_ms if generation else 0.0,
                first_token=self._first_token_ms,
                total=self._elapsed(),
            ),
            tokens_per_second=speed,
            session=planned.saved.session if planned.saved else None,
            mean_logprob=mean,
            min_logprob=min(logprobs) if logprobs else None,
            evidence=self._evidence(),
        )

    def _save_partial(self) -> None:
        if self._sessions is not None and self._planned.saved is not None and self._generation is not None:
            self._sessions.save_partial(self._planned.saved, self._generation.text)

    def _save_failure(self, sentence: str) -> None:
        if self._sessions is not None and self._planned.saved is not None:
            text = self._generation.text if self._generation else ""
            with suppress(UserError):  # the disk may be what failed; the first failure is the one to tell
                self._sessions.fail_turn(self._planned.saved, text, sentence)

    def _elapsed(self) -> float:
        """Milliseconds since the turn was handed over."""
        return 1000 * (time.perf_counter() - self._planned.started)
