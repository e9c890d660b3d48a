"""The assistant: one turn in, a stream of typed events out. Headless; front ends are thin shells over it.

Knows turns, sessions and the order of things. Does not know how tokens are computed (models/), which adapter
suits a question (router/) or how an event is shown.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Self

from adapters.store.adapter_store import RESERVED, AdapterStore
from edge_app.cloud.access import Remote, State
from edge_app.cloud.consent import Consenter, ConsentStore
from edge_app.costs.outlook import Outlook
from edge_app.engine.bundled_adapters import settle, unsettled
from edge_app.engine.engine_host import EngineHost, LoadEngine, load_engine, reporter
from edge_app.engine.inference_thread import CancelledError, InferenceThread, Job
from edge_app.events import Answer, Answered, Event, Failed, Ready
from edge_app.settings import Settings
from edge_app.storage.sessions import SessionStore
from edge_app.system import paths
from edge_app.turn import Picture, Turn
from edge_app.turns.adapter_choice import Chooser
from edge_app.turns.image_text import ImageTexts, Reader
from edge_app.turns.local_answer import Answering, Equipment
from edge_app.turns.planned_turn import Planned
from edge_app.turns.planner import Planner
from edge_app.turns.runner import Course, Ground
from models.core.errors import UserError
from router.choice import Router
from router.confidence.rule import Confidence
from router.names import Mode

__all__ = ["Assistant", "Turn"]


class Assistant:
    """Answers turns. The methods may be called from any thread; the engine stays on its own.

    sessions: where turns are saved; None saves nothing and every turn stands alone.
    load: makes the engine, at its first use. adapters: where they are; None is where the user's are.
    router, reader: None takes our own, when there is need.
    consenter: asks the user before something leaves; None when there is nobody to be asked.
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
        consenter: Consenter | None = None,
    ) -> None:
        self.settings = settings
        self.sessions = sessions
        self.adapters = AdapterStore(adapters or paths.adapters_directory())
        self._brings_adapters = settings.bundled_adapters and adapters is None
        self._thread = InferenceThread()
        self._host = EngineHost(settings, self.adapters, load, self._thread.broadcast)
        self._equipment = Equipment(
            self._host,
            Chooser(self.adapters.directory, router or settings.router),
            ImageTexts(reader, settings.threads),
            cache(lambda: Confidence.load(paths.confidence_file())),
        )
        self._remote = Remote(settings, consenter)
        self._outlook = Outlook(settings, learns=sessions is not None)
        self._ground = Ground(self._thread, self._equipment, sessions, self._remote, self._outlook)
        self._planner = Planner(settings, sessions, self.adapters, self._remote, self._outlook)
        self._courses: set[Course] = set()
        self._settling: set[Job] = set()
        self._lock = threading.Lock()

    def answer(self, turn: Turn) -> Generator[Event, None, None]:
        """The turn's events, ending in Answered or Failed. Lazy: nothing happens before the first `next`.

        Closing the iterator stops the answer; what had come is saved and marked. A KeyboardInterrupt while
        waiting does so too, and is raised again after the last event. A defect underneath is raised as it is.
        """
        stopped = False
        try:
            if not self._may_do_without_adapters(turn):
                stopped = yield from self._with_bundled()
            planned = self._planner.save(self._planner.plan(turn))
        except UserError as error:
            yield Failed(str(error), error.exit_code)
            return
        yield from self._followed(planned, Course.run, stopped=stopped)

    def ask(
        self,
        question: str,
        image: Picture | str | None = None,
        *,
        adapter: str | None = None,
        mode: Mode | None = None,
        session: str | None = None,
        allow_cloud: bool = False,
    ) -> Answer:
        """One question, answered without its events; None takes the setting. See Turn for the parameters.

        Raises UserError when there is no answer.
        """
        images = () if image is None else (Path(image) if isinstance(image, str) else image,)
        turn = Turn(
            question,
            images,
            session=session,
            adapter=adapter or self.settings.adapter,
            mode=mode or self.settings.mode,
            allow_cloud=allow_cloud,
        )
        last = None
        for last in self.answer(turn):
            if isinstance(last, Failed):
                raise last.as_error()
        assert isinstance(last, Answered), "a turn ends in Answered or Failed"
        return last.answer

    def ask_cloud(self, session: str, turn: int) -> Generator[Event, None, None]:
        """The same question to the cloud, because the user wants that: the events of its answer, which takes the
        place of the turn's and keeps it; or CloudFailed, and the answer that was there. Consent applies.

        session: an id or its unique beginning. turn: SavedTurn.id. Ends in Failed when there is no such turn, or
        no answer at all.
        """
        try:
            planned, saved = self._planner.again(session, turn)
        except UserError as error:
            yield Failed(str(error), error.exit_code)
            return
        kept = saved.kept if saved.kept is not None else saved.answer or None
        yield from self._followed(planned, lambda course: course.again(saved.result, kept))

    def _followed(
        self,
        planned: Planned,
        begin: Callable[[Course], Generator[Event, None, None]],
        *,
        stopped: bool = False,
    ) -> Generator[Event, None, None]:
        course = Course(planned, self._ground)
        if stopped:
            course.cancel()
        with self._lock:
            self._courses.add(course)
        try:
            yield from begin(course)
        finally:
            with self._lock:
                self._courses.discard(course)

    def route(self, turn: Turn) -> Generator[Event, None, None]:
        """What `answer` would choose, without answering or saving: Progress, then Routed or Failed."""
        try:
            if (yield from self._with_bundled()):
                return
            planned = self._planner.plan(turn)
        except UserError as error:
            yield Failed(str(error), error.exit_code)
            return
        choosing = Answering(planned, planned.places.first(), self._equipment, None)
        job = self._thread.submit(choosing.choose, lambda _: None)
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
        """Stops every answer under way, wherever it comes from: what had come by then is kept, and the answer ends
        as "cancelled"."""
        with self._lock:
            courses, jobs = list(self._courses), list(self._settling)
        for course in courses:
            course.cancel()
        for job in jobs:
            self._thread.cancel(job)

    @property
    def cloud_state(self) -> State:
        """What is known of the endpoint, from use: nobody is asked."""
        return self._remote.state

    @property
    def decisions(self) -> ConsentStore:
        """What the user decided about hosts, and the images that never leave (withhold, release, withheld)."""
        return self._remote.decisions

    @property
    def consenter(self) -> Consenter | None:
        return self._remote.consenter

    @consenter.setter
    def consenter(self, consenter: Consenter | None) -> None:
        """A front end that is made after its assistant."""
        self._remote.consenter = consenter

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops what runs and frees the engine. The session store stays open: it belongs to who opened it."""
        self.cancel()
        self._thread.close(self._host.close)
        self._remote.close()
        self._outlook.close()

    def _may_do_without_adapters(self, turn: Turn) -> bool:
        """None is wanted, or none is needed unless the cloud, which is asked first, should fail."""
        return turn.adapter == "none" or (
            turn.adapter == "auto" and turn.mode == "quality" and self._remote.is_set_up
        )

    def _with_bundled(self) -> Generator[Event, None, bool]:
        """Before a first choice: the adapters that come with the app are in their place. Whether it was stopped
        meanwhile. Raises UserError."""
        if self._has_bundled():
            return False
        failures: list[UserError] = []

        def settle_now(job: Job) -> None:
            try:
                self._settle(job)
            except CancelledError:
                return
            except UserError as error:
                failures.append(error)

        job = self._thread.submit(settle_now, lambda _: None)
        with self._lock:
            self._settling.add(job)
        try:
            yield from job
            stopped = job.cancelled.is_set()
        finally:
            with self._lock:
                self._settling.discard(job)
            self._thread.cancel(job)
        if failures:
            raise failures[0]
        return stopped

    def _has_bundled(self) -> bool:
        return not self._brings_adapters or not unsettled()

    def _settle(self, job: Job) -> None:
        """On the inference thread."""
        engine = self._host.engine(job)
        if not self._has_bundled():
            settle(self.settings, engine, reporter(job, job.emit))

    def _prepare(self, images: Sequence[Picture], job: Job) -> None:
        try:
            engine = self._host.engine(job)
            engine.load_vision()
            self._settle(job)
            job.emit(Ready(engine.name, engine.context_length, engine.has_vision))
            side = self._planner.scenario(self.settings.mode).budgets.image_side
            for source in images:
                image = self._planner.pictures.read(source).image
                self._host.encode(image, job)
                self._equipment.texts.of([image], "auto", job, side)
        except CancelledError:
            return
        except UserError as error:
            job.emit(Failed(str(error), error.exit_code))
