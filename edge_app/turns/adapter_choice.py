"""Chooses the adapter of a turn: the one that was planned, or the router's choice.

The photo of a label, a badge or a parcel is hardly like the pages that an adapter for any page knows. Where its
question surely is such an adapter's, the text reader decides whether the image is a page.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from adapters.store.adapter_store import AdapterStore
from adapters.store.manifest import MANIFEST_FILE
from edge_app.engine.bundled_adapters import BundledAdapters
from edge_app.engine.engine_loading import leave_if_cancelled, reporter
from edge_app.engine.engine_pool import EnginePool
from edge_app.engine.inference_thread import Job
from edge_app.events import Routed
from edge_app.turns.images.image_focus import ImageFocus
from edge_app.turns.images.image_references import about_this_image
from edge_app.turns.images.image_text import ImageTexts
from edge_app.turns.planner import PlannedTurn
from models.core.types import Image
from router.choice import Choice, Query, Router, choose_as_asked
from router.place_policy import FirstPlace
from router.scope import WITHOUT_IMAGE, QuestionScope
from router.types import Reason, RouterName

if TYPE_CHECKING:
    from models.engine import Engine

SURE_QUESTION = 0.9
"""The least probability that the question is a task of an adapter for any page, for an image to be read before the
choice."""

LIKE_A_PAGE = -0.25
"""The least likeness of that image to the adapter's own. Ordinary photos are less like them."""

ASKING_CHARACTERS = 2_000
"""Of the beginning and of the end of a longer question, by which an adapter is chosen."""


class AdapterChooser:
    """Runs on the inference thread, because the router reads the features of the embedded default's engine.

    adapters: the installed ones. bundled: installs those that come with the app. scope: over the adapters' folder.
    router: a router, or the name of one that is made at its first use. texts: reads an image whose likeness leaves the
    choice open.
    """

    def __init__(
        self,
        pool: EnginePool,
        adapters: AdapterStore,
        bundled: BundledAdapters,
        scope: QuestionScope,
        router: Router | RouterName,
        texts: ImageTexts,
    ) -> None:
        self._pool = pool
        self._adapters = adapters
        self._bundled = bundled
        self._scope = scope
        self._router = router
        self._texts = texts

    def choose(self, planned: PlannedTurn, first: FirstPlace, job: Job) -> tuple[Choice, float]:
        """The choice, and the milliseconds that it took in all. Emits Routed.

        first: the place of the turn, for the event. Raises CancelledError, and UserError when the engine cannot be
        loaded.
        """
        started = time.perf_counter()
        choice = planned.choice or self._routed(planned, job)
        milliseconds = planned.route_ms + 1000 * (time.perf_counter() - started)
        model = self._pool.bases.of(choice.adapter, planned.model)
        job.emit(Routed(planned.places.route(choice, first, model), planned.turn.mode, milliseconds))
        return choice, milliseconds

    def adapter_for_cloud(self, planned: PlannedTurn, job: Job) -> str | None:
        """The router's choice for a question that the endpoint is asked first; None when it chooses none or fails."""
        try:
            return self._routed(planned, job).adapter
        except Exception:  # whatever is wrong here, the endpoint can be asked without an adapter
            return None

    def for_any_page(self, planned: PlannedTurn, model: str) -> str | None:
        """An adapter of a model for any page of text, among those of a turn that is routed; None without one."""
        if planned.choice is not None:
            return None
        found = (name for name in planned.choosable if self._is_for_any_page(name))
        return next((name for name in found if self._pool.bases.of(name, planned.model) == model), None)

    def scope_of(self, planned: PlannedTurn, adapter: str | None, engine: Engine) -> float | None:
        """The log-odds that the question is one of the tasks of who answers: an adapter, or the model of the engine.

        None where no tasks are declared.
        """
        question = about_this_image(asking_part(planned.turn.question))
        if adapter is not None:
            return self._scope.of_adapter(question, adapter)
        if planned.focus.image is None or not planned.turn.see_images:
            return self._scope.of_tasks(question, engine.abilities.text_tasks, WITHOUT_IMAGE)
        return self._scope.of_tasks(question, engine.abilities.image_tasks)

    def _routed(self, planned: PlannedTurn, job: Job) -> Choice:
        """The router's choice. Raises CancelledError, and UserError when the engine cannot be loaded."""
        engine = self._pool.engine(self._pool.bases.embedded, job)
        leave_if_cancelled(job)
        installed = self._installed(planned, job)
        if not installed:
            return choose_as_asked("auto", ())
        focus = planned.focus
        if not planned.turn.see_images:
            focus = replace(focus, image=None)
        if focus.image is not None:
            engine.load_vision(reporter(job, job.emit))
        question = about_this_image(asking_part(planned.turn.question))
        choice = self._ask_router(engine, question, focus, installed)
        if choice.adapter is None and focus.image is not None:
            choice = self._if_page(choice, focus.image, job)
        return choice

    def _installed(self, planned: PlannedTurn, job: Job) -> Sequence[str]:
        """The installed adapters that the choice is among. Those that were coming when it was planned are here now."""
        if not planned.coming:
            return planned.installed
        self._bundled.settle(planned.model, job)
        here = [name for name in planned.choosable if self._adapters.has(name)]
        return self._pool.bases.usable(here, planned.model)

    def _if_page(self, choice: Choice, image: Image, job: Job) -> Choice:
        """The adapter for any page in the place of none, when the question surely is its and the image is a page."""
        able = (
            each
            for each in choice.candidates
            if (each.question or 0.0) >= SURE_QUESTION
            and each.image is not None
            and each.image >= LIKE_A_PAGE
            and self._is_for_any_page(each.adapter)
        )
        found = next(able, None)
        if found is None or not self._texts.has_lines(image, job):
            return choice
        reason = Reason("page_of_text", {"adapter": found.adapter})
        return replace(choice, adapter=found.adapter, probability=found.question, reason=reason)

    def _is_for_any_page(self, adapter: str) -> bool:
        from router.routers.ridge_heads import is_for_any_page  # numpy code that a start does not need

        return is_for_any_page(self._adapters.directory / adapter / MANIFEST_FILE)

    def _ask_router(
        self, engine: Engine, question: str, focus: ImageFocus, installed: Sequence[str]
    ) -> Choice:
        from adapters.prototypes import image_vector, question_vector  # numpy code that a start does not need

        image = focus.image
        query = Query(
            question,
            question_vector(engine, question),
            None if image is None else image_vector(engine.image_features(image)),
            image,
            previous_question=focus.previous_question,
            previous_adapter=focus.previous_adapter,
        )
        if isinstance(self._router, str):
            from router.routers import make_router

            self._router = make_router(self._router, self._adapters.directory, engine, self._scope)
        return self._router.choose(query, installed)


def asking_part(question: str) -> str:
    """The part of a question by which an adapter is chosen: of a long text that was pasted, its beginning and its end,
    where the request is."""
    if len(question) <= 2 * ASKING_CHARACTERS:
        return question
    return f"{question[:ASKING_CHARACTERS]}\n{question[-ASKING_CHARACTERS:]}"
