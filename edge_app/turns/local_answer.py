"""Computes the local answer of a turn on the inference thread.

In order: load the engine, encode images, choose the adapter, read text in images, generate, judge. The answer is saved
while it comes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from adapters.bank import Lease
from edge_app.answer import Answer, StopReason
from edge_app.engine.engine_loading import leave_if_cancelled
from edge_app.engine.engine_pool import EnginePool
from edge_app.engine.inference_thread import CancelledError, Job
from edge_app.events import ContextTrimmed, Failed, TokenLogged, TokenText
from edge_app.reason_text import notice
from edge_app.turns.adapter_choice import AdapterChooser
from edge_app.turns.images.detailed_images import make_fit
from edge_app.turns.images.image_text import ImageTexts
from edge_app.turns.local_draft import LocalDraft
from edge_app.turns.local_questions import LocalQuestions
from edge_app.turns.planner import PlannedTurn
from edge_app.turns.recorder import FLUSH_SECONDS, TurnRecorder
from edge_app.turns.replies.built_in_replies import BuiltInReply
from edge_app.turns.replies.text_replies import TEXT_READ, all_text, field_value
from edge_app.turns.structured.field_questions import FieldAsker, FieldQuestions, questions_for
from models.core.errors import QuestionTooLongError, UserError
from models.ocr.page_layout import PageText
from models.scoring.text_overlap import nearest_lines
from router.choice import Choice
from router.confidence.rule import Confidence
from router.place_policy import FirstPlace
from router.types import Reason

if TYPE_CHECKING:
    from models.engine import Engine

DOCUMENT_LINES = 6
"""Lines of a document in the plain model's prompt, nearest to the question; with all it is right less often."""

LINES_A_FIELD = 3
"""The same for each field of an answer that has to fit a schema."""

JUDGED_TOKENS = 4
"""An answer that may be paused is judged after every so many tokens."""


@dataclass(frozen=True)
class LocalResources:
    """What all local answers share. Used on the inference thread.

    confidence: returns the rule, which is loaded at its first use.
    """

    pool: EnginePool
    chooser: AdapterChooser
    texts: ImageTexts
    confidence: Callable[[], Confidence]

    def notice(self, reason: Reason) -> str | None:
        """What the user should know about a choice, once; None when there is nothing, or it was told."""
        text = notice(reason)
        return text if text is not None and self.pool.bases.is_first_notice() else None

    def draft(self, planned: PlannedTurn, first: FirstPlace, session: str | None) -> LocalDraft:
        """A draft without text."""
        return LocalDraft(planned, first, session, self.confidence)


