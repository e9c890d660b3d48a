"""Runs a planned turn: which place is asked first, what follows from its answer, cancellation and saving.

Local answers are computed on the inference thread (edge_app/turns/local_answer.py), cloud answers on the thread that
reads the events (edge_app/turns/cloud_answer.py). A local answer is on disk before the endpoint is asked. It is the
turn's answer whenever the endpoint gives none.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from edge_app.answer import Answer
from edge_app.cloud.access import CloudAccess
from edge_app.costs.averages import CostAverages
from edge_app.engine.inference_thread import InferenceThread
from edge_app.events import (
    Answered,
    CloudFailed,
    Escalated,
    Event,
    Failed,
    Notice,
    Routed,
    TokenText,
    Turn,
    TurnSaved,
)
from edge_app.reason_text import Label, clause, inside, sentence
from edge_app.storage.session_records import SavedTurn, SavedTurnId
from edge_app.storage.sessions import SessionStore
from edge_app.turns.cloud_answer import CloudAnswer
from edge_app.turns.local_answer import LocalAnswer, LocalResources
from edge_app.turns.planner import PlannedTurn
from edge_app.turns.recorder import TurnRecorder
from edge_app.turns.replies.built_in_replies import BuiltInReply, built_in_reply
from edge_app.turns.replies.text_replies import TEXT_READ
from edge_app.turns.turn_jobs import TurnJobs
from models.core.errors import NeedsNetwork, UserError
from router.choice import Choice
from router.place_policy import Escalation, FirstPlace
from router.types import Reason

CLOUD_FAILED = 4
"""The exit code when the endpoint failed and there is no local answer."""

ROUTER_SECONDS = 10.0
"""The longest wait for the router and its model's load, unless the adapters that come with the app are installed."""

Events = Generator[Event, None, None]


@dataclass(frozen=True)
class TurnDependencies:
    """What turns need. sessions: None saves nothing."""

    thread: InferenceThread
    local: LocalResources
    sessions: SessionStore | None
    cloud: CloudAccess
    costs: CostAverages


