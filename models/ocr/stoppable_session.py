"""An onnxruntime session whose run can be stopped from another thread.

Detecting the text of a large page is one run of a third of a second, and nobody may be left to wait for it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

POLL_SECONDS = 0.02
"""How often the watching thread looks whether the run has ended; the event itself wakes it at once."""


class StoppableSession:
    """Stands for an onnxruntime.InferenceSession. cancel: ends a run when it is set; None lets runs go to their end."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.cancel: threading.Event | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, names: Any, feed: Any) -> Any:
        """As InferenceSession.run. Raises what onnxruntime raises when the run is stopped."""
        if self.cancel is None:
            return self._session.run(names, feed)
        from onnxruntime import RunOptions

        options = RunOptions()
        with _stopping(options, self.cancel):
            return self._session.run(names, feed, options)


@contextmanager
def _stopping(options: Any, cancel: threading.Event) -> Iterator[None]:
    """Sets `options.terminate` when the event is set before the block ends."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            if cancel.wait(POLL_SECONDS):
                options.terminate = True
                return

    watcher = threading.Thread(target=watch, name="reading watcher", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
