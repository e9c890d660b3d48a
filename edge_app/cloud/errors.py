"""Errors of an endpoint: CloudError with its kinds, and the translation of a connection's exceptions into it."""

from __future__ import annotations

import math
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import urlsplit

from edge_app.cloud.endpoint import Endpoint
from edge_app.cloud.key import Key
from edge_app.system.terminal_text import capitalised, printable
from models.core.errors import NeedsNetwork, UserError

Kind = Literal[
    "refused",  # nothing accepts connections there, or there is no route to it
    "dns",  # the host name cannot be resolved
    "tls",  # no verified encrypted connection
    "timeout",  # it took too long to connect, to begin, or to go on
    "unauthorised",  # 401
    "forbidden",  # 403
    "no_model",  # 404
    "too_large",  # 413
    "rejected",  # 400 and other 4xx: the request is not accepted
    "rate_limited",  # 429
    "loading",  # 503 while the endpoint loads its model
    "server",  # 5xx, or an error that is reported in the middle of an answer
    "malformed",  # not a stream of chat completions
    "empty",  # an answer without text
    "slow",  # fewer characters a second than Limits.least_rate
    "cut",  # the connection broke in the middle of the answer
    "redirect",  # to another address, which is not followed
    "huge",  # more bytes than Limits.answer_bytes
    "cancelled",  # by the user
    "resting",  # too many failures in a row: not asked for a while (edge_app/cloud/breaker.py)
    "spent",  # the daily limit would be exceeded (edge_app/cloud/ledger.py)
]


class CloudError(UserError):
    """The endpoint gave no complete answer; exit code 4. The message never holds the key.

    status: the HTTP status, None without a response. retry_after: seconds that the endpoint asks to wait.
    said: the endpoint's own words, on one line and shortened; empty for none.
    """

    exit_code = 4

    def __init__(
        self,
        kind: Kind,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        said: str = "",
    ) -> None:
        super().__init__(message)
        self.said = said
        self.kind = kind
        self.status = status
        self.retry_after = retry_after


EXCERPT_CHARACTERS = 160
MALFORMED = (ValueError, TypeError, AttributeError, KeyError, IndexError, RecursionError)
"""What reading a malformed answer raises; JSON, UTF-8 and validation errors are ValueErrors."""


class TooManyBytesError(Exception):
    """The answer is larger than Limits.answer_bytes."""


class NotAStreamError(Exception):
    """The response is not an event stream; the message says why."""


class ReportedError(Exception):
    """The endpoint reports an error in its response. body: the JSON of the error, as `openai.APIError` has it."""

    def __init__(self, body: object) -> None:
        super().__init__("an error is reported")
        self.body = body


class EndedEarlyError(Exception):
    """The stream ended without a finish reason or [DONE]."""


def explain(error: BaseException, endpoint: Endpoint, key: Key | None, *, begun: bool) -> Exception:
    """The error to raise for what a request raised: a CloudError with one sentence, or NeedsNetwork.

    begun: a part of the answer had come. Exceptions that are not about the connection are returned unchanged, because
    they are defects.
    """
    import openai

    chain = tuple(_chain(error))
    for link in chain:
        if isinstance(link, CloudError):
            return link
        if isinstance(link, NeedsNetwork):
            return NeedsNetwork(str(link))
    if isinstance(error, openai.APIStatusError):
        return _status(error, endpoint, key)
    for kinds, tell in _rules(endpoint, key, begun, chain):
        for link in chain:
            if isinstance(link, kinds):
                return tell(link)
    return error if isinstance(error, Exception) else RuntimeError(repr(error))


Rule = tuple[Any, Callable[[Any], CloudError]]


def _rules(
    endpoint: Endpoint, key: Key | None, begun: bool, chain: tuple[BaseException, ...]
) -> tuple[Rule, ...]:
    """Exception types and the error for each. The first rule that matches any exception of the chain counts."""
    import httpx2
    import openai

    at = str(endpoint)

    def ended_early(_: Any) -> CloudError:
        if begun:
            return CloudError("cut", f"The connection to {at} broke in the middle of the answer.")
        return _malformed(at, "it ends before its first text")

    def no_connection(link: Any) -> CloudError:
        if begun:
            return ended_early(link)
        return CloudError("refused", f"There is no connection to {at} ({_last_words(chain)}).")

    return (
        (
            TooManyBytesError,
            lambda link: CloudError("huge", f"The answer of {at} is cut off: it is over {link}."),
        ),
        (NotAStreamError, lambda link: _malformed(at, str(link))),
        (EndedEarlyError, ended_early),
        (ssl.SSLError, lambda link: _unsafe(at, link)),
        (socket.gaierror, lambda _: CloudError("dns", _NO_NAME.format(endpoint.hostname))),
        (ConnectionRefusedError, lambda _: CloudError("refused", _NOTHING_THERE.format(at))),
        (httpx2.ConnectTimeout, lambda _: slow_to(at, "connect")),
        ((httpx2.TimeoutException, openai.APITimeoutError, TimeoutError), lambda _: slow_to(at, "answer")),
        ((openai.APIConnectionError, httpx2.RequestError), no_connection),
        (
            (openai.APIResponseValidationError, *MALFORMED),
            lambda _: _malformed(at, "what it sent cannot be read"),
        ),
        (
            (openai.APIError, ReportedError),
            lambda link: CloudError(
                "server", f"{capitalised(at)} reports an error{_after(_said(link, key))}."
            ),
        ),
    )


