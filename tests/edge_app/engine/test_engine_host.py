"""The engine keeps its progress callback for what it loads later."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.store.adapter_store import AdapterStore
from edge_app.engine.engine_host import EngineHost
from edge_app.engine.inference_thread import CancelledError, Job
from edge_app.events import Event, Progress
from edge_app.settings import Settings
from edge_app.system import paths
from models.core.types import Progress as ProgressCallback
from tests.edge_app.fakes import FakeEngine


def test_what_is_loaded_later_is_told_to_the_job_of_then_and_stops_with_it() -> None:
    told: list[Event] = []
    kept: list[ProgressCallback] = []

    def load(settings: Settings, progress: ProgressCallback) -> Any:
        del settings
        kept.append(progress)
        return FakeEngine()

    def job() -> Job:
        return Job(lambda _: None, lambda _: None)

    host = EngineHost(Settings(), AdapterStore(paths.adapters_directory()), load, told.append)
    first, second = job(), job()
    host.engine(first)
    first.cancelled.set()  # it is over
    host.engine(second)
    kept[0]("compile", "the vision tower", 0, None)
    assert told == [Progress("compile", "the vision tower", 0, None)]
    second.cancelled.set()
    with pytest.raises(CancelledError):
        kept[0]("compile", "the vision tower", 1, None)
