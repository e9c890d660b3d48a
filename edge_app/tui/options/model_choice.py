"""The model that answers: chosen by name or in a window, downloaded if it is not here, and offered once if better."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from textual.app import App
from textual.worker import Worker

from edge_app.answer import Answer
from edge_app.answer_text import sureness
from edge_app.event_batches import batches
from edge_app.events import Failed, Progress
from edge_app.tui.composer.composer import Composer
from edge_app.tui.dependencies import ChatDependencies
from edge_app.tui.status import StatusLine
from edge_app.tui.text import download_text, file_size
from edge_app.tui.windows.models_window import ModelsWindow
from edge_app.tui.windows.window import ConfirmWindow
from models.core.errors import UserError
from models.hub.store import ModelStatus


class ModelChoice:
    """Changes the model. `choose` and `use` run in workers of the screen, since they may wait.

    prepare: begins to load the model that was chosen. key: returns the label of a binding's key.
    current: the name of the model that answers.
    """

    def __init__(
        self,
        app: App[None],
        dependencies: ChatDependencies,
        status: StatusLine,
        composer: Composer,
        prepare: Callable[[], object],
        key: Callable[[str], str],
    ) -> None:
        self.current = dependencies.settings.model
        self._app = app
        self._dependencies = dependencies
        self._status = status
        self._composer = composer
        self._prepare = prepare
        self._key = key
        self._offered = ""
        self._download: Worker[None] | None = None
        self._downloading = ""

    async def choose(self) -> None:
        first = self._offered or self.current
        window = ModelsWindow(self._dependencies.models.list, self.current, first)
        name = await self._app.push_screen_wait(window)
        if name is not None:
            await self.use(name)

    async def use(self, name: str) -> None:
        """Answers with a model from the next question on. One that is not here is downloaded first, meanwhile the chat
        goes on with the present one."""
        try:
            status = await asyncio.to_thread(self._dependencies.models.show, name)
        except UserError as error:
            self._composer.say(str(error), wrong=True)
            return
        self._offered = ""
        if status.pulled:
            self._switch(status)
        elif self._downloading:
            self._composer.say(
                f"{self._downloading} is being downloaded; {self._key('chat.back')} cancels that.", wrong=True
            )
        elif await self._is_wanted(status):
            self._downloading = name
            size = file_size(status.entry.download_size)
            self._composer.say(
                f"Downloading {name} ({size}); {self.current} answers until it is here. "
                f"{self._key('chat.back')} cancels it."
            )
            self._download = self._app.run_worker(self._pull(status), group="download")

    def cancel_download(self) -> None:
        """Stops the download, if there is one. What has arrived is kept for the next one."""
        if self._download is not None:
            self._download.cancel()
            self._composer.say(f"The download of {self._downloading} is cancelled; another one continues it.")
            self._over()

    async def offer_better(self, answer: Answer) -> str:
        """The sentence that offers a better model after an unsure answer; empty when there is nothing to offer."""
        own_words = answer.tokens.completion > 0  # a reply of the app itself is no fault of the model
        if (
            answer.model != self.current
            or not own_words
            or sureness(answer) not in ("unsure", "does not know")
        ):
            return ""
        status = await asyncio.to_thread(self._dependencies.models.offer, self.current)
        if status is None:
            return ""
        entry = status.entry
        self._offered = entry.name
        what = f": it {entry.good_at}" if entry.good_at else ""
        cost = "is here already" if status.pulled else f"is a download of {file_size(entry.download_size)}"
        return (
            f"The model {entry.name} may answer such questions better{what}. It {cost} and takes "
            f"{file_size(entry.memory)} of memory. {self._key('chat.model')} shows it; this is offered once."
        )

    # -- inside

    async def _is_wanted(self, status: ModelStatus) -> bool:
        """Whether to download a model. The user is asked when this machine has less memory than the model needs."""
        needed, there = status.entry.memory, self._dependencies.models.machine_memory()
        if needed <= there:
            return True
        machine = f"this machine has {file_size(there)} in all"
        what = f"{status.entry.name} needs {file_size(needed)} of memory, and {machine}."
        window = ConfirmWindow("Download", what, "Download it all the same", "Leave it")
        wanted: bool | None = await self._app.push_screen_wait(window)
        return wanted is True

    async def _pull(self, status: ModelStatus) -> None:
        name, before, trouble = status.entry.name, self.current, ""
        try:
            async for batch in batches(self._dependencies.models.pull(name)):
                for event in batch:
                    if isinstance(event, Progress):
                        self._status.download = download_text(name, event)
                    elif isinstance(event, Failed):
                        trouble = event.message
        except Exception as error:
            trouble = self._dependencies.report(error)
        self._over()
        if trouble:
            self._composer.say(trouble, wrong=True)
        elif self.current != before:  # another one was chosen meanwhile
            self._composer.say(f"{name} is here now; /model {name} answers with it.")
        else:
            self._switch(status)

    def _over(self) -> None:
        self._download, self._downloading, self._status.download = None, "", ""

    def _switch(self, status: ModelStatus) -> None:
        """Answers with a model that is here, also after the next start."""
        name = self.current = status.entry.name
        self._dependencies.backend.use_model(name)
        self._status.model = name
        trouble = self._dependencies.keep("model", name, is_default=status.default)
        self._composer.say(trouble or f"{name} answers from now on.", wrong=bool(trouble))
        self._status.routed = ""
        self._prepare()
