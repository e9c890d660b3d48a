"""A local answer while it is computed: what was measured so far, and the Answer made from it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edge_app.answer import Answer, StopReason, Timing, TokenCounts
from edge_app.schemas.fields import FieldValue
from edge_app.turns.planner import PlannedTurn
from edge_app.turns.replies.built_in_replies import BuiltInReply
from edge_app.turns.structured.field_questions import AskedField, FieldQuestions
from edge_app.turns.structured.field_values import plain_values, says_nothing, values_of
from models.scoring.text_overlap import share_in_text
from router.choice import Choice
from router.confidence.declines import is_decline
from router.confidence.rule import Confidence, ConfidenceEstimate, Evidence
from router.place_policy import Escalation, FirstPlace
from router.types import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.engine import TokenStream

NOT_ROUTED = Choice(None, None, Reason("not_routed"))


class LocalDraft:
    """Filled on the inference thread; may be read elsewhere while no job fills it.

    first: why the turn is answered on this device. session: id; None when nothing is saved.
    confidence: returns the rule, which is loaded at its first use.

    choice: the adapter. model: the name of the model that runs it.
    route_ms, image_ms: milliseconds for choosing the adapter, and for encoding and reading images.
    first_token_ms: since the turn was handed over. generation: None before generation begins.
    logprobs, texts: natural logarithms and texts, one for each token. by_field: the generation when it asks for each
        field of a schema.
    weights_generation: of the weights that answer, as in Evidence, and so is policy. precision: as in Answer.
    head, ocr: certainty of the projector's heads and of the text reader about the image in question, 0..1.
    scope: the log-odds that the question is one of the tasks of who answers, as in Evidence.
    read_text: the text of that image in the prompt; empty for none.
    reply: the text that is given instead of a generated one; None when the model answers.
    """

    def __init__(
        self,
        planned: PlannedTurn,
        first: FirstPlace,
        session: str | None,
        confidence: Callable[[], Confidence],
    ) -> None:
        self.choice = planned.choice or NOT_ROUTED
        self.model = planned.base
        self.route_ms = planned.route_ms
        self.image_ms = 0.0
        self.first_token_ms: float | None = None
        self.generation: TokenStream | None = None
        self.logprobs: list[float] = []
        self.texts: list[str] = []
        self.by_field: FieldQuestions | None = None
        self.weights_generation: int | None = None
        self.policy: str | None = None
        self.precision: str | None = None
        self.head: float | None = None
        self.scope: float | None = None
        self.ocr: float | None = None
        self.read_text = ""
        self.reply: BuiltInReply | None = None
        self._planned = planned
        self._first = first
        self._session = session
        self._confidence = confidence

    @property
    def text(self) -> str:
        if self.reply is not None:
            return self.reply.text
        return self.generation.text if self.generation is not None else ""

    @property
    def is_decline(self) -> bool:
        """Whether the text so far declines to answer."""
        if self.reply is not None:
            return self.reply.declined
        return is_decline(self.text) if self._planned.schema is None else says_nothing(self.text)

    def values(self) -> tuple[FieldValue, ...]:
        """The values of a complete answer that fits a schema; none for any other."""
        if self.by_field is not None:
            return tuple(map(self._asked_value, self.by_field.asked))
        if self._planned.schema is None:
            return ()
        if self.reply is not None:
            return plain_values(self.reply.text)
        return values_of(list(zip(self.texts, self.logprobs, strict=True)), self._judged_part)

    def _asked_value(self, field: AskedField) -> FieldValue:
        """A value whose question was answered by itself, so that the rule applies to it as to any answer.

        The rule was fitted on answers to the adapter's tasks, so that other values are not calibrated.
        """
        logprob = sum(field.logprobs)
        if field.value is None or not field.logprobs:
            return FieldValue(field.name, field.value, logprob)
        asker = field.question.asker
        evidence = replace(
            self._evidence(),
            logprobs=field.logprobs,
            adapter=asker.adapter,
            generation=asker.generation,
            policy=asker.policy,
            head=asker.head,
            ocr=asker.ocr,
            scope=field.question.scope,
            in_text=share_in_text(str(field.value), asker.page) if asker.page else None,
        )
        estimate = self._confidence().judge(evidence)
        fitted = estimate.fitted and field.question.is_task
        return FieldValue(field.name, field.value, logprob, estimate.probability, fitted)

    def _judged_part(self, logprobs: tuple[float, ...]) -> ConfidenceEstimate:
        """The confidence of a value within an answer. The rule was fitted on whole answers only."""
        estimate = self._confidence().judge(replace(self._evidence(), logprobs=logprobs))
        return replace(estimate, fitted=False)

    def is_hopeless(self, below: float) -> bool:
        """Whether the answer, when it is complete, will have a confidence below `below`, judged by its beginning."""
        return self._confidence().hopeless(self._evidence(), below)

    def escalation(self) -> Escalation | None:
        """Whether the question is asked in the cloud after the text so far; None when there is nothing to judge."""
        places, reply, estimate = self._planned.places, self.reply, self._estimate()
        if reply is not None:
            if not reply.for_cloud:
                return None
            if reply.declined:
                return places.escalation_of_decline(reply.reason)
            return None if reply.probability is None else places.escalation(reply.probability)
        if self.is_decline:
            return places.escalation_of_decline(Reason("declined"))
        return None if estimate is None else places.escalation(estimate.probability)

    def answer(self, stop_reason: StopReason) -> Answer:
        """The answer if it ends here. Only a complete answer has its confidence in the label, and an offer."""
        planned, generation, logprobs = self._planned, self.generation, self.logprobs
        estimate = self._estimate()
        judged = self.escalation() if stop_reason != "cancelled" else None
        label = planned.places.local_label(*self._reasons(judged))
        probability = None if estimate is None else estimate.probability
        return Answer(
            text=self.text,
            adapter=self.choice.adapter,
            place="local",
            mode=planned.turn.mode,
            confidence=probability,
            declined=self.is_decline,
            calibrated=estimate is not None and estimate.fitted,
            reason=str(label),
            reason_kind=label.kind,
            model=self.model,
            stop_reason=stop_reason,
            tokens=TokenCounts(
                prompt=generation.prompt_tokens,
                image=generation.image_tokens,
                cached=generation.cached_tokens,
                completion=generation.completion_tokens,
            )
            if generation
            else TokenCounts(),
            timings=Timing(
                route=self.route_ms,
                image=self.image_ms,
                prefill=generation.prefill_ms if generation else 0.0,
                first_token=self.first_token_ms,
                total=planned.elapsed(),
            ),
            tokens_per_second=self._speed(),
            session=self._session,
            mean_logprob=sum(logprobs) / len(logprobs) if logprobs else None,
            min_logprob=min(logprobs) if logprobs else None,
            precision=self.precision,
            evidence=self._evidence() if self.reply is None else None,
            offer=planned.places.offer(probability) if judged is not None else None,
            fields=self.values() if stop_reason != "cancelled" else (),
        )

    def _reasons(self, judged: Escalation | None) -> tuple[Reason, ...]:
        """Why this device answers, why with this adapter, and why the answer is kept. A reply has its own reason."""
        first, kept = self._first.reasons, () if judged is None else judged.reasons
        if self.reply is not None:
            return (*first, *(kept if kept and self.reply.declined else (self.reply.reason, *kept)))
        return (*first, self.choice.reason, *kept)

    def _estimate(self) -> ConfidenceEstimate | None:
        """The confidence of the text so far; None for a decline, and when nothing was generated."""
        if self.reply is not None and self.reply.probability is not None:
            return ConfidenceEstimate(self.reply.probability, fitted=False)
        if not self.logprobs or self.is_decline:
            return None
        if self._planned.schema is not None:
            return self._estimate_of_values()
        return self._confidence().judge(self._evidence())

    def _estimate_of_values(self) -> ConfidenceEstimate:
        """That of the least sure value: values of one page are right or wrong together more often than by chance."""
        known = [value.confidence for value in self.values() if value.confidence is not None]
        if known:
            return ConfidenceEstimate(min(known), fitted=False)
        return replace(self._confidence().judge(self._evidence()), fitted=False)

    def _speed(self) -> float | None:
        """Tokens per second of decoding; the first token comes from the prefill and is not counted."""
        generation = self.generation
        decoded = generation.completion_tokens - 1 if generation is not None else 0
        if generation is None or decoded <= 0 or generation.decode_ms <= 0:
            return None
        return 1000 * decoded / generation.decode_ms

    def _evidence(self) -> Evidence:
        """What the confidence of the answer so far is computed from.

        margin: the best score minus the second best, where no adapter has the score 0.
        """
        candidates = [candidate.score for candidate in self.choice.candidates]
        scores = sorted([0.0, *candidates], reverse=True)
        return Evidence(
            logprobs=tuple(self.logprobs),
            adapter=self.choice.adapter,
            generation=self.weights_generation,
            head=self.head,
            route=self.choice.probability,
            margin=scores[0] - scores[1] if candidates else None,
            has_image=self._planned.turn.see_images and self._planned.focus.image is not None,
            ocr=self.ocr,
            in_text=share_in_text(self.text, self.read_text) if self.read_text else None,
            scope=self.scope,
            policy=self.policy,
        )
