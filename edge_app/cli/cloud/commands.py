"""`edge-app cloud`: sets up an endpoint, tests it, and lists the requests that were sent."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_app.cli import output
from edge_app.cli.options import JsonOption, OfflineOption, load_settings
from edge_app.system.terminal_text import capitalised, text_table
from models.core.errors import UserError

if TYPE_CHECKING:
    from edge_app.cloud.consent import ConsentStore
    from edge_app.cloud.endpoint import Endpoint
    from edge_app.cloud.key import Key
    from edge_app.cloud.ledger import Entry, Ledger
    from edge_app.cloud.payload import Payload
    from edge_app.cloud.protocol.dialect import DialectStore
    from edge_app.settings import Settings

app = typer.Typer(
    help="A cloud model, or a local server: setup, test, status, ledger, forget."
    "\n\n\b\nExample:\n  edge-app cloud status",
    no_args_is_help=True,
    rich_markup_mode=None,
)

TEST_QUESTION = "Answer with the one word: ready"
TEST_TOKENS = 1024  # the answer is one word; a model that thinks first needs more


@app.command()
def setup(
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="The address, as in https://api.example.com/v1.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="The model's name at the endpoint.")
    ] = None,
    key_stdin: Annotated[
        bool, typer.Option("--key-stdin", help="Read the key from stdin and keep it in the keyring.")
    ] = False,
) -> None:
    """Set up an OpenAI-compatible endpoint. Sends nothing. On a terminal, asks for missing options.

    The key is saved in the system's keyring, never in a file. EDGE_APP_CLOUD_KEY can be set instead.

    \b
    Examples:
      edge-app cloud setup
      edge-app cloud setup --url https://api.example.com/v1 --model big-model --key-stdin < key.txt
      edge-app cloud setup --url http://localhost:11434 --model llava
    """
    from edge_app.cloud import key as keys
    from edge_app.cloud.endpoint import endpoint
    from edge_app.settings_file import change_settings_file
    from edge_app.system import paths

    settings = load_settings()
    asks = sys.stdin.isatty() and not key_stdin
    if asks and url is None:
        url = typer.prompt("Address", default=settings.cloud_url, err=True)
    if asks and model is None:
        model = typer.prompt("Model", default=settings.cloud_model, err=True)
    url, model = url or settings.cloud_url, model or settings.cloud_model
    if url is None or model is None:
        raise typer.BadParameter("Give --url and --model.")
    place = endpoint(url, model)
    secret = _key(asks=asks, from_stdin=key_stdin, host=place.host)
    change_settings_file(paths.config_file(), {"cloud_url": place.url, "cloud_model": place.model})
    output.say(f"{capitalised(str(place))} is set up with the model {place.model}. Nothing has been sent.")
    if (left := load_settings()).cloud_url != place.url or left.cloud_model != place.model:
        output.say("EDGE_APP_CLOUD_URL or EDGE_APP_CLOUD_MODEL in the environment overrides this.")
    if secret is not None:
        keys.save(place.host, secret)
        output.say("The key is in the keyring.")


@app.command()
def test(
    allow_cloud: Annotated[
        bool, typer.Option("--allow-cloud", help="Send without asking; scripts need it.")
    ] = False,
    offline: OfflineOption = None,
    json: JsonOption = False,
) -> None:
    """Send a short question to the endpoint and measure the time. Shows the request and asks first.

    \b
    Examples:
      edge-app cloud test
      edge-app cloud test --allow-cloud --json
    """
    from edge_app.cloud import dispatch as asking
    from edge_app.cloud.payload import payload
    from edge_app.cloud.protocol.answer_reader import CloudWaiting
    from edge_app.cloud.protocol.thinking import CloudText, CloudThinking
    from edge_app.events import Progress
    from models.core.types import Message, Sampling

    settings = load_settings(offline=offline)
    place = asking.configured(settings)
    question = payload(place, [Message("user", TEST_QUESTION)], sampling=Sampling(max_tokens=TEST_TOKENS))
    with _ledger(settings) as ledger, _dialects() as dialects:
        cloud = asking.from_settings(settings, ledger, dialects)
        assert cloud is not None, "configured"
        _consent(question, allow_cloud)
        started, first, text, line = time.perf_counter(), None, "", output.ProgressLine()
        for piece in cloud.ask(question, purpose="test"):
            line.clear()
            if isinstance(piece, CloudText):
                first = first if first is not None else time.perf_counter()
                text += piece.text
            elif isinstance(piece, CloudWaiting):
                line.show(Progress("wait", piece.message, piece.done, piece.total))
            elif isinstance(piece, CloudThinking):
                line.think(piece.text)
        ended = time.perf_counter()
        entry = ledger.entries(1)[0]
    assert first is not None, "an answer has words"
    measured = {
        **_place(place),
        "answer": text.strip(),
        "first_ms": round((first - started) * 1000, 1),
        "total_ms": round((ended - started) * 1000, 1),
        "tokens": {"prompt": entry.prompt_tokens, "completion": entry.completion_tokens},
        "counted": entry.counted,
        "cost": entry.cost,
    }
    if json:
        output.result_json(measured)
        return
    output.result(f"{capitalised(str(place))} answers: {' '.join(text.split())[:200]}")
    output.result(
        f"first word after {measured['first_ms']:.0f} ms, the whole after {measured['total_ms']:.0f} ms"
    )


@app.command()
def status(json: JsonOption = False) -> None:
    """Show the endpoint, the consent, and today's costs. Sends nothing and shows no key.

    \b
    Example:
      edge-app cloud status --json
    """
    from edge_app.cloud import dispatch as asking
    from edge_app.cloud import key as keys

    settings = load_settings()
    if settings.cloud_url is None and settings.cloud_model is None:
        if json:
            output.result_json({"configured": False})
        else:
            output.result("No cloud is set up; `edge-app cloud setup` does that.")
        return
    place = asking.configured(settings)
    key = keys.find(place.host)
    with _ledger(settings) as ledger, _decisions() as decisions:
        allowed = decisions.hosts().get(place.host)
        facts = {
            "configured": True,
            **_place(place),
            "url": place.url,
            "key": key.source if key else None,
            "consent": {True: "always", False: "never", None: "ask"}[allowed],
            "offline": settings.offline,
            "spent_today": ledger.spent_today(),
            "daily_limit": settings.cloud_daily_limit,
            "requests": len(ledger.entries()),
        }
    if json:
        output.result_json(facts)
    else:
        output.result(text_table([(name, _shown(value)) for name, value in facts.items()]))


@app.command("ledger")
def ledger_(
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Only the newest N.")] = None,
    json: JsonOption = False,
) -> None:
    """List all requests that were ever sent, newest first: time, host, size, cost.

    \b
    Examples:
      edge-app cloud ledger --limit 20
      edge-app cloud ledger --json
    """
    with _ledger(load_settings()) as ledger:
        entries = ledger.entries(limit)
    if json:
        output.result_json([asdict(entry) for entry in entries])
    elif entries:
        heading = ("SENT", "WHERE", "MODEL", "BYTES", "IMAGES", "TOKENS", "COST", "OUTCOME", "SHA256")
        output.result(text_table([heading, *map(_row, entries)], right=(3, 4, 5, 6)))
    else:
        output.say("Nothing has ever been sent.")


@app.command()
def forget(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove the address, the model, the key and the consent. The ledger stays.

    \b
    Example:
      edge-app cloud forget --yes
    """
    from edge_app.cloud import key as keys
    from edge_app.cloud.endpoint import endpoint
    from edge_app.cloud.protocol.model_list import ModelListStore
    from edge_app.settings_file import change_settings_file
    from edge_app.system import paths

    settings = load_settings()
    if settings.cloud_url is None and settings.cloud_model is None:
        output.say("No cloud is set up.")
        return
    if not yes:
        if not sys.stdin.isatty():
            raise UserError("There is no terminal to ask on; add --yes to forget without being asked.")
        if not typer.confirm(f"Forget {settings.cloud_url}, its key and what you allowed?", err=True):
            return
    host = endpoint(settings.cloud_url, settings.cloud_model or "unknown").host if settings.cloud_url else ""
    had_key = keys.forget(host)
    with _decisions() as decisions, _dialects() as dialects, closing(ModelListStore.open()) as lists:
        decisions.forget(host)
        dialects.forget(host)
        lists.forget(host)
    change_settings_file(paths.config_file(), {"cloud_url": None, "cloud_model": None})
    output.say(f"Forgot {host}{', its key' if had_key else ''} and what you allowed; the ledger stays.")
    left = load_settings()
    if left.cloud_url or left.cloud_model or keys.find(host):
        output.say("The environment still sets the cloud (EDGE_APP_CLOUD_…); unset these variables too.")


