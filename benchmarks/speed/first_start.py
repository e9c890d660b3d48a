"""A start with nothing cached, in a process of its own: prints the seconds of each stage as JSON.

    python -m benchmarks.speed.first_start EMPTY_FOLDER

Packs the weights and compiles everything into the folder: language model, vision tower, projector.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from benchmarks.speed.assistant_worker import settings
from edge_app.system import paths
from models.core.types import Stage
from models.engine import Engine
from models.hub.store import ModelStore


class StageTimes:
    """A Progress that adds up how long each stage took: from its event to the next one."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._stage: Stage | None = None
        self._since = 0.0

    def __call__(self, stage: Stage, message: str, done: int, total: int | None) -> None:
        del message
        now = time.perf_counter()
        if self._stage is not None:
            self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._since
        over = total is not None and done >= total
        self._stage, self._since = None if over else stage, now


def main() -> None:
    chosen = settings()
    files = ModelStore(paths.models_directory()).pull(chosen.model, offline=chosen.offline)
    times = StageTimes()
    engine = Engine.load(files, cache_dir=Path(sys.argv[1]), threads=chosen.threads, progress=times)
    engine.load_vision()
    print(json.dumps(times.seconds))


if __name__ == "__main__":
    main()