class LocalAnswer:
    """One local answer, computed by one job, or by two when it is paused in between.

    outcome: the answer, which is saved; or its failure. None before the first job and while it is paused.
    is_too_long: it failed because the question is longer than the model reads at once.
    draft: the answer so far. ready: `time.perf_counter()` when the engine was loaded.

    A paused answer holds its adapter in memory until it is continued or `release` is called.
    """

    def __init__(
        self, planned: PlannedTurn, first: FirstPlace, resources: LocalResources, recorder: TurnRecorder
    ) -> None:
        self.outcome: Answer | Failed | None = None
        self.is_paused = False
        self.is_too_long = False
        self.draft = resources.draft(planned, first, recorder.session)
        self.ready = planned.started
        self._planned = planned
        self._first = first
        self._pool = resources.pool
        self._chooser = resources.chooser
        self._texts = resources.texts
        self._recorder = recorder
        self._lease: Lease | None = None
        self._page_lease: Lease | None = None  # of the adapter for any page of text

    def compute(self, job: Job, pause_below: float | None = None) -> None:
        """Begins the answer, or continues one that is paused. Runs on the inference thread.

        pause_below: the answer is paused when its beginning shows that its confidence will be below this
            probability; None computes it to its end. If another answer was begun during the pause, a continued
            answer ends where it is, as cancelled.
        """
        self.is_paused = False
        try:
            stop_reason = self._stop_reason(job, pause_below)
            if stop_reason is not None:
                self._end(stop_reason)
        except UserError as error:
            self.is_too_long = isinstance(error, QuestionTooLongError)
            self._recorder.fail(self.draft.text, str(error))
            self.outcome = Failed(str(error), error.exit_code)
        except BaseException as error:
            self._recorder.fail(self.draft.text, f"{type(error).__name__}: {error}")
            raise
        finally:
            if not self.is_paused:
                self.release()

    def stop(self) -> None:
        """Ends the answer where it is, as cancelled, in the place of a job that was cancelled before it ran."""
        try:
            self._end_or_fail("cancelled")
        finally:
            self.release()

    def reply(self, reply: BuiltInReply) -> None:
        """Ends the answer with a built-in reply, in the place of a job. Runs on any thread."""
        self.draft.reply = reply
        self._end_or_fail("stop")

    def release(self) -> None:
        """Gives the adapters back. May be called more than once, from any thread."""
        for lease in (self._lease, self._page_lease):
            if lease is not None:
                lease.release()

    def _end_or_fail(self, stop_reason: StopReason) -> None:
        """As `_end`. A disk error is the outcome."""
        try:
            self._end(stop_reason)
        except UserError as error:
            self.outcome = Failed(str(error), error.exit_code)

    def _end(self, stop_reason: StopReason) -> None:
        answer = self.draft.answer(stop_reason)
        self._recorder.finish(answer)
        self.outcome = answer

    def _stop_reason(self, job: Job, pause_below: float | None) -> StopReason | None:
        """Computes the answer. Returns why it ended; None when it is paused."""
        continues = self.draft.generation is not None
        try:
            if not continues:
                self._begin(job)
            if self.draft.reply is not None:
                return "stop"
            return self._generate(job, pause_below, continues=continues)
        except CancelledError:
            return "cancelled"

    def _begin(self, job: Job) -> None:
        """Does everything that comes before the first token."""
        planned, draft = self._planned, self.draft
        if planned.asks_for_text:
            self._give_text(job)
            return
        engine = self._choose_and_see(job)
        planned = self._planned
        leave_if_cancelled(job)
        if self._lease is None:
            self._lease = self._pool.acquire(draft.choice.adapter, draft.model, job)
        lease = self._lease
        texts = self._read(lease, job)
        questions = LocalQuestions(engine, planned, self._pool, self._chooser, self._texts, job)
        if questions.image is not None:
            draft.ocr = questions.ocr(lease)
            draft.read_text = texts.get(questions.image.digest, "")
        leave_if_cancelled(job)
        use_words = planned.turn.use_words and lease.reads.words
        page = self._document(lease)
        if page is not None:
            reply = field_value(planned.turn.question, page) if planned.schema is None else None
            if reply is not None:
                self._give(reply, job)
                return
            texts = {digest: self._nearest(text) for digest, text in texts.items()}
            use_words = False
        schema, adapter = planned.schema, draft.choice.adapter
        if schema is not None and schema.fields and adapter is not None:
            chosen = questions.asker(adapter, lease, texts)
            any_page = partial(self._asker_of_any_page, questions)
            draft.by_field = FieldQuestions(schema, questions_for(schema.fields, chosen, any_page))
        grammar = schema.grammar if schema is not None else None
        draft.generation = draft.by_field or questions.ask(lease, texts, use_words, None, grammar)
        draft.weights_generation, draft.policy = (lease.weights or engine).generation, lease.policy
        draft.precision = engine.precision(lease.weights)
        draft.head = questions.head(lease)
        draft.scope = questions.scope(adapter, planned.turn.question)

    def _asker_of_any_page(self, questions: LocalQuestions) -> FieldAsker | None:
        """The adapter for any page of text on the same model, for fields that are none of the chosen one's tasks.

        None when the user named the adapter, without an image, and when there is no such adapter or it is damaged.
        """
        draft, job = self.draft, questions.job
        if questions.image is None:
            return None
        try:
            adapter = self._chooser.for_any_page(self._planned, draft.model)
            if adapter is None or adapter == draft.choice.adapter:
                return None
            lease = self._page_lease = self._pool.acquire(adapter, draft.model, job)
            if draft.model != self._pool.bases.embedded:
                self._encode(questions.engine, job, lease)
            return questions.asker(adapter, lease, self._read(lease, job))
        except UserError:
            return None

    def _nearest(self, text: str) -> str:
        """The lines of a document that the question and the fields are likely about."""
        planned, schema = self._planned, self._planned.schema
        names = () if schema is None else tuple(schema.names)
        lines = max(DOCUMENT_LINES, LINES_A_FIELD * len(names))
        return nearest_lines(text, " ".join((planned.turn.question, *names)), lines)

    def _choose_and_see(self, job: Job) -> Engine:
        """Chooses the adapter, loads the engine that runs it, and encodes the images with that engine.

        The chosen model encodes them before the choice when it is the router's as well, since the choice reads the
        same features.
        """
        planned, draft, bases = self._planned, self.draft, self._pool.bases
        routed = planned.choice is None
        engine = None if routed and planned.model != bases.embedded else self._see(job)
        if routed:
            draft.choice, draft.route_ms = self._chooser.choose(planned, self._first, job)
            model = bases.of(draft.choice.adapter, planned.model)
            if engine is None or model != draft.model:
                draft.model = model
                if bases.images_at_once(model) == 1:
                    self._planned = replace(planned, focus=planned.alone)
                engine = self._see(job)
        assert engine is not None, "an engine sees the images before the choice or after it"
        return engine

    def _see(self, job: Job) -> Engine:
        """Loads the engine of the draft's model and encodes the images.

        The router's model encodes them without the adapter, since it is cheap and the router needs them. On another
        model the adapter comes first, because it may change the vision encoder.
        """
        draft, bases = self.draft, self._pool.bases
        engine = self._pool.engine(draft.model, job)
        self.ready = time.perf_counter()
        self._pool.prefetch(draft.choice.adapter, draft.model)
        if draft.model != bases.embedded:
            self._lease = self._pool.acquire(draft.choice.adapter, draft.model, job)
        if self._planned.turn.see_images:
            self._encode(engine, job, self._lease)
        return engine

    def _give_text(self, job: Job) -> None:
        """Replies with all text in the image in question, read at its full size."""
        draft, image = self.draft, self._planned.focus.image
        assert image is not None, "asks_for_text"
        started = time.perf_counter()
        page = self._texts.page(image, job)
        draft.image_ms = 1000 * (time.perf_counter() - started)
        leave_if_cancelled(job)
        draft.choice = Choice(None, None, TEXT_READ)
        self._give(all_text(page), job)

    def _give(self, reply: BuiltInReply, job: Job) -> None:
        self.draft.reply = reply
        self.draft.first_token_ms = self._planned.elapsed()
        job.emit(TokenText(reply.text))

    def _encode(self, engine: Engine, job: Job, lease: Lease | None) -> None:
        """Encodes the images. New ones are always reported, earlier ones when they are encoded again."""
        messages = self._planned.focus.messages
        make_fit(messages, lambda: engine.fits(messages, self._planned.sampling.max_tokens))
        new = {picture.image.digest for picture in self._planned.new}
        weights = None if lease is None else lease.weights
        for message in messages:
            for image in message.images:
                if image.digest in new or not engine.is_encoded(image, weights):
                    self.draft.image_ms += self._pool.encode(image, self.draft.model, job, weights)

    def _read(self, lease: Lease, job: Job) -> dict[str, str]:
        """Text in the images, by digest, as far as the adapter's prompt uses it."""
        planned = self._planned
        if not planned.turn.see_images:
            return {}
        images = [image for message in planned.focus.messages for image in message.images]
        started = time.perf_counter()
        texts = self._texts.of(images, lease.reads, job, planned.places.scenario.budgets.image_side)
        self.draft.image_ms += 1000 * (time.perf_counter() - started)
        return texts

    def _document(self, lease: Lease) -> PageText | None:
        """The text of the image in question when the plain model is to answer and the image is a document."""
        planned = self._planned
        image = planned.focus.image if planned.turn.see_images else None
        if image is None or lease.weights is not None:
            return None
        return self._texts.known(image, lease.reads.ocr, planned.places.scenario.budgets.image_side)

    def _generate(self, job: Job, pause_below: float | None, *, continues: bool) -> StopReason | None:
        """Generates tokens until the answer ends (returns why) or is paused (returns None).

        continues: the generation was begun by an earlier job. It checks that job for cancellation, so this one is
        checked here.
        """
        draft, generation = self.draft, self.draft.generation
        assert generation is not None, "set by _begin"
        flushed = time.monotonic()
        for token in generation:
            if self._planned.sampling.top_logprobs is not None:
                job.emit(TokenLogged(token))
            if draft.first_token_ms is None:
                draft.first_token_ms = self._planned.elapsed()
                if generation.dropped_turns:
                    job.emit(ContextTrimmed(generation.dropped_turns))
            draft.logprobs.append(token.logprob)
            draft.texts.append(token.text)
            if token.text:
                job.emit(TokenText(token.text))
            if pause_below is not None and self._pauses(pause_below):
                self._recorder.save_partial(draft.text)
                self.is_paused = True
                return None
            if time.monotonic() - flushed >= FLUSH_SECONDS:
                self._recorder.save_partial(draft.text)
                flushed = time.monotonic()
            if continues:
                leave_if_cancelled(job)
        assert generation.stop_reason is not None, "set when the generation ends"
        return generation.stop_reason

    def _pauses(self, below: float) -> bool:
        generation = self.draft.generation
        if self._planned.schema is not None or generation is None or generation.stop_reason is not None:
            return False  # an answer that has to fit a schema is never half of one
        return len(self.draft.logprobs) % JUDGED_TOKENS == 0 and self.draft.is_hopeless(below)
