"""The assistant: one turn in, a stream of typed events out. Headless; front ends are thin shells over it.

Knows turns, sessions and the order of things. Does not know how tokens are computed (models/), which adapter
suits a question (router/) or how an event is shown.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Sequence

from adapters.store import AdapterStore
from edge_app import paths
from edge_app.answering import Answering, Planned
from edge_app.context import Pictures, assemble, new_images
from edge_app.events import Event, Failed, Ready, Routed, TurnSaved
from edge_app.host import EngineHost, LoadEngine, load_engine
from edge_app.inference import CancelledError, InferenceThread, Job
from edge_app.sessions import SessionStore
from edge_app.settings import Settings
from edge_app.turn import Picture, Turn
from models.errors import UserError
from router.route import route

__all__ = ["Assistant", "Turn"]


class Assistant:
    """Answers turns. The methods may be called from any thread; the engine stays on its own.

    sessions: where turns are saved; None saves nothing and every turn stands alone.
    load: makes the engine, at its first use.
    """

    def __init__(
        self, settings: Settings, sessions: SessionStore | None, load: LoadEngine = load_engine
    ) -> None:
        self.settings = settings
        self.sessions = sessions
        self.adapters = AdapterStore(paths.adapters_directory())
        self._thread = InferenceThread()
        self._host = EngineHost(settings, load, self._thread.broadcast)
        self._pictures = Pictures()
        self._answering: set[Job] = set()
        self._lock = threading.Lock()

    def answer(self, turn: Turn) -> Generator[Event, None, None]:
        """The turn's events, ending in Answered or Failed. Lazy: nothing happens before the first `next`.

        Closing the iterator stops the answer; what had come is saved and marked. A KeyboardInterrupt while
        waiting does so too, and is raised again after the last event. A defect underneath is raised as it is.
        """
        try:
            planned = self._plan(turn)
        except UserError as error:
            yield Failed(str(error), error.exit_code)
            return
        job = self._thread.submit(
            lambda job: Answering(planned, self._host, self.sessions, job).run(),
            lambda job: Answering(planned, self._host, self.sessions, job).stopped(),
        )
        with self._lock:
            self._answering.add(job)
        try:
            if planned.saved is not None:
                yield TurnSaved(planned.saved.session, planned.saved.turn)
            yield Routed(planned.route, turn.mode)
            yield from job
        except KeyboardInterrupt:  # raised while waiting: the answer ends as cancelled, and says so first
            self._thread.cancel(job)
            yield from job
            raise
        finally:
            with self._lock:
                self._answering.discard(job)
            self._thread.cancel(job)
            for _ in job:  # it must be saved as stopped before anyone goes on
                pass

    def prepare(self, images: Sequence[Picture] = ()) -> Generator[Event, None, None]:
        """Loads the model and its eyes, then encodes the images: Progress, Ready, ImageEncoded, Failed.

        Not stopped by `cancel`; close the iterator for that.
        """
        job = self._thread.submit(lambda job: self._prepare(images, job), lambda _: None)
        try:
            yield from job
        finally:
            self._thread.cancel(job)

    def cancel(self) -> None:
        """Stops every answer under way: what had come by then is kept, and the answer ends as "cancelled"."""
        with self._lock:
            jobs = list(self._answering)
        for job in jobs:
            self._thread.cancel(job)

    def close(self) -> None:
        """Stops what runs and frees the engine. The session store stays open: it belongs to who opened it."""
        self._thread.close(self._host.close)

    def _plan(self, turn: Turn) -> Planned:
        """Everything that can go wrong by the user's doing; the last step saves the question."""
        started = time.perf_counter()
        chosen = route(
            adapter=turn.adapter,
            mode=turn.mode,
            allow_cloud=turn.allow_cloud,
            installed=self.adapters.names(),
        )
        routed = time.perf_counter()
        lora = self.adapters.load(chosen.adapter) if chosen.adapter is not None else None
        if not turn.question.strip():
            raise UserError("The question is empty; ask something.")
        new = tuple(self._pictures.read(source) for source in turn.images)
        session = self.sessions.get(turn.session) if self.sessions and turn.session is not None else None
        messages = assemble(turn, new, session, self.settings.system, self._pictures)
        saved = None
        if self.sessions is not None:
            saved = self.sessions.begin_turn(
                session=session.id if session else None,
                question=turn.question,
                images=new_images(new),
                system=turn.system if turn.system is not None or session else self.settings.system,
            )
        return Planned(
            turn=turn,
            messages=messages,
            new_images=tuple(picture.image.digest for picture in new),
            sampling=turn.sampling or self.settings.sampling(),
            route=chosen,
            lora=lora,
            saved=saved,
            started=started,
            route_ms=1000 * (routed - started),
        )

    def _prepare(self, images: Sequence[Picture], job: Job) -> None:
        try:
            engine = self._host.engine(job)
            engine.prepare_sight()
            job.emit(Ready(engine.name, engine.context_length, engine.has_vision))
            for source in images:
                self._host.encode(self._pictures.read(source).image, job)
        except CancelledError:
            return
        except UserError as error:
            job.emit(Failed(str(error), error.exit_code))
