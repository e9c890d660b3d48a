"""What happens while the user types: the model is loaded, and attached images are encoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.screen import Screen
from textual.worker import Worker

from edge_app.event_batches import batches
from edge_app.events import Failed, Progress, Ready
from edge_app.tui.composer.attachments import Attachment
from edge_app.tui.composer.composer import Composer
from edge_app.tui.dependencies import ChatDependencies
from edge_app.tui.status import StatusLine
from edge_app.tui.text import progress_text


class Preparation:
    """Prepares the next answer in workers of the screen, and shows their progress in the status line.

    model: returns the name of the model that answers.
    context: tokens of prompt and answer together that the loaded model takes; None before one is loaded.
    """

    def __init__(
        self,
        screen: Screen[None],
        dependencies: ChatDependencies,
        status: StatusLine,
        composer: Composer,
        model: Callable[[], str],
    ) -> None:
        self._screen = screen
        self._dependencies = dependencies
        self._status = status
        self._composer = composer
        self._model = model
        self.context: int | None = None
        self._looking: list[Worker[None]] = []  # at attached images

    def load_model(self) -> None:
        self._begin(())

    def look_at(self, attachments: Sequence[Attachment]) -> None:
        """Encodes images, after the model is loaded."""
        self._looking = [worker for worker in self._looking if not worker.is_finished]
        self._looking.append(self._begin(attachments))

    def begin_again(self) -> None:
        """Loads the model that was chosen, and encodes the attached images with it."""
        self.stop_looking()
        self.look_at(self._composer.attachments)

    def stop_looking(self) -> None:
        """Stops encoding images, after the tile that is being encoded."""
        for worker in self._looking:
            worker.cancel()
        self._looking.clear()
        self._status.doing = ""

    def _begin(self, attachments: Sequence[Attachment]) -> Worker[None]:
        return self._screen.run_worker(self._prepare(attachments), group="prepare")

    async def _prepare(self, attachments: Sequence[Attachment]) -> None:
        status, name = self._status, self._model()
        sources = [attachment.source for attachment in attachments]
        try:
            async for batch in batches(self._dependencies.backend.prepare(sources, status.detail)):
                for event in batch:
                    if isinstance(event, Progress):
                        status.doing = progress_text(event)
                    elif isinstance(event, Ready):
                        name, self.context = event.model, event.context_length
                    elif isinstance(event, Failed):
                        self._composer.say(event.message, wrong=True)
        except Exception as error:
            self._composer.say(self._dependencies.report(error), wrong=True)
        status.model, status.doing = name, ""
