"""Errors of the server in the form of OpenAI's API: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

import json
from typing import Any, Literal

from edge_app.events import Failed
from models.core.errors import NeedsNetwork

Kind = Literal["invalid_request_error", "rate_limit_error", "server_error"]

CLOUD_FAILED = 4
"""The exit code of a turn whose endpoint failed and that has no local answer."""


class ApiError(Exception):
    """A request that gets an error as its reply.

    status: of HTTP. message: one sentence for the user. kind: OpenAI's `type`. code: for programs. param: the part of
    the request that is wrong, such as "messages[2].content"; None when it is none in particular.
    headers: further headers of the reply.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: Kind = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind: Kind = kind
        self.code = code
        self.param = param
        self.headers = headers or {}

    @classmethod
    def of_turn(cls, failure: Failed) -> ApiError:
        """The error of a turn that ended without an answer."""
        if failure.exit_code == NeedsNetwork.exit_code:
            return cls(failure.message, status=503, kind="server_error", code="needs_network")
        if failure.exit_code == CLOUD_FAILED:
            return cls(failure.message, status=502, kind="server_error", code="cloud_failed")
        return cls(failure.message)

    def body(self) -> dict[str, Any]:
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


INTERNAL = ApiError("The server failed; its log has the details.", status=500, kind="server_error")


def stopping() -> ApiError:
    """The error of a request that the end of the server cuts off."""
    return ApiError(
        "The server is stopping; ask again when it runs.", status=503, kind="server_error", code="stopping"
    )


def as_json(value: object) -> bytes:
    """A JSON text in ASCII, which no reader of event streams cuts at a separator of lines."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")
