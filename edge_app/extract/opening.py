"""Opens everything that a run needs, from the settings and what the user asked for, and closes it again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from edge_app import assistant as assistants
from edge_app.events import Event, Failed
from edge_app.extract.answering.cluster_pages import ClusterPages, Pool
from edge_app.extract.answering.local_pages import Answering, LocalPages
from edge_app.extract.answering.page_worker import Setup
from edge_app.extract.cloud_rows import CloudRows
from edge_app.extract.read_ahead import ReadAhead, cores
from edge_app.extract.run import ExtractRun
from edge_app.extract.store import ExtractStore
from edge_app.extract.task import Asked, ExtractTask
from edge_app.settings import Settings


@dataclass(frozen=True)
class ExtractRequest:
    """What the user asked for.

    least: a row with a value that is right with a lower probability is doubtful. again: rows of earlier runs are not
    taken. allow_cloud: doubtful rows may be sent to the endpoint of the settings. pool: the workers of a cluster that
    answer; None for this process.
    """

    asked: Asked
    least: float = 0.5
    again: bool = False
    allow_cloud: bool = False
    pool: Pool | None = None


@contextmanager
def opened(
    request: ExtractRequest,
    settings: Settings,
    weights: Callable[[str, str], str],
    show: Callable[[Event], None],
    say: Callable[[str], None],
) -> Iterator[ExtractRun]:
    """A run that is ready, with its model loaded.

    weights: returns the identity of the weights of a model and an adapter (edge_app.evaluation.rows.weights_identity).
    show: told the events of the loading. say: told why the endpoint does not answer. Raises UserError.
    """
    divided = cores()
    here = settings.model_copy(
        update={"cloud_url": None, "cloud_model": None, "threads": settings.threads or divided.model}
    )
    with ExitStack() as stack:
        reader = ReadAhead(divided.readers)
        stack.callback(reader.close)
        assistant = stack.enter_context(assistants.Assistant(here, None, reader=reader))
        if request.pool is None:
            _prepare(assistant, show)
        else:  # the files of the model are needed, and its engine is not
            with assistants.Assistant(here, None) as preparing:
                _prepare(preparing, show)
        store = ExtractStore.open()
        stack.callback(store.close)
        task = ExtractTask(
            asked=request.asked,
            adapter=settings.adapter,
            model=settings.model,
            weights=weights(settings.model, settings.adapter),
            detail=settings.image_detail,
            system=settings.system,
        )
        keep = partial(store.save, task.identity)
        answering: Answering
        if request.pool is None:
            answering = LocalPages(task, assistant, reader, keep)
        else:
            alone = settings.model_copy(update={"cloud_url": None, "cloud_model": None})
            setup = Setup(task, alone, weights, os.environ.get("EDGE_APP_HOME", ""))
            answering = ClusterPages(setup, request.pool, keep)
        cloud = None
        if request.allow_cloud:
            asks = stack.enter_context(assistants.Assistant(settings, None))
            cloud = CloudRows(task, asks, request.least, say)
        run = ExtractRun(task, answering, assistant, reader, store, again=request.again, cloud=cloud)
        stack.callback(run.close)
        yield run


def _prepare(assistant: assistants.Assistant, show: Callable[[Event], None]) -> None:
    """Loads the model, which pulls its files when they are missing. Raises UserError."""
    for event in assistant.prepare():
        if isinstance(event, Failed):
            raise event.as_error()
        show(event)
