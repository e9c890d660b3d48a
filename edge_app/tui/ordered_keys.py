"""Takes keys in the order in which they were typed, each after everything that the one before it led to.

Textual runs a key with priority at once, other keys of a widget once they have gone up to the app and back, and only
letters in the widget itself. When keys come faster than they are handled, as from a paste without its marks, a script,
or a fast typist at a busy machine, they overtake each other: Backspace deletes the letter behind it, and Enter clears
the beginning of the next question.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from textual import events, work
from textual.app import App
from textual.dom import DOMNode

if TYPE_CHECKING:
    from rich.console import RenderableType

URGENT_SECONDS = 0.1
"""The longest time that an urgent key waits for what the keys before it began."""

LOOK_SECONDS = 0.005
"""Between two looks whether what a key led to has ended, which it does in many ways."""


class OrderedKeysApp(App[None], inherit_bindings=False):
    """An app whose keys and pastes wait in a line."""

    def __init__(self) -> None:
        super().__init__()
        self._line: deque[events.Key | events.Paste] = deque()
        self._is_taking = False
        self._is_over = False

    def is_held(self) -> bool:
        """Whether the next key has to wait for what the keys before it began."""
        return False

    def is_urgent(self, key: str) -> bool:
        """Whether this key soon ends the waiting: those before it in the line are handled, and then it is."""
        del key
        return False

    def exit(self, result: None = None, return_code: int = 0, message: RenderableType | None = None) -> None:
        """Cancels all workers first, also the one that takes keys: they would update widgets that the exit removes."""
        self._is_over = True
        self.workers.cancel_all()
        super().exit(result, return_code, message)

    async def on_event(self, event: events.Event) -> None:
        if not isinstance(event, events.Key | events.Paste) or event.is_forwarded:
            await super().on_event(event)
            return
        self._line.append(event)
        if not self._is_taking and not self._is_over:
            self._is_taking = True
            self._take_line()

    @work(group="keys")
    async def _take_line(self) -> None:
        try:
            while self._line and not self._is_over:
                await self._take(self._line[0])
                self._line.popleft()  # only now, since an urgent key does not wait either
        finally:
            self._is_taking = False

    async def _take(self, event: events.Key | events.Paste) -> None:
        is_text = self._is_text(event)
        if not is_text:
            await self._taken()
        with self._context():
            await super().on_event(event)
        if not is_text:
            await self._taken()

    def _is_text(self, event: events.Key | events.Paste) -> bool:
        """Whether the focused widget inserts the key. Such keys are in order in its queue."""
        return (
            isinstance(event, events.Key)
            and self.focused is not None
            and self.focused.check_consume_key(event.key, event.character)
        )

    async def _taken(self) -> None:
        """Waits until the keys so far are handled, with everything that they began."""
        await self._drain()
        while not self._has_urgent():
            if self.is_held():
                await asyncio.sleep(LOOK_SECONDS)
                continue
            await self._drain()  # what has just ended may have sent something that begins the next
            if not self.is_held():
                return

    def _has_urgent(self) -> bool:
        latest = time.monotonic() - URGENT_SECONDS
        return any(
            isinstance(event, events.Key) and event.time < latest and self.is_urgent(event.key)
            for event in self._line
        )

    async def _drain(self) -> None:
        """Waits until the focused widget and all above it have handled what was sent to them.

        Twice, since a key may make a widget send a message of its own.
        """
        for _ in range(2):
            for node in (self.focused or self.screen).ancestors_with_self:
                await _handled(node)


async def _handled(node: DOMNode) -> None:
    """Waits until a node has handled its messages so far, or is removed."""
    handled = asyncio.Event()
    if node.call_later(handled.set):
        while not handled.is_set() and node.is_running:
            with suppress(TimeoutError):
                await asyncio.wait_for(handled.wait(), LOOK_SECONDS)