class TurnRunner:
    """Runs one turn. Iterate the events of `answer` or of `ask_again` once; `cancel` may be called from any thread.

    If the caller closes the iterator, the text so far is saved with status "stopped". A KeyboardInterrupt while waiting
    stops the answer, and is raised again after the last event.
    """

    def __init__(self, planned: PlannedTurn, dependencies: TurnDependencies) -> None:
        self._planned = planned
        self._places = planned.places
        self._dependencies = dependencies
        self._recorder = TurnRecorder(None, None)
        self._jobs = TurnJobs(dependencies.thread)
        self._stopped = self._jobs.stopped
        self._stage: Literal["start", "local", "cloud", "end"] = "start"
        self._kept: Answer | None = None
        self._cloud: CloudAnswer | None = None
        self._reply: BuiltInReply | None = None

    @property
    def turn(self) -> Turn:
        return self._planned.turn

    def cancel(self) -> None:
        """Stops the running answer. The text so far is kept."""
        self._jobs.cancel()

    def answer(self) -> Events:
        """Saves the question and answers it. The events end in Answered or Failed."""
        sessions = self._dependencies.sessions
        try:
            self._recorder = TurnRecorder.begin(sessions, self._planned)
        except UserError as error:
            yield Failed(str(error), error.exit_code)
            return
        yield from self._guarded(self._answer(), self._unstarted)

    def ask_again(self, saved: SavedTurn) -> Events:
        """Asks the endpoint because the user wants that. The events end in Answered, or in Failed.

        saved: the turn. Its answer stays when the endpoint gives none, and is kept beside the new one otherwise.
        """
        assert self._planned.session is not None, "a saved turn belongs to a session"
        self._recorder = TurnRecorder(
            self._dependencies.sessions, SavedTurnId(self._planned.session, saved.id)
        )
        yield from self._guarded(self._ask_again(saved), lambda: None)

    # -- one place after the other

    def _answer(self) -> Events:
        saved = self._recorder.saved
        if saved is not None:
            yield TurnSaved(saved.session, saved.turn)
        reply = self._reply = built_in_reply(self._planned)
        stays_here = self._planned.asks_for_text if reply is None else not reply.for_cloud
        first = FirstPlace("local") if stays_here else self._places.first()
        if first.place == "local":
            yield from self._answer_here(first)
            return
        yield Routed(self._places.cloud_route(first), self._planned.turn.mode, self._planned.route_ms)
        choice, label = self._planned.choice, self._places.cloud_label(first)
        adapter, route = (None, self._route) if choice is None else (choice.adapter, None)
        cloud = yield from self._ask_cloud(label, None, adapter=adapter, route=route)
        if cloud.whole or cloud.cancelled:
            yield self._end(cloud.answer())
        else:
            yield from self._answer_here(self._places.local_after_failure(cloud.obstacle))

    def _ask_again(self, saved: SavedTurn) -> Events:
        before = self._kept = saved.result
        local_text = saved.kept if saved.kept is not None else saved.answer or None
        adapter = before.adapter if before is not None else None
        cloud = yield from self._ask_cloud(self._places.asked_label(), local_text, adapter=adapter)
        if cloud.has_answer:
            yield self._end(cloud.answer())
        elif before is not None:
            yield self._end(self._unchanged(before, cloud))
        else:
            self._stage = "end"
            yield Failed(f"There is no answer: {clause(cloud.obstacle)}.", self._exit_code(cloud))

    def _answer_here(self, first: FirstPlace) -> Events:
        """Answers on this device. If the cloud has failed before, this answer counts whatever its confidence.

        first: this device, with the reasons for it.
        """
        planned, resources, asked_first = self._planned, self._dependencies.local, self._cloud is not None
        local = LocalAnswer(planned, first, resources, self._recorder)
        choice = planned.choice
        if self._reply is not None or planned.asks_for_text:
            choice = Choice(None, None, TEXT_READ if self._reply is None else self._reply.reason)
        if choice is not None:
            model = planned.base if choice is planned.choice else planned.model
            resources.pool.prefetch(choice.adapter, model)
            yield Routed(self._places.route(choice, first, model), planned.turn.mode, planned.route_ms)
            if (message := resources.notice(choice.reason)) is not None:
                yield Notice(message)
        try:
            if self._reply is not None:
                yield from self._give(self._reply, local)
            else:
                yield from self._compute(local, None if asked_first else self._places.pause_below)
            if local.is_too_long and not asked_first:
                yield from self._ask_about_more(local)
                return
            doubt = None if asked_first else self._doubt(local)
            if doubt is None:
                yield self._local_end(local)
                return
            kept = self._kept = self._complete_or_not(local)
            label, adapter = self._places.cloud_label(doubt), local.draft.choice.adapter
            cloud = yield from self._ask_cloud(label, kept.text, doubt.threshold, kept.confidence, adapter)
            if cloud.has_answer:
                yield self._end(cloud.answer())
                return
            if local.is_paused and not cloud.cancelled:
                yield from self._compute(local, None)
            yield self._local_end(local)
        finally:
            local.release()

    def _ask_about_more(self, local: LocalAnswer) -> Events:
        """Asks the cloud a question that is too long for this device, where the mode asks about declines."""
        judged = self._places.escalation_of_decline(Reason("question_too_long"))
        assert isinstance(local.outcome, Failed), "a question that is too long has no local answer"
        if not judged.escalate:
            self._stage = "end"
            why = [sentence(reason, self._places.elsewhere) for reason in judged.reasons[1:]]
            yield replace(local.outcome, message=" ".join([local.outcome.message, *why]))
            return
        label, adapter = self._places.cloud_label(judged), local.draft.choice.adapter
        cloud = yield from self._ask_cloud(label, None, adapter=adapter)
        yield self._end(cloud.answer()) if cloud.has_answer else self._no_answer(local.outcome, cloud.text)

    def _give(self, reply: BuiltInReply, local: LocalAnswer) -> Events:
        """Gives a built-in reply, which is saved before it is shown."""
        local.reply(reply)
        self._stage = "local"
        yield TokenText(reply.text)

    def _compute(self, local: LocalAnswer, pause_below: float | None) -> Events:
        """Runs the computation on the inference thread. Updates the cost averages when the answer ended."""
        self._stage, before = "local", self._dependencies.costs.begin()
        yield from self._jobs.run(lambda job: local.compute(job, pause_below), lambda _: local.stop())
        if isinstance(local.outcome, Answer) and local.draft.reply is None:
            self._dependencies.costs.learn_local(local.outcome, local.ready, before)

    def _route(self) -> Generator[Event, None, str | None]:
        """The adapter that the router chooses for a question that the endpoint is asked first.

        None when it chooses none, when it fails, and after the longest wait.
        """
        found: list[str | None] = [None]
        choose = partial(self._dependencies.local.chooser.adapter_for_cloud, self._planned)
        seconds = None if self._planned.coming else ROUTER_SECONDS
        yield from self._jobs.run(lambda job: found.append(choose(job)), lambda _: None, seconds)
        return found[-1]

    def _ask_cloud(
        self,
        label: Label,
        kept: str | None,
        threshold: float | None = None,
        probability: float | None = None,
        adapter: str | None = None,
        route: Callable[[], Generator[Event, None, str | None]] | None = None,
    ) -> Generator[Event, None, CloudAnswer]:
        """The endpoint's events, ending in CloudFailed when it failed.

        threshold, probability: as in Escalated. adapter, route: as in CloudAnswer.
        """
        why = Escalated(str(label), threshold, probability, label.kind)
        needs, self._stage = self._dependencies, "cloud"
        cloud = CloudAnswer(
            self._planned, needs.cloud, self._recorder, why, kept, self._stopped, adapter, route
        )
        self._cloud, before = cloud, needs.costs.begin()
        yield from cloud.run()
        if cloud.whole:
            needs.costs.learn_cloud(cloud.answer(), cloud.seconds, before)
        if cloud.error is not None:
            if cloud.text:
                self._recorder.save_broken(cloud.text)
            yield CloudFailed(str(cloud.error), kept)
        return cloud

    def _doubt(self, local: LocalAnswer) -> Escalation | None:
        """The decision to ask the cloud after a local answer; None when the local answer stays."""
        if self._stopped.is_set():
            return None
        escalation, answer = local.draft.escalation(), local.outcome
        if local.is_paused:
            return escalation
        if escalation is None or not isinstance(answer, Answer) or answer.stop_reason == "cancelled":
            return None
        return escalation if escalation.escalate else None

    # -- the end

    def _local_end(self, local: LocalAnswer) -> Event:
        """The end of a turn that the local answer decides. Its label says why there is none from the cloud."""
        if isinstance(local.outcome, Failed):
            return self._no_answer(local.outcome, local.draft.text)
        answer, cloud = self._complete_or_not(local), self._cloud
        if cloud is None:
            self._stage = "end"
            return Answered(answer)  # saved on the inference thread
        if self._kept is None:  # the cloud was asked first, so the label says already why it has no answer
            return self._end(replace(answer, broken=cloud.text or None))
        return self._end(self._unchanged(answer, cloud))

    @staticmethod
    def _complete_or_not(local: LocalAnswer) -> Answer:
        """The answer, or the beginning of a paused one."""
        if isinstance(local.outcome, Answer):
            return local.outcome
        return local.draft.answer("cancelled")

    def _unchanged(self, local: Answer, cloud: CloudAnswer) -> Answer:
        """The local answer, with a label that says why there is none from the cloud."""
        label = Label("", self._places.elsewhere, (Reason("text", {"text": local.reason}), cloud.obstacle))
        return replace(local, reason=str(label), reason_kind=label.kind, broken=cloud.text or local.broken)

    def _no_answer(self, failure: Failed, text: str) -> Event:
        """The local failure. When the cloud failed too, the turn is saved with both errors."""
        self._stage, cloud = "end", self._cloud
        if cloud is None or cloud.error is None or self._stopped.is_set():
            return failure
        sentence = f"{cloud.error} There is no local answer either: {inside(failure.message)}."
        self._recorder.fail(text, sentence)
        return Failed(sentence, CLOUD_FAILED)

    def _exit_code(self, cloud: CloudAnswer) -> int:
        if cloud.error is not None:
            return CLOUD_FAILED
        obstacle = self._places.standing.obstacle
        is_offline = obstacle is not None and obstacle.kind == "offline"
        return NeedsNetwork.exit_code if is_offline else UserError.exit_code

    def _end(self, answer: Answer) -> Event:
        self._stage = "end"
        try:
            self._recorder.finish(answer)
        except UserError as error:
            return Failed(str(error), error.exit_code)
        return Answered(answer)

    # -- the caller closes the iterator

    def _guarded(self, events: Events, otherwise: Callable[[], Answer | None]) -> Events:
        """The events. Saves the answer so far if the caller closes the iterator before the end.

        otherwise: the answer to save if the iterator is closed before any place has answered; None saves nothing.
        """
        try:
            yield from events
        finally:
            if self._stage != "end":
                self._save_on_leaving(otherwise)
        for part in (self._jobs, self._cloud):
            if part is not None and part.interruption is not None:
                raise part.interruption

    def _save_on_leaving(self, otherwise: Callable[[], Answer | None]) -> None:
        """Saves the answer so far. At stage "local" the inference thread has saved it already."""
        self._stopped.set()
        if self._stage == "local":
            return
        cloud = self._cloud
        if cloud is not None and cloud.has_answer:
            answer: Answer | None = cloud.answer()
        elif cloud is not None and self._kept is not None:
            answer = self._unchanged(self._kept, cloud)
        else:
            answer = otherwise()
        if answer is not None:
            with suppress(UserError):  # no event can be sent any more
                self._recorder.finish(answer)

    def _unstarted(self) -> Answer:
        """The answer of a turn that was stopped before its computation began."""
        draft = self._dependencies.local.draft(self._planned, FirstPlace("local"), self._recorder.session)
        return draft.answer("cancelled")
