"""`edge-app serve`: an OpenAI-compatible server for the other programs of this machine."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_app.cli import output
from edge_app.cli.options import ModelOption, OfflineOption, load_settings

if TYPE_CHECKING:
    from types import FrameType

    from edge_app.events import Event
    from edge_app.serve.server import HttpServer
    from edge_app.settings import Settings

PORT = 8642


def serve(
    host: Annotated[
        str,
        typer.Option(metavar="HOST", help="The address to listen on; others than this machine's need a key."),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="The port; 0 takes a free one.")
    ] = PORT,
    key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Accept only requests with a key of this file, one a line."),
    ] = None,
    images_from: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Let requests name images of this folder by their paths."),
    ] = None,
    model: ModelOption = None,
    offline: OfflineOption = None,
    allow_cloud: Annotated[
        bool, typer.Option("--allow-cloud", help="Let requests go to the cloud, if one is set up.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Log requests, without their texts, on stderr.")
    ] = False,
) -> None:
    """Serve the assistant to other programs, over an API that OpenAI's clients speak.

    \b
    Examples:
      edge-app serve
      edge-app serve --images-from ~/receipts --port 9000
      curl http://127.0.0.1:8642/v1/chat/completions -d '{"messages": [{"role": "user", "content": "Hello"}]}'
    """
    if images_from is not None and not images_from.is_dir():
        raise typer.BadParameter(f"--images-from {images_from} is no folder.")
    settings = load_settings(model=model, offline=offline)
    _check_model(settings)
    from edge_app.serve import server
    from edge_app.serve.access import read_keys
    from edge_app.serve.app import AssistantServer, ServeOptions

    addresses = server.resolve(host)
    loopback = server.all_loopback(addresses)
    if not loopback and key_file is None:
        raise typer.BadParameter(
            f"--host {host} lets other machines use the assistant; give a file with a key by --key-file."
        )
    options = ServeOptions(
        host=host,
        loopback=loopback,
        keys=() if key_file is None else read_keys(key_file),
        images_from=images_from,
        allow_cloud=allow_cloud,
        verbose=verbose,
    )
    sockets = server.listen(addresses, port)
    served = AssistantServer(settings, options, Loading().show)
    http = server.HttpServer(served)
    signals = Signals(http)
    where = " and ".join(server.address_of(each) for each in sockets)
    is_closed = server.run(
        served, http, sockets, lambda: output.say(f"Listening on {where} (Ctrl-C ends it).")
    )
    output.say("The server has ended.")
    code = output.ExitCode.INTERRUPTED if signals.got == signal.SIGINT else output.ExitCode.ANSWERED
    if not is_closed:
        os._exit(code)
    output.leave(code)


def _check_model(settings: Settings) -> None:
    """Raises UserError for a model that no catalog has, and NeedsNetwork for one that is missing while offline."""
    from edge_app.system import paths
    from models.hub.store import ModelStore

    store = ModelStore(paths.models_directory())
    if store.find(settings.model) is None and settings.offline:
        store.pull(settings.model, offline=True)


class Loading:
    """Shows on stderr how the model loads."""

    def __init__(self) -> None:
        self._line = output.ProgressLine()

    def show(self, event: Event) -> None:
        from edge_app.events import Failed, Progress, Ready

        match event:
            case Progress():
                self._line.show(event)
            case Ready(model):
                self._line.clear()
                output.say(f"The model {model} is ready.")
            case Failed(message):
                self._line.clear()
                output.say(f"edge-app: {message}")


class Signals:
    """Ends the server at Ctrl-C and SIGTERM; at once when a second one comes. got: the first signal."""

    def __init__(self, http: HttpServer) -> None:
        self.got: int | None = None
        self._http = http
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.got is not None:
            os._exit(output.ExitCode.INTERRUPTED)
        self.got = number
        self._http.end()
