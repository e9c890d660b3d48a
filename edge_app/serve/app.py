"""The server as an ASGI application: its paths, its errors, and the model that loads while it already listens."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_app.answer import Answer
from edge_app.assistant import Assistant
from edge_app.engine.engine_loading import LoadEngine, load_engine
from edge_app.events import Event, Ready
from edge_app.serve.access import AccessGuard, own_names
from edge_app.serve.chat_request import ChatRequestReader
from edge_app.serve.completions import ChatCompletions
from edge_app.serve.errors import INTERNAL, ApiError, as_json
from edge_app.serve.model_names import ServedModels
from edge_app.serve.request_images import RequestImages
from edge_app.serve.waiting_line import WaitingLine
from edge_app.settings import Settings
from edge_app.system.terminal_text import one_line
from models.core.errors import UserError

WITH_CLOUD = 4
"""Answers at the same time where a cloud is asked, which takes time but no processor. The model answers one by one."""


@dataclass(frozen=True)
class ServeOptions:
    """host: as it was given. loopback: whether only this machine can reach it. keys: accepted keys; empty for none.

    images_from: the folder that images may be read from. allow_cloud: requests may be sent to the endpoint.
    verbose: a line on stderr for each request.
    """

    host: str
    loopback: bool
    keys: tuple[str, ...] = ()
    images_from: Path | None = None
    allow_cloud: bool = False
    verbose: bool = False


class AssistantServer:
    """Answers requests with one assistant. `app` is the ASGI application.

    report: called with the events of loading the model, on a thread of its own. load: as Assistant has it.
    """

    def __init__(
        self,
        settings: Settings,
        options: ServeOptions,
        report: Callable[[Event], None],
        load: LoadEngine = load_engine,
    ) -> None:
        if not options.allow_cloud:  # then no stored decision can send anything either
            settings = settings.model_copy(update={"cloud_url": None, "cloud_model": None})
        self.assistant = Assistant(settings, None, load)
        self._report = report
        self._state: Literal["loading", "ready", "failed"] = "loading"
        has_cloud = settings.cloud_url is not None
        self._line = WaitingLine(WITH_CLOUD if has_cloud else 1)
        self._models = ServedModels(settings, self.assistant.adapters)
        reader = ChatRequestReader(
            settings, self._models, RequestImages(options.images_from), allow_cloud=options.allow_cloud
        )
        completions = ChatCompletions(self.assistant, reader, self._line, live=not has_cloud)
        self.app = self._application(options, completions)

    def load(self) -> None:
        """Loads the model in the background. Requests that come meanwhile wait for it."""
        threading.Thread(target=self._load, name="model loading", daemon=True).start()

    def stop(self) -> None:
        """Ends the answers that run, with an error for those who wait."""
        self._line.close()
        self.assistant.cancel()

    def close(self, seconds: float) -> bool:
        """Frees the engine. Returns whether that ended in time; a compilation ends at its next step."""
        closing = threading.Thread(target=self.assistant.close, name="closing", daemon=True)
        closing.start()
        closing.join(seconds)
        return not closing.is_alive()

    def _load(self) -> None:
        event: Event | None = None
        try:
            for event in self.assistant.prepare():
                self._report(event)
        finally:
            is_ready = isinstance(event, Ready)  # the last event, when nothing went wrong
            self._state = "ready" if is_ready else "failed"

    def _application(self, options: ServeOptions, completions: ChatCompletions) -> ASGIApp:
        routes = [
            Route("/v1/chat/completions", completions, methods=["POST"]),
            Route("/v1/models", self._list_models, methods=["GET"]),
            Route("/v1/models/{name:path}", self._show_model, methods=["GET"]),
            Route("/health", self._health, methods=["GET"]),
        ]
        handlers: dict[Any, Any] = {
            ApiError: lambda _, error: _error_response(error),
            UserError: lambda _, error: _error_response(
                ApiError(str(error), status=503, kind="server_error")
            ),
            HTTPException: _not_found,
            Exception: lambda *_: _error_response(INTERNAL),
        }
        app: ASGIApp = Starlette(routes=routes, exception_handlers=handlers)
        names = own_names(options.host)
        app = AccessGuard(app, names=names, loopback=options.loopback, keys=options.keys)
        return RequestLog(app) if options.verbose else app

    def _list_models(self, _: Request) -> Response:
        return _json({"object": "list", "data": [model.as_json() for model in self._models.all()]})

    def _show_model(self, request: Request) -> Response:
        return _json(self._models.get(request.path_params["name"]).as_json())

    def _health(self, _: Request) -> Response:
        return _json({"status": "ok", "model": self._state, "requests": self._line.length})


class RequestLog:
    """Writes a line on stderr for each request: who, what, status, seconds, and who answered. No text of requests."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, status = time.monotonic(), 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            client = (scope.get("client") or ("-", 0))[0]
            answer: Answer | None = scope.get("state", {}).get("answer")
            who = f" {answer.adapter or answer.model} {answer.place}" if answer is not None else ""
            gone = "" if status else " gone"
            seconds = time.monotonic() - started
            line = f"{client} {scope.get('method', '-')} {scope.get('path', '-')} {status}{gone} {seconds:.2f} s{who}"
            print(one_line(line), file=sys.stderr, flush=True)


def _json(value: object) -> Response:
    return Response(as_json(value), media_type="application/json")


def _error_response(error: ApiError) -> Response:
    return Response(as_json(error.body()), error.status, headers=error.headers, media_type="application/json")


def _not_found(request: Request, error: HTTPException) -> Response:
    """The reply to a path or a method that is not served."""
    path = request.url.path
    if error.status_code == 405:
        message, code = f"{path} does not take {request.method}.", "method_not_allowed"
    else:
        message, code = (
            f"There is no {path} here; this server has /v1/chat/completions and /v1/models.",
            "unknown_url",
        )
    headers = dict(error.headers or {})
    return _error_response(ApiError(message, status=error.status_code, code=code, headers=headers))
