"""What the engine loads is reported to the job that needs it, and stops when that job is cancelled."""

from __future__ import annotations

import numpy as np
import pytest

from adapters.store.adapter_store import AdapterStore
from edge_app.engine.engine_host import EngineHost
from edge_app.engine.inference_thread import CancelledError, Job
from edge_app.events import Event, Progress
from edge_app.settings import Settings
from edge_app.system import paths
from models.core.types import Image, no_progress
from models.core.types import Progress as ProgressCallback
from tests.edge_app.fakes import FakeEngine, FakeTokens

VISION = Progress("compile", "the vision tower", 0, None)


class LateVision(FakeEngine):
    """Loads its vision encoder with an image."""

    def encode_image(self, image: Image, progress: ProgressCallback = no_progress) -> FakeTokens:
        progress(VISION.stage, VISION.message, VISION.done, VISION.total)
        return super().encode_image(image, progress)


def test_what_is_loaded_later_is_reported_to_the_job_that_needs_it_and_stops_with_it() -> None:
    reported: list[Event] = []
    host = EngineHost(
        Settings(), AdapterStore(paths.adapters_directory()), LateVision().load, reported.append
    )
    first, second = (Job(lambda _: None, lambda _: None) for _ in range(2))
    picture = Image(np.zeros((1, 1, 3), np.uint8), "1", "1.png")
    host.engine(first)
    first.cancelled.set()  # it is over
    host.encode(picture, second)
    assert reported == [VISION]
    second.cancelled.set()
    with pytest.raises(CancelledError):
        host.encode(picture, second)


def test_another_model_is_loaded_when_it_is_needed_and_the_one_before_is_freed() -> None:
    loaded: list[tuple[str, FakeEngine]] = []

    def load(settings: Settings, progress: ProgressCallback) -> FakeEngine:
        engine = FakeEngine()
        loaded.append((settings.model, engine))
        return engine.load(settings, progress)

    host = EngineHost(Settings(), AdapterStore(paths.adapters_directory()), load, lambda _: None)
    job = Job(lambda _: None, lambda _: None)
    host.use("edge-vlm-135m")
    host.engine(job)
    host.use("edge-vlm-135m")
    host.engine(job)
    assert [name for name, _ in loaded] == ["edge-vlm-135m"]
    host.use("smolvlm-256m")
    assert loaded[0][1].closed
    assert len(loaded) == 1
    host.engine(job)
    assert [name for name, _ in loaded] == ["edge-vlm-135m", "smolvlm-256m"]
    assert host.model == "smolvlm-256m"