def _key(*, asks: bool, from_stdin: bool, host: str) -> Key | None:
    """The key from stdin or the prompt; None keeps the saved one."""
    from edge_app.cloud.key import Key

    if from_stdin:
        return Key(sys.stdin.readline(), "keyring")
    if not asks:
        return None
    text = typer.prompt(
        f"Key for {host} (empty: none, or as it was)",
        default="",
        hide_input=True,
        show_default=False,
        err=True,
    )
    return Key(text, "keyring") if text.strip() else None


def _consent(question: Payload, allow_cloud: bool) -> None:
    """Returns when the question may be sent, else raises UserError. Asks the user on a terminal."""
    from edge_app.cloud.consent import judge
    from edge_app.reason_text import sentence

    asks = sys.stdin.isatty() and sys.stderr.isatty()
    with _decisions() as decisions:
        known = decisions.known(question.endpoint.host, question.images, None)
        permission = judge(
            question.endpoint, question.images, known, interactive=asks, allow_cloud=allow_cloud
        )
    if permission.reason is not None:
        raise UserError(sentence(permission.reason))
    if permission.action == "ask":
        output.say(f"To {question.endpoint}, model {question.endpoint.model}, {question.size} bytes:")
        output.say(f"  {question.question}")
        if not typer.confirm("Send this, once?", err=True):
            raise UserError("Nothing was sent.")


@contextmanager
def _ledger(settings: Settings) -> Iterator[Ledger]:
    from edge_app.cloud.ledger import Ledger

    ledger = Ledger.open(settings)
    try:
        yield ledger
    finally:
        ledger.close()


@contextmanager
def _decisions() -> Iterator[ConsentStore]:
    from edge_app.cloud.consent import ConsentStore

    store = ConsentStore.open()
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _dialects() -> Iterator[DialectStore]:
    from edge_app.cloud.protocol.dialect import DialectStore

    store = DialectStore.open()
    try:
        yield store
    finally:
        store.close()


def _place(place: Endpoint) -> dict[str, Any]:
    return {"place": place.noun, "host": place.host, "model": place.model}


def _shown(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4f}"
        case _:
            return str(value)


def _row(entry: Entry) -> tuple[str, ...]:
    from datetime import datetime

    sent = datetime.fromisoformat(entry.sent).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    estimated = "" if entry.counted else "~"
    return (
        sent,
        entry.host,
        entry.model,
        str(entry.bytes),
        str(len(entry.images)),
        f"{estimated}{entry.prompt_tokens}+{entry.completion_tokens}",
        "?" if entry.cost is None else f"{estimated}{entry.cost:.4f}",
        entry.status,
        entry.sha256[:12],
    )
