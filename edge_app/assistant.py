"""The assistant: one turn in, a stream of typed events out. Front ends, the server and the Python API use it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

from adapters.store.adapter_store import RESERVED, AdapterStore
from adapters.store.manifest import PromptPolicy
from edge_app.answer import Answer
from edge_app.cloud.access import CloudAccess, State
from edge_app.cloud.consent import Consenter, ConsentStore
from edge_app.costs.averages import CostAverages
from edge_app.engine.adapter_bases import AdapterBases
from edge_app.engine.bundled_adapters import BundledAdapters
from edge_app.engine.engine_loading import LoadEngine, load_engine, reporter
from edge_app.engine.engine_pool import EnginePool
from edge_app.engine.inference_thread import CancelledError, InferenceThread, Job
from edge_app.events import Answered, Event, Failed, Picture, Ready, Turn
from edge_app.images.image_detail import ImageDetail
from edge_app.images.image_sources import sources_of
from edge_app.schemas.answer_schema import AnswerSchema
from edge_app.settings import Settings
from edge_app.storage.sessions import SessionStore
from edge_app.system import paths
from edge_app.turns.adapter_choice import AdapterChooser
from edge_app.turns.images.detailed_images import with_detail
from edge_app.turns.images.image_text import ImageTexts, Reader
from edge_app.turns.local_answer import LocalResources
from edge_app.turns.planner import Planner
from edge_app.turns.runner import TurnDependencies, TurnRunner
from models.core.errors import UserError
from models.core.types import Image
from router.choice import Router
from router.confidence.rule import Confidence
from router.scope import QuestionScope, TaskScope
from router.types import Mode

__all__ = ["Assistant", "Turn"]


@dataclass(eq=False)
class PlanningTurn:
    """A turn before it has a runner that could be stopped."""

    turn: Turn
    cancelled: bool = False


class Assistant:
    """Answers turns. Safe to use from several threads; the engine runs on a thread of its own.

    sessions: where turns are saved; None saves nothing, and then no turn continues another.
    load: makes the engine, at its first use. adapters: the folder of the adapters; None for the user's own.
    router, scope, reader: None for the settings' router, for router.scope, and for models.ocr.reader.
    consenter: asks the user before anything is sent; None when there is no user to ask.
    """

    def __init__(
        self,
        settings: Settings,
        sessions: SessionStore | None,
        load: LoadEngine = load_engine,
        *,
        adapters: Path | None = None,
        router: Router | None = None,
        scope: QuestionScope | None = None,
        reader: Reader | None = None,
        consenter: Consenter | None = None,
    ) -> None:
        self.settings = settings
        self.sessions = sessions
        self.adapters = AdapterStore(adapters or paths.adapters_directory())
        self._thread = InferenceThread()
        self._bases = AdapterBases(self.adapters)
        self._pool = EnginePool(settings, self.adapters, self._bases, load, self._thread.broadcast)
        brings = settings.bundled_adapters and adapters is None
        self._bundled = BundledAdapters(settings, self._pool, self._bases, wanted=brings)
        scope = scope or TaskScope(self.adapters.directory, paths.cache_directory())
        self._texts, used = ImageTexts(reader, settings.threads), router or settings.router
        self._chooser = AdapterChooser(self._pool, self.adapters, self._bundled, scope, used, self._texts)
        self._cloud = CloudAccess(settings, consenter)
        self._costs = CostAverages(settings, learns=sessions is not None)
        coming = self._bundled.coming
        self._planner = Planner(
            settings, sessions, self.adapters, self._bases, self._cloud, self._costs, coming
        )
        confidence = cache(lambda: Confidence.load(paths.confidence_file()))
        local = LocalResources(self._pool, self._chooser, self._texts, confidence)
        self._dependencies = TurnDependencies(self._thread, local, sessions, self._cloud, self._costs)
        self._runners: set[TurnRunner] = set()
        self._planning: set[PlanningTurn] = set()
        self._settling: set[Job] = set()
        self._lock = threading.Lock()

    def answer(self, turn: Turn) -> Generator[Event, None, None]:
        """The turn's events, ending in Answered or Failed. Nothing happens before the first `next`.

        If the caller closes the iterator, the partial answer is saved with status "stopped". A KeyboardInterrupt
        while waiting stops the answer too, and is raised again after the last event. Other exceptions are defects
        and are raised unchanged.
        """
        planning = PlanningTurn(turn)
        with self._lock:
            self._planning.add(planning)
        try:
            stopped = False
            if not self._may_do_without_adapters(turn):
                stopped = yield from self._with_bundled()
            runner = TurnRunner(self._planner.plan(turn), self._dependencies)
            with self._lock:
                self._runners.add(runner)
            if stopped or planning.cancelled:
                runner.cancel()
        except UserError as error:
            yield Failed(str(error), error.exit_code)
            return
        finally:
            with self._lock:
                self._planning.discard(planning)
        yield from self._cancellable(runner, runner.answer())

    def ask(
        self,
        question: str,
        image: Picture | str | None = None,
        *,
        adapter: str | None = None,
        mode: Mode | None = None,
        session: str | None = None,
        allow_cloud: bool = False,
        schema: AnswerSchema | Mapping[str, Any] | type | None = None,
    ) -> Answer:
        """One question, answered without its events; None takes the setting. See Turn for the parameters.

        The question may be empty when there is a schema. Raises UserError when there is no answer.
        """
        images = sources_of(image) if isinstance(image, str) else () if image is None else (image,)
        turn = Turn(
            question,
            images,
            session=session,
            adapter=adapter or self.settings.adapter,
            mode=mode or self.settings.mode,
            allow_cloud=allow_cloud,
            schema=schema,
        )
        last = None
        for last in self.answer(turn):
            if isinstance(last, Failed):
                raise last.as_error()
        assert isinstance(last, Answered), "a turn ends in Answered or Failed"
        return last.answer

    def ask_cloud(self, session: str, turn: int) -> Generator[Event, None, None]:
        """Asks the cloud the question of a saved turn again. Consent applies.

        The cloud's answer replaces the turn's, which is kept beside it. If the cloud gives none, the events are
        CloudFailed and the answer that was there; Failed when there was none, or when there is no such turn.
        session: an id or its unique beginning. turn: SavedTurn.id.
        """
        try:
            planned, saved = self._planner.plan_again(session, turn)
        except UserError as error:
            yield Failed(str(error), error.exit_code)
            return
        runner = TurnRunner(planned, self._dependencies)
        yield from self._cancellable(runner, runner.ask_again(saved))

    def _cancellable(
        self, runner: TurnRunner, events: Generator[Event, None, None]
    ) -> Generator[Event, None, None]:
        """The events of a runner. `cancel` stops the runner until they end."""
        with self._lock:
            self._runners.add(runner)
        try:
            yield from events
        finally:
            with self._lock:
                self._runners.discard(runner)

    def route(self, turn: Turn) -> Generator[Event, None, None]:
        """What `answer` would choose, without answering or saving: Progress events, then Routed or Failed."""
        try:
            if (yield from self._with_bundled()):
                return
            planned = self._planner.plan(turn)
        except UserError as error:
            yield Failed(str(error), error.exit_code)
            return
        first = planned.places.first()
        yield from self._run_job(lambda job: self._chooser.choose(planned, first, job))

    def prefetch(self, adapter: str) -> None:
        """Begins to load an adapter that the next turn may name. Errors are reported by that turn."""
        with suppress(UserError):
            if adapter not in RESERVED:
                self._pool.prefetch(adapter, self._bases.of(adapter, self._planner.model))

    def use_model(self, name: str) -> None:
        """Answers with this model from the next turn on. It is loaded when it is needed, for example by `prepare`.

        A turn that runs goes on with its model, and the engine of the model before stays in memory while there is room.
        Errors, such as an unknown name, are reported by the next turn.
        """
        self._planner.model = name

    def decode(self, picture: Picture) -> Image:
        """Decodes a picture on this thread for a turn about it; the first of several pages. Raises UserError."""
        return self._planner.pictures.read(picture)[0].image

    def prepare(
        self, images: Sequence[Picture] = (), detail: ImageDetail | None = None
    ) -> Generator[Event, None, None]:
        """Loads the model with its vision encoder, then encodes the images and reads those that look like documents.

        The events are Progress, Ready and ImageEncoded; Failed at the end when something went wrong. `cancel` does not
        stop this; closing the iterator does.
        """
        wanted = detail or self.settings.image_detail
        yield from self._run_job(lambda job: self._prepare(images, wanted, job))

    def cancel(self, turn: Turn | None = None) -> None:
        """Stops an answer, also one that is being planned. The text so far is kept, and it ends as "cancelled".

        turn: the object that `answer` was called with; None for every answer.
        """
        with self._lock:
            for planning in self._planning:
                planning.cancelled = planning.cancelled or turn is None or planning.turn is turn
            runners = [each for each in self._runners if turn is None or each.turn is turn]
            jobs = list(self._settling) if turn is None else []
        for runner in runners:
            runner.cancel()
        for job in jobs:
            self._thread.cancel(job)

    @property
    def cloud_state(self) -> State:
        """What is known of the endpoint from earlier requests; sends none."""
        return self._cloud.state

    @property
    def decisions(self) -> ConsentStore:
        """What the user decided about hosts, and which images are never sent."""
        return self._cloud.decisions

    @property
    def consenter(self) -> Consenter | None:
        return self._cloud.consenter

    @consenter.setter
    def consenter(self, consenter: Consenter | None) -> None:
        """Set by a front end that is made after its assistant."""
        self._cloud.consenter = consenter

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops what runs and frees the engine. The session store stays open; its opener closes it."""
        self.cancel()
        self._thread.close(self._pool.close)
        self._cloud.close()
        self._costs.close()

    def _may_do_without_adapters(self, turn: Turn) -> bool:
        """Whether a turn can begin before the bundled adapters are installed.

        One that an endpoint may be asked first installs them when it comes to a choice among them.
        """
        return turn.adapter == "none" or (
            turn.adapter == "auto" and turn.mode == "quality" and self._cloud.is_set_up
        )

    def _with_bundled(self) -> Generator[Event, None, bool]:
        """Installs the bundled adapters before the first choice. Returns whether it was cancelled. Raises UserError."""
        if not self.coming_adapters():
            return False
        failures: list[UserError] = []

        def settle_now(job: Job) -> None:
            try:
                self._bundled.settle(self._planner.model, job)
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

    def coming_adapters(self) -> tuple[str, ...]:
        """The bundled adapters that are installed before the next choice."""
        return self._bundled.coming(self._planner.model)

    def _prepare(self, images: Sequence[Picture], detail: ImageDetail, job: Job) -> None:
        """The work of `prepare`. Runs on the inference thread."""
        model = self._planner.model
        engine = self._pool.engine(model, job)
        engine.load_vision(reporter(job, self._thread.broadcast))
        self._bundled.settle(model, job)
        embedded = self._bases.embedded
        if model != embedded and self._bases.is_here(embedded, model) and self.adapters.names():
            router = self._pool.engine(embedded, job)
            router.load_vision(reporter(job, self._thread.broadcast))
        job.emit(Ready(engine.name, engine.context_length, engine.has_vision))
        side = self._planner.scenario(self.settings.mode).budgets.image_side
        for source in images:
            for read in self._planner.pictures.read(source):
                image = with_detail(read.image, detail)
                self._pool.encode(image, model, job)
                self._texts.of([image], PromptPolicy(), job, side)

    def _run_job(self, work: Callable[[Job], object]) -> Generator[Event, None, None]:
        """The events of work on the inference thread. A UserError becomes Failed. Closing the iterator cancels it."""

        def reported(job: Job) -> None:
            try:
                work(job)
            except CancelledError:
                return
            except UserError as error:
                job.emit(Failed(str(error), error.exit_code))

        job = self._thread.submit(reported, lambda _: None)
        try:
            yield from job
        finally:
            self._thread.cancel(job)
