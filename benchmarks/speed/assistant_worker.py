"""The whole assistant in a process of its own: how fast it starts, answers about a photo, and rests.

    python -m benchmarks.speed.assistant_worker        answers requests (see serving.py)
    python -m benchmarks.speed.assistant_worker ready  loads the model, prints "ready", ends

Keeps no sessions; everything else is what the command line and the chat use.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.speed.serving import serve
from edge_app.__main__ import tune_interpreter

tune_interpreter()  # as the command line does, before pydantic is imported

from edge_app.assistant import Assistant, Turn  # noqa: E402
from edge_app.events import Answered, Failed, ImageEncoded, Ready, Routed, TokenText  # noqa: E402
from edge_app.settings import Settings, load  # noqa: E402
from edge_app.system import paths  # noqa: E402
from models.core.types import Sampling  # noqa: E402


def settings() -> Settings:
    return load(paths.config_file())


class AssistantWorker:
    def __init__(self) -> None:
        self.assistant = Assistant(settings(), None)

    def prepare(self) -> dict[str, Any]:
        """Load everything that a start loads."""
        for event in self.assistant.prepare():
            _raise_failure(event)
        return {}

    def route(self, adapter: str) -> dict[str, Any]:
        """Find the adapter that a turn names; replies the milliseconds."""
        for event in self.assistant.route(Turn("Hi", adapter=adapter)):
            _raise_failure(event)
            if isinstance(event, Routed):
                return {"milliseconds": event.milliseconds}
        raise RuntimeError("the turn was not routed")

    def photo(self, path: str, question: str, max_tokens: int) -> dict[str, Any]:
        """Ask about a photo; replies the seconds to the first token, to the encoded image, and in all."""
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


def _raise_failure(event: object) -> None:
    if isinstance(event, Failed):
        raise RuntimeError(event.message)


def ready() -> None:
    """What the chat does before it can take a question."""
    for event in Assistant(settings(), None).prepare():
        _raise_failure(event)
        if isinstance(event, Ready):
            print("ready", flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["ready"]:
        ready()
    else:
        serve(AssistantWorker())
