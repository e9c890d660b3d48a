"""Gets the cloud answer of a turn: obtains consent, streams the answer, and saves it while it comes.

Runs on the thread that reads the turn's events.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from dataclasses import replace

from edge_app.answer import Answer, StopReason, Timing, TokenCounts
from edge_app.cloud.access import CloudAccess
from edge_app.cloud.errors import CloudError
from edge_app.cloud.payload import Payload, tokens_of
from edge_app.cloud.protocol.answer_reader import CloudDone, CloudWaiting
from edge_app.cloud.protocol.dialect import is_about_images
from edge_app.cloud.protocol.thinking import CloudText, CloudThinking
from edge_app.events import Escalated, Event, Progress, ThinkingText, TokenText
from edge_app.reason_text import clause, inside
from edge_app.schemas.answer_schema import AnswerSchema
from edge_app.turns.planner import PlannedTurn
from edge_app.turns.recorder import TimedSaver, TurnRecorder
from edge_app.turns.structured.field_values import plain_values, says_nothing
from edge_app.turns.structured.instruction import with_schema
from models.core.errors import UserError
from models.core.types import Message
from router.confidence.declines import is_decline
from router.types import Reason


class CloudAnswer:
    """One answer from the endpoint. Iterate `run` once.

    why: the event that announces the request. kept: the local answer, or its beginning, which stays untouched; None
    when there is none. stopped: set from any thread to end the answer within a tenth of a second. adapter: that answers
    or would answer here; an endpoint that lists a model of that name is asked for it. None for none. route: finds that
    adapter, with its events, where it is not known yet. It is called only if the endpoint lists a model named like an
    adapter that may be chosen. None where there is nothing to find.

    After `run` exactly one of these holds: `whole` (complete), `cancelled`, `refused` (the reason why nothing was sent)
    or `error`. text: what was received in any case. interruption: the KeyboardInterrupt that cancelled the answer.
    """

    def __init__(
        self,
        planned: PlannedTurn,
        access: CloudAccess,
        recorder: TurnRecorder,
        why: Escalated,
        kept: str | None,
        stopped: threading.Event,
        adapter: str | None = None,
        route: Callable[[], Generator[Event, None, str | None]] | None = None,
    ) -> None:
        self.text = ""
        self.whole = False
        self.cancelled = False
        self.refused: Reason | None = None
        self.error: UserError | None = None
        self.interruption: KeyboardInterrupt | None = None
        self._planned = planned
        self._access = access
        self._recorder = recorder
        self._why = why
        self._kept = kept
        self._stopped = stopped
        self._adapter = adapter
        self._route = route if planned.choosable else None
        self._model: str | None = None
        self._request: Payload | None = None
        self._done: CloudDone | None = None
        self._first_token_ms: float | None = None
        self._sent = time.perf_counter()
        self._saver = TimedSaver(self._save)

    @property
    def has_answer(self) -> bool:
        """Whether the text is the turn's answer: it is complete, or the user stopped it after its beginning."""
        return self.whole or (self.cancelled and bool(self.text))

    @property
    def seconds(self) -> float:
        """Since the request was sent."""
        return time.perf_counter() - self._sent

    @property
    def obstacle(self) -> Reason:
        """Why there is no answer."""
        if self.error is not None:
            return Reason("cloud_failed", {"error": str(self.error)})
        return self.refused or Reason("cloud_not_awaited")

    def run(self) -> Generator[Event, None, None]:
        """The events: `why` once the request is sent, then Progress and ThinkingText, and TokenText."""
        try:
            yield from self._run()
        except CloudError as error:
            self.cancelled = error.kind == "cancelled"
            self.error = None if self.cancelled else error
        except UserError as error:  # after a complete answer it does not matter
            self.error = None if self.whole else error
        except KeyboardInterrupt as interruption:
            self._stopped.set()
            self.cancelled, self.interruption = True, interruption
        except GeneratorExit:
            self.cancelled = True
            raise
        else:
            may_have_expert = self._adapter is not None or self._route is not None
            if self.whole and may_have_expert and not self._access.knows_models():
                with suppress(UserError):  # for the next question, since the user has allowed the host
                    self._access.list_models(self._recorder.session, self._stopped)
        finally:
            self._saver.stop()

    def answer(self) -> Answer:
        """The answer, complete or stopped."""
        planned, request, done = self._planned, self._request, self._done
        stop_reason: StopReason = done.stop_reason if done is not None else "cancelled"
        prompt, completion = request.prompt_tokens if request is not None else 0, tokens_of(self.text)
        if done is not None and done.prompt_tokens is not None and done.completion_tokens is not None:
            prompt, completion = done.prompt_tokens, done.completion_tokens
        return Answer(
            text=self.text,
            adapter=None,
            place="cloud",
            mode=planned.turn.mode,
            confidence=None,
            declined=is_decline(self.text) if planned.schema is None else says_nothing(self.text),
            reason=self._why.reason,
            reason_kind=self._why.reason_kind,
            model=request.endpoint.model if request is not None else "",
            stop_reason=stop_reason,
            tokens=TokenCounts(prompt=prompt, completion=completion),
            timings=Timing(route=planned.route_ms, first_token=self._first_token_ms, total=planned.elapsed()),
            tokens_per_second=self._speed(completion),
            session=self._recorder.session,
            kept=self._kept,
            fields=plain_values(self.text) if planned.schema is not None and self.whole else (),
        )

    def _run(self) -> Generator[Event, None, None]:
        self.cancelled = self._stopped.is_set()
        self.refused = self._planned.places.standing.obstacle
        if self.cancelled or self.refused is not None:
            return
        turn, session = self._planned.turn, self._recorder.session
        side = self._planned.places.scenario.budgets.image_side
        yield from self._choose_model()
        self.cancelled = self._stopped.is_set()
        if self.cancelled:
            return
        request = self._proposed(self._planned.messages, side)
        self.refused = self._access.refusal(
            request, self._why.reason, session, self._stopped, allow_cloud=turn.allow_cloud
        )
        if self._stopped.is_set():
            self.cancelled, self.refused = True, None
        if self.cancelled or self.refused is not None:
            return
        try:
            yield from self._stream(request)
        except CloudError as error:
            if error.kind == "no_model" and self._model is not None:
                self._access.forget_models()
            if not request.images or not is_about_images(error):
                raise
            yield from self._stream(self._without_images(error, side))

    def _choose_model(self) -> Generator[Event, None, None]:
        """Lets the expert go along: asks for the endpoint's model that is named like the adapter, if it lists one."""
        adapters = self._planned.choosable if self._adapter is None else (self._adapter,)
        if self._adapter is None and self._route is None:
            return
        permission, session = self._planned.places.standing.permission, self._recorder.session
        listed = self._access.experts(adapters, permission, session, self._stopped)
        if listed and self._route is not None and not self._stopped.is_set():
            self._adapter = yield from self._route()
        if self._adapter in listed:
            self._model = self._adapter
            asked = clause(Reason("expert_asked", {"model": self._model}))
            self._why = replace(self._why, reason=f"{self._why.reason}; {asked}")

    def _without_images(self, error: CloudError, side: int | None) -> Payload:
        """The request without its images, if the user agrees to that; else raises the error."""
        messages = [replace(message, images=()) for message in self._planned.messages]
        request = self._proposed(messages, side)
        why = f"{inside(str(error))}; this is the question without images"
        if self._access.refusal_to_change(request, why, self._recorder.session, self._stopped) is not None:
            raise error
        change = Reason("without_images")
        self._why = replace(
            self._why, reason=f"{self._why.reason}; {clause(change)}", reason_kind=change.kind
        )
        return request

    def _proposed(self, messages: Sequence[Message], side: int | None) -> Payload:
        schema = self._planned.schema
        if schema is not None:
            messages = with_schema(messages, schema)
        return self._access.propose(messages, self._planned.sampling, side, self._model, schema)

    def _stream(self, request: Payload) -> Generator[Event, None, None]:
        """Sends a request that the user has allowed."""
        self._request, self._sent = request, time.perf_counter()
        yield self._why
        with closing(self._access.ask(request, self._recorder.session, self._stopped)) as pieces:
            for piece in pieces:
                match piece:
                    case CloudDone():
                        # goes on, because the breaker counts an answer as failed that is not read to its end
                        self._done, self.whole = piece, True
                    case CloudText(text):
                        self._first_token_ms = self._first_token_ms or self._planned.elapsed()
                        self.text += text
                        if self._planned.schema is None:
                            self._saver.text_came()
                            yield TokenText(text)
                    case CloudThinking(text):
                        yield ThinkingText(text)
                    case CloudWaiting():
                        yield Progress("wait", piece.message, piece.done, piece.total)
        if self._planned.schema is not None:
            yield self._fitted(self._planned.schema, request)

    def _fitted(self, schema: AnswerSchema, request: Payload) -> TokenText:
        """The text of an answer that fits the schema. Raises CloudError when it does not."""
        text = schema.fitted(self.text)
        if text is None:
            self.whole = False
            raise CloudError("malformed", f"The answer of {request.endpoint} does not fit the schema.")
        self.text = text
        return TokenText(text)

    def _save(self) -> None:
        """The text so far: as the turn's answer, or beside the local answer when there is one."""
        if self._kept is None:
            with suppress(UserError):  # reported at the end of the turn
                self._recorder.save_partial(self.text)
        else:
            self._recorder.save_broken(self.text)

    def _speed(self, completion: int) -> float | None:
        """Tokens per second, where the endpoint counts the tokens."""
        streaming = self._planned.elapsed() - (self._first_token_ms or 0.0)
        if self._done is None or self._done.completion_tokens is None or completion < 2 or streaming <= 0:
            return None
        return 1000 * (completion - 1) / streaming
