"""The course of one turn: which place is asked first, what follows from its answer, and whatever goes wrong.

Local answers are computed on the inference thread (edge_app/turns/local_answer.py), the endpoint's on the thread that
reads the events (edge_app/turns/cloud_answer.py). A local answer is on disk before the endpoint is asked, and is
the answer whenever the endpoint has none. Knows neither how answers come about nor how anything is shown.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from edge_app.cloud.access import Remote
from edge_app.costs.outlook import Outlook
from edge_app.engine.inference_thread import InferenceThread, Job
from edge_app.events import Answer, Answered, CloudFailed, Escalated, Event, Failed, Routed, TurnSaved
from edge_app.reason_text import Label, clause, inside
from edge_app.storage.sessions import SessionStore
from edge_app.turns.cloud_answer import RemoteAnswering
from edge_app.turns.local_answer import Answering, Equipment
from edge_app.turns.planned_turn import Planned
from models.core.errors import NeedsNetwork, UserError
from router.place_policy import Escalation, FirstPlace
from router.reason import Reason

CLOUD_FAILED = 4
"""The exit code when the endpoint failed and there is no local answer."""

Events = Generator[Event, None, None]


@dataclass(frozen=True)
class Ground:
    """What turns run on. sessions: None saves nothing."""

    thread: InferenceThread
    equipment: Equipment
    sessions: SessionStore | None
    remote: Remote
    outlook: Outlook


class Course:
    """Iterate `run` or `again`, once; `cancel` from any thread."""

    def __init__(self, planned: Planned, ground: Ground) -> None:
        self._planned = planned
        self._ground = ground
        self._places = planned.places
        self._stopped = threading.Event()
        self._job: Job | None = None
        self._at: Literal["start", "here", "there", "end"] = "start"
        self._local: Answer | None = None
        self._remote: RemoteAnswering | None = None
        self._interruption: KeyboardInterrupt | None = None

    def cancel(self) -> None:
        """Stops whatever is under way; what came is kept."""
        self._stopped.set()
        if (job := self._job) is not None:
            self._ground.thread.cancel(job)

    def run(self) -> Events:
        """The turn's events, ending in Answered or Failed. A KeyboardInterrupt while waiting stops the answer,
        and is raised again after the last event. Who leaves early finds on disk what had come."""
        return self._guarded(self._run())

    def again(self, before: Answer | None, kept: str | None) -> Events:
        """Likewise, for a turn that has been answered: the endpoint is asked because the user wants it.

        before: its answer, None when it has none. kept: its local answer, as far as it came.
        """
        return self._guarded(self._again(before, kept))

    def _guarded(self, events: Events) -> Events:
        try:
            yield from events
        finally:
            if self._at != "end":
                self._leave()
        if self._interruption is not None:
            raise self._interruption

    # -- one place after the other

    def _run(self) -> Events:
        saved = self._planned.saved
        if saved is not None:
            yield TurnSaved(saved.session, saved.turn)
        first = self._places.first()
        if first.place == "local":
            yield from self._here(first)
            return
        yield Routed(self._places.cloud_route(first), self._planned.turn.mode, self._planned.route_ms)
        remote = yield from self._there(self._places.cloud_label(first), None)
        if remote.whole or remote.cancelled:
            yield self._end(remote.answer())
        else:
            yield from self._here(self._places.local_after_failure(obstacle(remote)))

    def _again(self, before: Answer | None, kept: str | None) -> Events:
        self._local = before
        remote = yield from self._there(self._places.asked_label(), kept)
        if remote.has_answer:
            yield self._end(remote.answer())
        elif before is not None:
            yield self._end(self._unchanged(before, remote))
        else:
            self._at = "end"
            why = obstacle(remote)
            yield Failed(f"There is no answer: {clause(why)}.", self._code(remote))

    def _here(self, first: FirstPlace) -> Events:
        planned, ground, tried = self._planned, self._ground, self._remote
        if planned.choice is not None:
            ground.equipment.host.prefetch(planned.choice.adapter)
            yield Routed(self._places.route(planned.choice, first), planned.turn.mode, planned.route_ms)
        give_up = self._places.give_up_below if tried is None else None
        answering = Answering(planned, first, ground.equipment, ground.sessions, give_up)
        try:
            yield from self._compute(answering, answering.run)
            doubt = self._doubts(answering) if tried is None else None
            if doubt is None:
                yield self._local_end(answering)
                return
            self._local = answering.partial() if answering.gave_up else answering.answer
            assert self._local is not None, "it is doubted"
            label = self._places.cloud_label(doubt)
            remote = yield from self._there(label, self._local.text, doubt.threshold, self._local.confidence)
            if remote.has_answer:
                yield self._end(remote.answer())
                return
            if answering.gave_up and not remote.cancelled:
                yield from self._compute(answering, answering.resume)
            yield self._local_end(answering)
        finally:
            answering.drop()

    def _compute(self, answering: Answering, action: Callable[[Job], None]) -> Events:
        """On the inference thread. A local answer that ended is saved, and what it took is remembered."""
        self._at, thread, meter = "here", self._ground.thread, self._ground.outlook.begin()
        job = self._job = thread.submit(action, answering.stopped)
        if self._stopped.is_set():
            thread.cancel(job)
        try:
            yield from job
        except KeyboardInterrupt as interruption:  # raised while waiting: the answer ends as cancelled
            self._interruption = interruption
            self.cancel()
            yield from job
        finally:
            if not job.over:
                thread.cancel(job)
                for _ in job:  # it must be saved as stopped before anyone goes on
                    pass
            self._job = None
        if answering.answer is not None:
            self._ground.outlook.learn_local(answering.answer, answering.ready, meter)

    def _there(
        self,
        label: Label,
        kept: str | None,
        threshold: float | None = None,
        probability: float | None = None,
    ) -> Generator[Event, None, RemoteAnswering]:
        """The endpoint's events, and that it failed when it did. threshold, probability: as in Escalated."""
        why = Escalated(str(label), threshold, probability, label.kind)
        ground, self._at = self._ground, "there"
        remote = RemoteAnswering(self._planned, ground.remote, ground.sessions, why, kept, self._stopped)
        self._remote, meter = remote, ground.outlook.begin()
        try:
            yield from remote.run()
        finally:
            self._interruption = self._interruption or remote.interruption
        if remote.whole:
            ground.outlook.learn_remote(remote.answer(), remote.seconds, meter)
        if remote.error is not None:
            remote.save_broken()
            yield CloudFailed(str(remote.error), kept)
        return remote

    def _doubts(self, answering: Answering) -> Escalation | None:
        """The decision on a local answer when it leads to the cloud."""
        if self._stopped.is_set():
            return None
        if answering.gave_up:
            return self._places.escalation(answering.partial().confidence or 0.0)
        answer = answering.answer
        if answer is None or answer.confidence is None or answer.stop_reason == "cancelled":
            return None
        escalation = self._places.escalation(answer.confidence)
        return escalation if escalation.escalate else None

    # -- the end

    def _local_end(self, answering: Answering) -> Event:
        """The local answer, with what became of the cloud's; or its failure."""
        remote, failure = self._remote, answering.failure
        if failure is not None:
            return self._no_answer(failure, answering.text)
        answer = answering.partial() if answering.gave_up else answering.answer
        assert answer is not None, "a computation ends in an answer or a failure"
        if remote is None:
            self._at = "end"
            return Answered(answer)  # saved as it is
        asked_first = self._local is None  # then the label says already why the cloud is not the answer
        return self._end(
            replace(answer, broken=remote.text or None) if asked_first else self._unchanged(answer, remote)
        )

    def _unchanged(self, local: Answer, remote: RemoteAnswering) -> Answer:
        """The answer that was there stays; its label says what became of the cloud's."""
        label = Label("", self._places.elsewhere, (Reason("text", {"text": local.reason}), obstacle(remote)))
        return replace(local, reason=str(label), reason_kind=label.kind, broken=remote.text or local.broken)

    def _no_answer(self, failure: Failed, text: str) -> Event:
        self._at = "end"
        saved, remote = self._planned.saved, self._remote
        if remote is None or remote.error is None or self._stopped.is_set():
            return failure
        sentence = f"{remote.error} There is no local answer either: {inside(failure.message)}."
        if self._ground.sessions is not None and saved is not None:
            with suppress(UserError):  # the first failure is the one to tell
                self._ground.sessions.fail_turn(saved, text, sentence)
        return Failed(sentence, CLOUD_FAILED)

    def _code(self, remote: RemoteAnswering) -> int:
        if remote.error is not None:
            return CLOUD_FAILED
        obstacle = self._places.standing.obstacle
        is_offline = obstacle is not None and obstacle.kind == "offline"
        return NeedsNetwork.exit_code if is_offline else UserError.exit_code

    def _end(self, answer: Answer) -> Event:
        self._at = "end"
        try:
            self._save(answer)
        except UserError as error:
            return Failed(str(error), error.exit_code)
        return Answered(answer)

    def _save(self, answer: Answer) -> None:
        saved = self._planned.saved
        if self._ground.sessions is not None and saved is not None:
            status: Literal["stopped", "complete"] = (
                "stopped" if answer.stop_reason == "cancelled" else "complete"
            )
            self._ground.sessions.finish_turn(saved, status, answer)

    def _leave(self) -> None:
        """Nobody reads on. A local computation has been saved where it was; the rest is saved here."""
        self._stopped.set()
        remote, ground = self._remote, self._ground
        if self._at == "here":
            return
        with suppress(UserError):  # there is nobody left to be told
            if remote is not None and remote.has_answer:
                self._save(remote.answer())
            elif remote is not None and self._local is not None:
                self._save(self._unchanged(self._local, remote))
            else:
                Answering(self._planned, FirstPlace("local"), ground.equipment, ground.sessions).leave()


def obstacle(remote: RemoteAnswering) -> Reason:
    """Why there is no answer from there."""
    if remote.error is not None:
        return Reason("cloud_failed", {"error": str(remote.error)})
    return remote.refused or Reason("cloud_not_awaited")
