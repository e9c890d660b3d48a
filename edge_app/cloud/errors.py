"""What can go wrong with an endpoint: one family, a kind for programs and a sentence for people."""

from __future__ import annotations

from typing import Literal

from models.core.errors import UserError

Kind = Literal[
    "refused",  # nothing accepts connections there, or there is no way to it
    "dns",  # its name cannot be found
    "tls",  # no safe connection
    "timeout",  # it took too long to connect, to begin, or to go on
    "unauthorised",  # 401
    "forbidden",  # 403
    "no_model",  # 404
    "too_large",  # 413
    "rejected",  # 400 and other 4xx: it does not like the request
    "rate_limited",  # 429
    "server",  # 5xx, or an error that is reported in the middle of an answer
    "malformed",  # not the stream it should be
    "empty",  # an answer without a word
    "slow",  # a drip
    "cut",  # the connection broke in the middle of the answer
    "redirect",  # somewhere else, where nothing is sent
    "huge",  # more bytes than an answer may have
    "cancelled",  # by the user
    "resting",  # too many failures in a row: not asked for now (edge_app/cloud/breaker.py)
    "spent",  # the day's money is (edge_app/cloud/ledger.py)
]


class CloudError(UserError):
    """The endpoint gave no whole answer; exit code 4. Never holds the key.

    status: the HTTP status, when there was one. retry_after: seconds the endpoint asked to wait.
    """

    exit_code = 4

    def __init__(
        self, kind: Kind, message: str, *, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status
        self.retry_after = retry_after