def slow_to(at: str, what: str) -> CloudError:
    """The error of an endpoint that passes a limit on time. what: what it should have done, an infinitive."""
    return CloudError("timeout", f"It took {at} too long to {what}.")


def seconds_to_wait(headers: Any) -> float | None:
    """Retry-After (RFC 9110 10.2.3: seconds, or a date) in seconds from now; None when missing or invalid."""
    text = str(headers.get("retry-after", "")).strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _status(error: Any, endpoint: Endpoint, key: Key | None) -> CloudError:
    at, status = capitalised(str(endpoint)), int(error.status_code)
    wait, said = seconds_to_wait(error.response.headers), _said(error, key)
    kind: Kind
    if status < 400:
        kind, message = "redirect", _ELSEWHERE.format(at, _target(error.response.headers, key))
    elif status in _BY_STATUS:
        kind, sentence = _BY_STATUS[status]
        if said:
            sentence = _BY_STATUS_AND_WORDS.get(status, sentence)
        message = sentence.format(at, model=endpoint.model, url=endpoint.url, said=said)
    elif status == 429:
        later = f" for another {wait:.0f} seconds" if wait else ""
        kind, message = "rate_limited", f"{at} takes no more questions{later}{_after(said)}."
    elif status == 503 and "loading" in said.lower():
        kind, message = "loading", f"{at} still loads its model (status 503): {said}."
    elif status >= 500 or status == 408:
        kind, message = "server", f"{at} is out of order (status {status}){_after(said)}."
    else:
        kind, message = "rejected", f"{at} did not accept the request (status {status}){_after(said)}."
    return CloudError(kind, message, status=status, retry_after=wait, said=said)


_BY_STATUS: dict[int, tuple[Kind, str]] = {
    401: (
        "unauthorised",
        "{} does not accept the key, or requires one; give it with `edge-app cloud setup`.",
    ),
    403: ("forbidden", "{} does not let this key use the model {model}."),
    404: ("no_model", "{} has no model {model}, or its address is not {url}."),
    413: ("too_large", "{} does not take a question and images this large; lower cloud_image_size."),
}
_BY_STATUS_AND_WORDS = {
    401: "{} does not accept the key ({said}); give one with `edge-app cloud setup`.",
    403: "{} refuses the question to the model {model}: {said}.",
    404: "{} does not answer with the model {model}: {said}.",
}
"""What is said instead when the endpoint gave its own reason, which is often about something else."""
_ELSEWHERE = "{} redirects to {}, where nothing was sent; if that is the right address, set it as cloud_url."
_NO_NAME = "The name {} cannot be found; check the address, or the connection to the internet."
_NOTHING_THERE = "Nothing accepts connections for {}; is it running, and the address right?"


def _unsafe(at: str, error: ssl.SSLError) -> CloudError:
    why = getattr(error, "verify_message", "") or error.reason or "the handshake failed"
    return CloudError("tls", f"There is no safe connection to {at} ({str(why).lower()}); nothing was sent.")


def _malformed(at: str, why: str) -> CloudError:
    return CloudError("malformed", f"The answer of {at} is not one that this app can read ({why}).")


def _said(error: Any, key: Key | None) -> str:
    """The endpoint's own words on one line: shortened, printable, and without the key; empty when there are none."""
    text = _words(error.body)
    text = " ".join(printable(key.hide_in(text) if key else text).split()).rstrip(".")
    return text if len(text) <= EXCERPT_CHARACTERS else text[: EXCERPT_CHARACTERS - 1] + "…"


def _words(body: object) -> str:
    """The message in the body of an error: of OpenAI's form, of FastAPI's (`detail`), or plain text that is no page."""
    if isinstance(body, dict):
        if isinstance(body.get("loc"), list) and isinstance(body.get("msg"), str):
            return f"{'.'.join(map(str, body['loc']))}: {body['msg']}"
        found = (body.get(name) for name in ("message", "error", "detail"))
        return next((words for value in found if (words := _words(value))), "")
    if isinstance(body, list):
        return _words(body[0]) if body else ""
    return body.strip() if isinstance(body, str) and not body.lstrip().startswith("<") else ""


def _after(said: str) -> str:
    return f": {said}" if said else ""


def _target(headers: Any, key: Key | None) -> str:
    """The host that a redirect names."""
    try:
        host = urlsplit(str(headers.get("location", ""))).hostname
    except ValueError:
        host = None
    if not host:
        return "another address of its own"
    return printable(key.hide_in(host) if key else host)[:EXCERPT_CHARACTERS]


def _last_words(chain: tuple[BaseException, ...]) -> str:
    """The system's message for the innermost OSError, else the last exception's message or name."""
    for link in reversed(chain):
        if isinstance(link, OSError) and link.strerror:
            return link.strerror
    return str(chain[-1]) or type(chain[-1]).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__
