"""The whole assistant in a process of its own, to measure its start, its answers about photos and its idle load.

    python -m benchmarks.speed.assistant_worker               takes requests (benchmarks/workers.py)
    python -m benchmarks.speed.assistant_worker ready         loads the model, prints "ready", ends
    python -m benchmarks.speed.assistant_worker first FOLDER  packs and compiles everything into an empty folder,
                                                              prints the seconds of each stage as JSON

No sessions are kept. Everything else is as the command line and the chat have it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from edge_app.__main__ import tune_interpreter

tune_interpreter()  # as the command line does, before pydantic is imported: hence E402 below

from edge_app.assistant import Assistant, Turn  # noqa: E402
from edge_app.events import Answered, Failed, ImageEncoded, Ready, Routed, TokenText  # noqa: E402
from edge_app.settings import Settings, load  # noqa: E402
from edge_app.system import paths  # noqa: E402
from models.core.types import Sampling, Stage  # noqa: E402


class AssistantWorker:
    """Its methods are the requests."""

    def __init__(self) -> None:
        self.assistant = Assistant(settings(), None)

    def prepare(self) -> dict[str, Any]:
        """Load what every start loads."""
        for event in self.assistant.prepare():
            _raise_failure(event)
        return {}

    def route(self, adapter: str) -> dict[str, Any]:
        """Route a turn that names this adapter. Replies the milliseconds."""
        for event in self.assistant.route(Turn("Hi", adapter=adapter)):
            _raise_failure(event)
            if isinstance(event, Routed):
                return {"milliseconds": event.milliseconds}
        raise RuntimeError("the turn was not routed")

    def photo(self, path: str, question: str, max_tokens: int) -> dict[str, Any]:
        """Ask about a photo. Replies the seconds to the first token, to the encoded image, and to the end."""
        started = time.perf_counter()
        first = encoded = None
        answer = ""
        turn = Turn(question, images=(Path(path),), adapter="none", sampling=Sampling(max_tokens=max_tokens))
        for event in self.assistant.answer(turn):
            _raise_failure(event)
            if isinstance(event, TokenText) and first is None:
                first = time.perf_counter() - started
            if isinstance(event, ImageEncoded):
                encoded = time.perf_counter() - started
            if isinstance(event, Answered):
                answer = event.answer.text
        return {"first": first, "encoded": encoded, "total": time.perf_counter() - started, "answer": answer}


class StageTimes:
    """A Progress that sums the seconds of each stage, from one of its events to the event that follows."""

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


def settings() -> Settings:
    """The user's settings."""
    return load(paths.config_file())


def ready() -> None:
    """Do what the chat does before it accepts a question."""
    for event in Assistant(settings(), None).prepare():
        _raise_failure(event)
        if isinstance(event, Ready):
            print("ready", flush=True)


def first(folder: Path) -> None:
    """Load the engine and the vision encoder with an empty cache."""
    from models.engine import load_model
    from models.hub.store import ModelStore

    chosen = settings()
    files = ModelStore(paths.models_directory()).pull(chosen.model, offline=chosen.offline)
    times = StageTimes()
    engine = load_model(files, cache_dir=folder, threads=chosen.threads, progress=times)
    engine.load_vision(times)
    print(json.dumps(times.seconds))


def _raise_failure(event: object) -> None:
    if isinstance(event, Failed):
        raise RuntimeError(event.message)


def main(arguments: list[str]) -> None:
    match arguments:
        case []:
            # Not at the top: psutil would add its import to the time until ready.
            from benchmarks.workers import serve

            serve(AssistantWorker())
        case ["ready"]:
            ready()
        case ["first", folder]:
            first(Path(folder))
        case _:
            sys.exit(f"unknown arguments: {' '.join(arguments)}")


if __name__ == "__main__":
    main(sys.argv[1:])
