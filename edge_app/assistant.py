"""The assistant: one turn in, a stream of typed events out. Headless; front ends are thin shells over it.

Knows turns, sessions and the order of things. Does not know how tokens are computed (models/), which adapter
suits a question (router/) or how an event is shown.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from adapters.spec import parse_spec
from adapters.store import RESERVED, AdapterStore
from edge_app import paths
from edge_app.answering import Answering, Equipment, Planned
from edge_app.choosing import Chooser
from edge_app.context import Pictures, assemble, new_images
from edge_app.events import Event, Failed, Ready, Routed, TurnSaved
from edge_app.host import EngineHost, LoadEngine, load_engine
from edge_app.inference import CancelledError, InferenceThread, Job
from edge_app.reading import ImageTexts, Reader
from edge_app.sessions import SessionStore
from edge_app.settings import Settings
from edge_app.turn import Picture, Turn
from models.errors import UserError
from router.query import Router
from router.route import route

__all__ = ["Assistant", "Turn"]


class Assistant:
    """Answers turns. The methods may be called from any thread; the engine stays on its own.

    sessions: where turns are saved; None saves nothing and every turn stands alone.
    load: makes the engine, at its first use. adapters: where they are; None is where the user's are.
    router, reader: None takes our own, when there is need.
    """

    def __init__(
        self,
        settings: Settings,
        sessions: SessionStore | None,
        load: LoadEngine = load_engine,
        *,
        adapters: Path | None = None,
        router: Router | None = None,
        reader: Reader | None = None,
    ) -> None:
        self.settings = settings
        self.sessions = sessions
        self.adapters = AdapterStore(adapters or paths.adapters_directory())
        self._thread = InferenceThread()
        self._host = EngineHost(settings, self.adapters, load, self._thread.broadcast)
        chooser = Chooser(self.adapters.directory, router)
        self._equipment = Equipment(self._host, chooser, ImageTexts(reader, settings.threads))
        self._pictures = Pictures()
        self._answering: set[Job] = set()
        self._lock = threading.Lock()

    def answer(self, turn: Turn) -> Generator[Event, None, None]:
        """The turn's events, ending in Answered or Failed. Lazy: nothing happens before the first `next`.

        Closing the iterator stops the answer; what had come is saved and marked. A KeyboardInterrupt while
        waiting does so too, and is raised again after the last event. A defect underneath is raised as it is.
        """
        try:
            planned = self._saved(self._plan(turn))
        except UserError as error:
            yield Failed(str(error), error.exit_code)
            return
        job = self._thread.submit(
            lambda job: Answering(planned, self._equipment, self.sessions, job).run(),
            lambda job: Answering(planned, self._equipment, self.sessions, job).stopped(),
        )
        with self._lock:
            self._answering.add(job)
        try:
            if planned.saved is not None:
                yield TurnSaved(planned.saved.session, planned.saved.turn)
            if planned.route is not None:
                self._host.prefetch(planned.route.adapter)
                yield Routed(planned.route, turn.mode, planned.route_ms)
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

    def route(self, turn: Turn) -> Generator[Event, None, None]:
        """What `answer` would choose, without answering or saving: Progress, then Routed or Failed."""
        try:
            planned = self._plan(turn)
        except UserError as error:
            yield Failed(str(error), error.exit_code)
            return
        job = self._thread.submit(
            lambda job: Answering(planned, self._equipment, None, job).choose(), lambda _: None
        )
        try:
            yield from job
        finally:
            self._thread.cancel(job)

    def prefetch(self, adapter: str) -> None:
        """An adapter that the next turn may name: it begins to be loaded. What is wrong with it shows then."""
        with suppress(UserError):
            if adapter not in RESERVED:
                self._host.prefetch(adapter)

    def prepare(self, images: Sequence[Picture] = ()) -> Generator[Event, None, None]:
        """Loads the model and its eyes, then encodes the images and reads those that look like documents:
        Progress, Ready, ImageEncoded, Failed.

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
        """Everything that can go wrong by the user's doing before the engine is needed."""
        started = time.perf_counter()
        installed = self._installed(turn.adapter)
        chosen = None  # "auto" looks at the images first
        if turn.adapter != "auto" or not installed:
            chosen = route(
                adapter=turn.adapter, mode=turn.mode, allow_cloud=turn.allow_cloud, installed=installed
            )
        routed = time.perf_counter()
        if not turn.question.strip():
            raise UserError("The question is empty; ask something.")
        new = tuple(self._pictures.read(source) for source in turn.images)
        session = self.sessions.get(turn.session) if self.sessions and turn.session is not None else None
        messages = assemble(turn, new, session, self.settings.system, self._pictures)
        return Planned(
            turn=turn,
            session=session.id if session else None,
            messages=messages,
            new=new,
            sampling=turn.sampling or self.settings.sampling(),
            installed=installed,
            route=chosen,
            saved=None,
            started=started,
            route_ms=1000 * (routed - started),
        )

    def _installed(self, adapter: str) -> tuple[str, ...]:
        """The adapters' names that matter to the choice: all of them only when there is one to make."""
        if adapter == "none":
            return ()
        if adapter != "auto":
            named = parse_spec(adapter).names
            if all(self.adapters.has(name) for name in named):
                return named
        return self.adapters.names()

    def _saved(self, planned: Planned) -> Planned:
        """The question is on disk, where there are sessions."""
        if self.sessions is None:
            return planned
        turn = planned.turn
        saved = self.sessions.begin_turn(
            session=planned.session,
            question=turn.question,
            images=new_images(planned.new),
            system=turn.system if turn.system is not None or planned.session else self.settings.system,
        )
        return replace(planned, saved=saved)

    def _prepare(self, images: Sequence[Picture], job: Job) -> None:
        try:
            engine = self._host.engine(job)
            engine.prepare_sight()
            job.emit(Ready(engine.name, engine.context_length, engine.has_vision))
            for source in images:
                image = self._pictures.read(source).image
                self._host.encode(image, job)
                self._equipment.texts.of([image], "auto", job)
        except CancelledError:
            return
        except UserError as error:
            job.emit(Failed(str(error), error.exit_code))
