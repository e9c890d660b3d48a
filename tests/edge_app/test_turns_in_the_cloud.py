"""Turns that go to the cloud: when they do, what is lost when it fails (nothing), what leaves (nothing without
consent). The endpoint is a real server on loopback, the engine a fake: what it answers does not matter here."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from edge_app import offline, paths, settings
from edge_app.assistant import Assistant, Turn
from edge_app.cloud import asking
from edge_app.cloud.breaker import FAILURES
from edge_app.cloud.client import Limits
from edge_app.cloud.consent import Proposal, Reply
from edge_app.cloud.endpoint import Endpoint
from edge_app.cloud.ledger import Ledger
from edge_app.events import (
    Answer,
    Answered,
    CloudFailed,
    Escalated,
    Event,
    Failed,
    Routed,
    TokenText,
    TurnSaved,
)
from edge_app.expectations import PRIOR_LOCAL, Expectations, cloud_prior
from edge_app.offline import switch
from edge_app.sessions import SavedTurn, SessionStore
from models.errors import UserError
from router.confidence import BLIND, FEATURES, NOBODY
from router.scenario import Mode
from tests.edge_app.cloud.misbehaving import (
    STREAM,
    Misbehaving,
    Script,
    Wire,
    answers,
    end,
    event,
    self_signed,
    status,
    word,
)
from tests.edge_app.conftest import new_image, png
from tests.edge_app.fakes import FakeEngine

DOUBTFUL, SURE = -5.0, -0.0001
LOCAL, CLOUD = "A cat.", "A tabby."


@dataclass
class FakeUser:
    """Replies as told to what it is asked."""

    reply: Reply = "once"
    asked: list[Proposal] = field(default_factory=list)
    meanwhile: Callable[[Proposal], None] = lambda _: None

    def ask(self, proposal: Proposal) -> Reply:
        self.asked.append(proposal)
        self.meanwhile(proposal)
        return self.reply


Make = Callable[..., Assistant]


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> None:
    """The library takes a second to load, which would be counted in the first test."""
    import openai  # noqa: F401


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(logprob=DOUBTFUL)


@pytest.fixture
def make(store: SessionStore, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """An assistant with an endpoint; none tries again, unless told to."""
    monkeypatch.setenv("EDGE_APP_CLOUD_KEY", "sk-of-the-test")
    with ExitStack() as stack:

        def make(url: str | None, user: FakeUser | None = None, **more: object) -> Assistant:
            named = {"cloud_url": url, "cloud_model": "big-model"} if url else {}
            chosen = settings.load(paths.config_file(), **{"cloud_retries": 0, **named, **more})
            made = Assistant(chosen, store, engine.load, consenter=user)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def server() -> Iterator[Misbehaving]:
    with Misbehaving(answers("A ", "tabby.")) as server:
        yield server


def events_of(assistant: Assistant, question: str = "What is this?", **turn: object) -> list[Event]:
    return list(assistant.answer(Turn(question, **{"allow_cloud": True, **turn})))  # type: ignore[arg-type]


def final(events: list[Event]) -> Answer:
    assert isinstance(events[-1], Answered), events
    return events[-1].answer


def ask(assistant: Assistant, question: str = "What is this?", **turn: object) -> Answer:
    return final(events_of(assistant, question, **turn))


def saved(store: SessionStore) -> SavedTurn:
    return store.get(store.latest()).turns[-1]


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TokenText))


def after_escalation(events: list[Event]) -> list[Event]:
    (at,) = [number for number, event in enumerate(events) if isinstance(event, Escalated)]
    return events[at + 1 :]


# -- when -------------------------------------------------------------------------------------------------


def test_a_doubtful_answer_is_asked_for_again_and_kept(
    make: Make, server: Misbehaving, store: SessionStore
) -> None:
    events = events_of(make(server.url), images=(png(),))
    (escalated,) = [event for event in events if isinstance(event, Escalated)]
    answer = final(events)
    assert text_of(events) == LOCAL + CLOUD
    assert text_of(after_escalation(events)) == CLOUD
    assert (answer.answer, answer.place, answer.kept, answer.model) == (CLOUD, "cloud", LOCAL, "big-model")
    assert escalated.probability is not None and escalated.threshold is not None
    assert (
        answer.reason
        == escalated.reason
        == (f"local server: local confidence {escalated.probability:.2f} below {escalated.threshold:.2f}")
    )
    assert (answer.tokens.prompt, answer.tokens.completion, answer.adapter) == (11, 3, None)
    assert 0 < answer.timing_ms.first_token < answer.timing_ms.total  # type: ignore[operator]
    assert (saved(store).result, saved(store).status) == (answer, "complete")


def test_an_endpoint_that_is_not_here_is_called_the_cloud(
    make: Make, server: Misbehaving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Endpoint, "is_local", property(lambda _: False))
    assert ask(make(server.url)).reason.startswith("cloud: local confidence 0.")


def test_a_sure_answer_stays_here(make: Make, server: Misbehaving, engine: FakeEngine) -> None:
    engine.logprob = SURE
    answer = ask(make(server.url))
    assert (answer.answer, answer.place, answer.kept, answer.offer) == (LOCAL, "local", None, None)
    assert answer.confidence is not None
    assert answer.reason.startswith(f"local: no adapter is installed; confidence {answer.confidence:.2f}, 0.")
    assert server.requests == []


@pytest.mark.parametrize("mode", ["eco", "fast"])
def test_these_modes_keep_an_answer_of_middling_confidence(
    make: Make, server: Misbehaving, engine: FakeEngine, mode: Mode
) -> None:
    engine.logprob = -0.5
    answer = ask(make(server.url), mode=mode)
    assert (answer.answer, answer.place, answer.mode) == (LOCAL, "local", mode)
    assert (
        answer.reason.startswith(f"local: mode {mode}")
        or "mode eco asks the local server only when" in answer.reason
    )
    assert server.requests == []


def test_eco_asks_the_cloud_only_on_demand_and_offers_it(make: Make, server: Misbehaving) -> None:
    assistant = make(server.url, FakeUser())
    answer = ask(assistant, mode="eco", allow_cloud=False)
    assert (answer.answer, answer.offer, server.requests) == (LOCAL, "ask_cloud", [])
    assert "mode eco asks the local server only when told to" in answer.reason


def test_quality_asks_the_cloud_first_and_nothing_here(
    make: Make, server: Misbehaving, engine: FakeEngine
) -> None:
    events = events_of(make(server.url), mode="quality")
    answer = final(events)
    assert [type(event) for event in events] == [
        *(TurnSaved, Routed, Escalated, TokenText, TokenText, Answered)
    ]
    assert (answer.answer, answer.place, answer.kept) == (CLOUD, "cloud", None)
    assert answer.reason.startswith("local server: mode quality: 0.90 expected of the local server")
    assert engine.calls == []


def test_quality_answers_here_when_the_cloud_cannot_and_says_why(make: Make, store: SessionStore) -> None:
    with Misbehaving(status(503)) as server:
        events = events_of(make(server.url), mode="quality")
    answer = final(events)
    assert (answer.answer, answer.place) == (LOCAL, "local")
    assert "mode quality, but the local server at" in answer.reason
    assert "is out of order (status 503)" in answer.reason
    (failed,) = [event for event in events if isinstance(event, CloudFailed)]
    assert failed.kept is None
    assert saved(store).result == answer


def test_without_an_endpoint_nothing_is_said_of_clouds_unless_one_was_asked_for(make: Make) -> None:
    assistant = make(None)
    for mode in ("auto", "fast", "eco"):
        assert "cloud" not in ask(assistant, mode=mode, allow_cloud=False).reason
    assert "no cloud is set up" in ask(assistant, allow_cloud=True).reason
    assert "mode quality, but no cloud is set up" in ask(assistant, mode="quality").reason


def test_half_an_endpoint_costs_no_answer(make: Make) -> None:
    answer = ask(make(None, cloud_url="https://api.example.com/v1"))
    assert (answer.answer, answer.place) == (LOCAL, "local")
    assert "cloud_model is missing" in answer.reason


def test_eco_has_smaller_budgets_and_so_has_auto_on_battery(
    make: Make, engine: FakeEngine, server: Misbehaving, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_app import planning as module
    from edge_app.battery import Battery

    made = make(server.url, eco_max_tokens=40, eco_image_size=64)
    ask(made, mode="eco")
    assert engine.calls[-1].sampling.max_tokens == 40
    ask(made, mode="fast")
    assert engine.calls[-1].sampling.max_tokens == 512
    monkeypatch.setattr(module, "battery", lambda: Battery(50, plugged=False))
    answer = ask(made, images=(png(size=(400, 300)),))
    assert engine.calls[-1].sampling.max_tokens == 40
    assert server.requests[-1].fields()["max_tokens"] == 40
    assert sent_sizes(server) == [(64, 48)]
    assert answer.place == "cloud"
    engine.logprob = SURE
    assert "on battery" in ask(made).reason


def sent_sizes(server: Misbehaving) -> list[tuple[int, int]]:
    """Of the images in the last request."""
    import base64
    import io

    import PIL.Image

    sizes = []
    for message in server.requests[-1].fields()["messages"]:
        for part in message["content"] if isinstance(message["content"], list) else ():
            if part["type"] == "image_url":
                data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
                sizes.append(PIL.Image.open(io.BytesIO(data)).size)
    return sizes


# -- early --------------------------------------------------------------------------------------------------


def judge_plain_answers_by_their_tokens() -> None:
    """What `edge-app eval confidence` leaves when it has data of plain answers: only for such, an answer is given
    up early."""
    weights = [0.0] * len(FEATURES)
    own = {
        "generation": FakeEngine.generation,
        "intercept": 0.0,
        "weights": weights,
        "rows": 500,
        "right": 300,
    }
    content = {"format": 1, "features": list(FEATURES), "adapters": {NOBODY + BLIND: own}}
    paths.ensure(paths.data_directory())
    paths.confidence_file().write_text(json.dumps(content))


def test_a_hopeless_answer_is_not_waited_for(
    make: Make, server: Misbehaving, engine: FakeEngine, store: SessionStore
) -> None:
    judge_plain_answers_by_their_tokens()
    engine.words = ("word ",) * 400
    events = events_of(make(server.url))
    answer = final(events)
    assert answer.answer == CLOUD
    assert answer.kept is not None and 0 < answer.kept.count("word") < 100
    assert saved(store).kept == answer.kept


def test_what_was_given_up_goes_on_when_the_cloud_fails(
    make: Make, engine: FakeEngine, store: SessionStore
) -> None:
    judge_plain_answers_by_their_tokens()
    engine.words = tuple(f"{number} " for number in range(100))
    with Misbehaving(status(500)) as server:
        events = events_of(make(server.url))
    answer = final(events)
    assert answer.answer == text_of(events) == "".join(engine.words)
    assert (answer.place, answer.stop_reason) == ("local", "stop")
    assert "out of order" in answer.reason
    (failed,) = [event for event in events if isinstance(event, CloudFailed)]
    assert failed.kept and answer.answer.startswith(failed.kept) and failed.kept != answer.answer
    assert saved(store).result == answer
    assert len(engine.calls) == 1, "it went on, it did not begin again"


def test_nothing_is_given_up_before_the_user_has_allowed_anything(
    make: Make, server: Misbehaving, engine: FakeEngine
) -> None:
    judge_plain_answers_by_their_tokens()
    engine.words = ("word ",) * 100
    user = FakeUser("no")
    answer = ask(make(server.url, user), allow_cloud=False)
    assert answer.answer.count("word") == 100
    assert len(user.asked) == 1


# -- faults: each of them, and the local answer survives -----------------------------------------------------


def stops_in_the_middle(wire: Wire) -> None:
    wire.send(STREAM, word("The "))
    wire.wait_until_gone()


def drips(wire: Wire) -> None:
    wire.send(STREAM)
    while True:
        wire.words("a")
        time.sleep(0.1)


def floods(wire: Wire) -> None:
    wire.send(STREAM)
    while True:
        wire.send(word("blah " * 50))


def breaks_off(wire: Wire) -> None:
    wire.send(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9999\r\n\r\n", word("The ")
    )


FAULTS: dict[str, tuple[Script, str]] = {
    "401": (status(401), "does not accept the key"),
    "403": (status(403), "does not let this key"),
    "404": (status(404), "has no model big-model"),
    "413": (status(413), "does not take a question and images this large"),
    "429": (status(429), "takes no more questions"),
    "429, retry-after": (status(429, Retry_After="7"), "another 7 seconds"),
    "500": (status(500), "status 500"),
    "503": (status(503), "status 503"),
    "no JSON": (status(200, b"{]"), "not one that this app can read"),
    "no SSE": (lambda wire: wire.send(STREAM, b"data: {]\n\n"), "cannot be read"),
    "an error in the stream": (
        lambda wire: wire.send(STREAM, word("The "), event({"error": {"message": "overloaded"}})),
        "overloaded",
    ),
    "empty": (answers(), "not a word"),
    "never begins": (lambda wire: wire.wait_until_gone(), "too long to begin"),
    "stops in the middle": (stops_in_the_middle, "too long to go on"),
    "the plug is pulled": (breaks_off, "broke in the middle"),
    "drip": (drips, "only drips"),
    "huge": (floods, "is cut off"),
    "redirect": (status(307, Location="https://evil.example/v1"), "evil.example"),
}


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Settings that make waiting short; limits that have no setting are made small."""
    monkeypatch.setattr(
        asking, "Limits", partial(Limits, slow_after=0.3, least_rate=50.0, answer_bytes=50_000)
    )
    return {
        "cloud_first_seconds": 0.4,
        "cloud_stall_seconds": 0.4,
        "cloud_total_seconds": 5.0,
        "cloud_connect_seconds": 0.4,
    }


def survives(events: list[Event], store: SessionStore, says: str) -> None:
    answer = final(events)
    (failed,) = [event for event in events if isinstance(event, CloudFailed)]
    assert says in failed.message and failed.kept == LOCAL
    assert (answer.answer, answer.place, answer.stop_reason, answer.kept) == (LOCAL, "local", "stop", None)
    assert answer.reason.startswith("local: ") and failed.message[1:-1] in answer.reason
    assert answer.offer == "ask_cloud"
    came = text_of(after_escalation(events))
    assert answer.broken == (came or None), "what had come of the other answer is kept too"
    turn = saved(store)
    assert (turn.answer, turn.status, turn.result, turn.broken) == (LOCAL, "complete", answer, came or None)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_local_answer_survives(
    make: Make, store: SessionStore, hasty: dict[str, float], fault: str
) -> None:
    script, says = FAULTS[fault]
    with Misbehaving(script) as server:
        survives(events_of(make(server.url, **hasty)), store, says)


@pytest.mark.parametrize("fault", ["500", "the plug is pulled"])
def test_cloud_first_loses_nothing_either(
    make: Make, store: SessionStore, hasty: dict[str, float], fault: str
) -> None:
    script, says = FAULTS[fault]
    with Misbehaving(script) as server:
        events = events_of(make(server.url, **hasty), mode="quality")
    answer = final(events)
    came = "The " if fault == "the plug is pulled" else None
    assert (answer.answer, answer.place, answer.broken) == (LOCAL, "local", came)
    assert says in answer.reason
    assert (saved(store).result, saved(store).broken) == (answer, came)


def test_it_survives_that_nothing_listens(make: Make, store: SessionStore) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    survives(events_of(make(f"http://127.0.0.1:{port}/v1")), store, "othing accepts connections")


def test_it_survives_a_name_that_is_not_there(make: Make, store: SessionStore) -> None:
    survives(events_of(make("https://nowhere.invalid/v1")), store, "nowhere.invalid cannot be found")


def test_it_survives_a_certificate_that_nobody_vouches_for(
    make: Make, store: SessionStore, tmp_path: Path
) -> None:
    with Misbehaving(answers("Hello."), certificate=self_signed(tmp_path)) as server:
        survives(events_of(make(server.url)), store, "no safe connection")
        assert server.requests == []


def test_it_survives_an_endpoint_that_takes_no_connection(
    make: Make, store: SessionStore, hasty: dict[str, float]
) -> None:
    with socket.socket() as full:  # a full backlog: further connections are neither taken nor refused
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        others = [socket.socket() for _ in range(3)]
        for other in others:
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}/v1"
        survives(events_of(make(url, **hasty)), store, "too long to connect")
        for other in others:
            other.close()


def test_no_place_has_an_answer(make: Make, engine: FakeEngine, store: SessionStore) -> None:
    def fails(_: int) -> None:
        raise UserError("The model is damaged.")

    engine.before_token = fails
    with Misbehaving(status(500)) as server:
        last = events_of(make(server.url), mode="quality")[-1]
    assert isinstance(last, Failed)
    assert last.exit_code == 4
    assert "out of order" in last.message and "the model is damaged" in last.message
    assert (saved(store).status, saved(store).error) == ("failed", last.message)


def test_one_hiccup_is_tried_again_and_changes_nothing(make: Make) -> None:
    with Misbehaving(status(503, Retry_After="0"), answers("A ", "tabby.")) as server:
        assistant = make(server.url, cloud_retries=1)
        assert ask(assistant).answer == CLOUD
        assert ask(assistant).answer == CLOUD
        assert assistant.cloud_state == "ready"


def test_a_dead_endpoint_slows_no_further_turn_and_one_failure_is_no_death(make: Make) -> None:
    with Misbehaving(status(500)) as server:
        assistant = make(server.url)
        assert ask(assistant).place == "local"
        assert assistant.cloud_state == "failing"
        server.scripts[:] = [answers("A ", "tabby."), status(500)]
        assert ask(assistant).place == "cloud", "the next question is asked as if nothing had been"
        assert assistant.cloud_state == "ready"
        for _ in range(FAILURES - 1):
            ask(assistant)
        assert assistant.cloud_state == "failing", "the answer in between has made up for the first failure"
        ask(assistant)
        sent = len(server.requests)
        assert assistant.cloud_state == "resting"
        answer = ask(assistant)
        assert (answer.place, len(server.requests)) == ("local", sent)
        assert "is left alone for a while" in answer.reason


# -- stopping -----------------------------------------------------------------------------------------------


def stopped_after(
    assistant: Assistant, when: Callable[[Event], bool], **turn: object
) -> tuple[Answer, float]:
    """The turn, cancelled from another thread at an event; and how long it went on then, in seconds."""
    at = [0.0]

    def stop() -> None:
        at[0] = time.monotonic()
        assistant.cancel()

    events = []
    for each in assistant.answer(Turn("What is this?", **{"allow_cloud": True, **turn})):  # type: ignore[arg-type]
        events.append(each)
        if when(each) and not at[0]:
            threading.Timer(0.05, stop).start()
    return final(events), time.monotonic() - at[0]


def test_a_cloud_answer_stops_within_100_ms_and_keeps_what_came(make: Make, store: SessionStore) -> None:
    with Misbehaving(stops_in_the_middle) as server:
        assistant = make(server.url)
        took = []
        for _ in range(3):  # the machine may be busy with something else
            answer, seconds = stopped_after(
                assistant, lambda each: isinstance(each, TokenText) and each.text == "The "
            )
            took.append(seconds)
        assert server.wires[0].gone.wait(2)
    assert min(took) < 0.1
    assert (answer.answer, answer.stop_reason, answer.place) == ("The ", "cancelled", "cloud")
    assert answer.kept == LOCAL
    assert (saved(store).status, saved(store).result) == ("stopped", answer)


def test_who_stops_before_the_cloud_has_said_anything_keeps_the_local_answer(
    make: Make, store: SessionStore
) -> None:
    with Misbehaving(lambda wire: wire.wait_until_gone()) as server:
        answer, _ = stopped_after(make(server.url), lambda each: isinstance(each, Escalated))
    assert (answer.answer, answer.place, answer.stop_reason) == (LOCAL, "local", "stop")
    assert "not waited for" in answer.reason
    assert (saved(store).status, saved(store).result) == ("complete", answer)


def test_a_stopped_local_answer_is_not_sent_anywhere(
    make: Make, server: Misbehaving, engine: FakeEngine
) -> None:
    assistant = make(server.url)
    engine.before_token = lambda number: assistant.cancel() if number == 1 else None
    answer = ask(assistant)
    assert (answer.answer, answer.stop_reason, server.requests) == ("A ", "cancelled", [])


@pytest.mark.parametrize(
    ("mode", "leaves_at", "answer", "state", "kept"),
    [
        ("auto", TurnSaved, "", "stopped", None),
        ("auto", Escalated, LOCAL, "complete", None),
        ("quality", Escalated, "", "stopped", None),
        ("quality", TokenText, "The ", "stopped", None),
    ],
)
def test_leaving_the_iterator_loses_nothing(
    make: Make,
    store: SessionStore,
    mode: Mode,
    leaves_at: type[Event],
    answer: str,
    state: str,
    kept: str | None,
) -> None:
    with Misbehaving(stops_in_the_middle) as server:
        events = make(server.url).answer(Turn("?", mode=mode, allow_cloud=True))
        for each in events:
            if isinstance(each, leaves_at):
                break
        events.close()
        turn = saved(store)
    assert (turn.answer, turn.status, turn.kept) == (answer, state, kept)


KILLED = """
import sys
from edge_app import paths, settings
from edge_app.assistant import Assistant, Turn
from edge_app.sessions import SessionStore
from tests.edge_app.fakes import FakeEngine
chosen = settings.load(paths.config_file())
assistant = Assistant(chosen, SessionStore.open(), FakeEngine(logprob=-5.0).load)
for event in assistant.answer(Turn("What is this?", mode=sys.argv[1], allow_cloud=True)):
    print(event, flush=True)
"""


@pytest.mark.parametrize(
    ("mode", "answer", "state", "broken"),
    [("auto", LOCAL, "complete", "The "), ("quality", "The ", "interrupted", None)],
)
def test_kill_9_in_the_middle_of_a_cloud_answer_keeps_both(
    monkeypatch: pytest.MonkeyPatch, mode: Mode, answer: str, state: str, broken: str | None
) -> None:
    """The endpoint pauses: nothing more comes that could make anybody save."""
    monkeypatch.setenv("EDGE_APP_CLOUD_MODEL", "big-model")
    monkeypatch.setenv("EDGE_APP_CLOUD_KEY", "sk-of-the-test")
    with Misbehaving(stops_in_the_middle) as server:
        monkeypatch.setenv("EDGE_APP_CLOUD_URL", server.url)
        child = subprocess.Popen([sys.executable, "-c", KILLED, mode], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        while "TokenText(text='The ')" not in child.stdout.readline():
            assert child.poll() is None
        time.sleep(2.0)
        child.kill()
        child.communicate()
    again = SessionStore.open()
    turn = saved(again)
    again.close()
    assert (turn.answer, turn.status, turn.broken) == (answer, state, broken)


def test_an_interruption_is_raised_once_the_stopped_answer_has_been_told(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_app.cloud import client

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with Misbehaving(lambda wire: wire.wait_until_gone()) as server:
        events, seen = make(server.url).answer(Turn("?", allow_cloud=True)), []
        with pytest.raises(KeyboardInterrupt):
            for each in events:
                seen.append(each)
                if isinstance(each, Escalated):
                    monkeypatch.setattr(client._Clock, "check", interrupted)
    assert final(seen).answer == LOCAL


# -- consent ------------------------------------------------------------------------------------------------


def test_a_script_needs_to_allow_it_each_time(make: Make, server: Misbehaving) -> None:
    assistant = make(server.url)
    assistant.decisions.decide(server.endpoint.host, "always", None)
    for mode in ("auto", "quality"):
        answer = ask(assistant, allow_cloud=False, mode=mode)
        assert (answer.answer, answer.place, server.requests) == (LOCAL, "local", [])
        assert f"asking the local server at {server.endpoint.host} needs --allow-cloud" in answer.reason
    assert assistant.cloud_state == "ready"


def test_the_user_is_shown_exactly_what_would_leave(
    make: Make, server: Misbehaving, engine: FakeEngine
) -> None:
    user = FakeUser("once")
    assistant = make(server.url, user)
    engine.logprob = SURE
    first = ask(
        assistant, "What is in it?", images=(png(size=(2048, 512)),), allow_cloud=False, system="Be brief."
    )
    engine.logprob = DOUBTFUL
    answer = ask(assistant, "And its colour?", session=first.session, allow_cloud=False)
    (proposal,) = user.asked
    shown = proposal.payload
    assert (shown.question, shown.earlier_turns, shown.system) == ("And its colour?", 1, "Be brief.")
    assert [(image.width, image.height) for image in shown.images] == [(1024, 256)]
    assert shown.endpoint.host == server.endpoint.host
    assert proposal.session == first.session
    assert answer.reason == proposal.reason
    (request,) = server.requests
    assert request.body == shown.body, "to the byte"
    assert LOCAL in request.body.decode(), "the answer before goes along"
    assert b"Exif" not in request.body


@pytest.mark.parametrize(
    ("reply", "first", "asked"),
    [
        ("once", "cloud", 3),
        ("no", "local", 3),
        ("chat", "cloud", 2),
        ("always", "cloud", 1),
        ("never", "local", 1),
    ],
)
def test_decisions_hold_where_they_were_meant(
    make: Make, server: Misbehaving, reply: Reply, first: str, asked: int
) -> None:
    """A question, another in the same chat, one in another chat."""
    user = FakeUser(reply)
    assistant = make(server.url, user)
    answer = ask(assistant, allow_cloud=False)
    assert answer.place == first
    ask(assistant, session=answer.session, allow_cloud=False)
    ask(assistant, allow_cloud=False)
    assert len(user.asked) == asked
    assert bool(server.requests) == (first == "cloud")
    if first == "local":
        assert answer.answer == LOCAL and server.endpoint.host in answer.reason


def test_quality_asks_the_user_first_and_answers_here_when_told_no(make: Make, server: Misbehaving) -> None:
    answer = ask(make(server.url, FakeUser("no")), mode="quality", allow_cloud=False)
    assert (answer.answer, answer.place, server.requests) == (LOCAL, "local", [])
    assert f"mode quality, but you did not allow {server.endpoint.host}" in answer.reason


def test_an_image_that_is_marked_never_leaves(make: Make, server: Misbehaving) -> None:
    assistant = make(server.url, FakeUser("always"))
    assistant.decisions.withhold(new_image().digest)
    answer = ask(assistant, images=(new_image().data,))
    assert (answer.place, server.requests, answer.offer) == ("local", [], None)
    assert "marked never to be sent" in answer.reason
    later = ask(assistant, "And now?", session=answer.session)
    assert (later.place, server.requests) == ("local", []), "it would go along with the next question"
    assistant.decisions.release(new_image().digest)
    assert ask(assistant, images=(new_image().data,)).place == "cloud"


def test_an_image_that_is_marked_while_the_user_is_asked_does_not_leave(
    make: Make, server: Misbehaving
) -> None:
    user = FakeUser("always")
    assistant = make(server.url, user)
    user.meanwhile = lambda proposal: assistant.decisions.withhold(proposal.payload.images[0].digest)
    answer = ask(assistant, images=(png(),), allow_cloud=False)
    assert (answer.answer, answer.place, server.requests) == (LOCAL, "local", [])


def test_a_turn_that_is_stopped_while_the_user_is_asked_sends_nothing(
    make: Make, server: Misbehaving, store: SessionStore
) -> None:
    user = FakeUser("always")
    assistant = make(server.url, user)

    def stopped(proposal: Proposal) -> None:
        assistant.cancel()
        assert proposal.stopped.is_set()

    user.meanwhile = stopped
    answer = ask(assistant, allow_cloud=False)
    assert (answer.answer, answer.place, server.requests) == (LOCAL, "local", [])
    assert saved(store).result == answer
    user.meanwhile = lambda _: None
    ask(assistant, allow_cloud=False)
    assert len(user.asked) == 2, "what was said to a stopped question was not kept"


# -- what stays ---------------------------------------------------------------------------------------------


def test_a_chat_goes_on_across_places(make: Make, server: Misbehaving, engine: FakeEngine) -> None:
    assistant = make(server.url)
    session = ask(assistant, "One?").session
    engine.logprob = SURE
    ask(assistant, "Two?", session=session)
    assert [(m.role, m.text) for m in engine.calls[-1].messages] == [
        ("user", "One?"),
        ("assistant", CLOUD),
        ("user", "Two?"),
    ]
    engine.logprob = DOUBTFUL
    ask(assistant, "Three?", session=session)
    sent = server.requests[-1].fields()["messages"]
    assert [message["content"] for message in sent] == ["One?", CLOUD, "Two?", LOCAL, "Three?"]


def test_the_export_shows_places_reasons_and_the_kept_answer(
    make: Make, server: Misbehaving, store: SessionStore
) -> None:
    from edge_app.export import to_json, to_markdown

    answer = ask(make(server.url))
    chat = store.get(store.latest())
    (turn,) = to_json(chat)["turns"]
    assert (turn["answer"], turn["kept"], turn["broken"]) == (CLOUD, LOCAL, None)
    assert (turn["result"]["place"], turn["result"]["reason"]) == ("cloud", answer.reason)
    text = to_markdown(chat)
    assert CLOUD in text and f"Local answer, kept: {LOCAL}" in text and answer.reason in text


def test_the_ledger_has_what_left_and_the_averages_learn(make: Make, server: Misbehaving) -> None:
    assistant = make(server.url)
    answer = ask(assistant)
    ledger = Ledger.open(assistant.settings)
    (entry,) = ledger.entries()
    ledger.close()
    assert (entry.session, entry.purpose, entry.status) == (answer.session, "turn", "complete")
    averages = Expectations.open(assistant.settings)
    assert averages.of("local", None) != PRIOR_LOCAL
    assert averages.of("cloud", None) != cloud_prior(assistant.settings)
    averages.close()


# -- on demand ----------------------------------------------------------------------------------------------


def ask_again(assistant: Assistant, session: str | None, store: SessionStore) -> list[Event]:
    assert session is not None
    return list(assistant.ask_cloud(session, store.get(session).turns[-1].id))


def test_a_saved_turn_is_asked_again_on_demand(
    make: Make, server: Misbehaving, engine: FakeEngine, store: SessionStore
) -> None:
    engine.logprob = SURE
    assistant = make(server.url, FakeUser("once"))
    before = ask(assistant, images=(png(),), allow_cloud=False)
    events = ask_again(assistant, before.session, store)
    assert [type(event) for event in events] == [Escalated, TokenText, TokenText, Answered]
    answer = final(events)
    assert (answer.answer, answer.kept, answer.place) == (CLOUD, LOCAL, "cloud")
    assert answer.reason == "local server: as you asked"
    assert len(store.get(before.session or "").turns) == 1
    assert saved(store).result == answer
    assert sent_sizes(server) == [(8, 6)]
    final(ask_again(assistant, before.session, store))
    assert saved(store).kept == LOCAL, "the local answer is what is kept, however often"


def test_what_was_there_stays_when_the_cloud_cannot(make: Make, store: SessionStore) -> None:
    with Misbehaving(breaks_off) as server:
        assistant = make(server.url, FakeUser("once"))
        before = ask(assistant, mode="eco", allow_cloud=False)
        events = ask_again(assistant, before.session, store)
    answer = final(events)
    (failed,) = [event for event in events if isinstance(event, CloudFailed)]
    assert (failed.kept, answer.answer, answer.broken, answer.place) == (LOCAL, LOCAL, "The ", "local")
    assert "broke in the middle" in answer.reason
    assert saved(store).result == answer


def test_consent_holds_on_demand_too(make: Make, server: Misbehaving, store: SessionStore) -> None:
    assistant = make(server.url, FakeUser("no"))
    before = ask(assistant, mode="eco", allow_cloud=False)
    answer = final(ask_again(assistant, before.session, store))
    assert (answer.answer, server.requests) == (LOCAL, [])
    assert "you did not allow" in answer.reason


def test_a_turn_that_failed_here_may_be_answered_there(
    make: Make, server: Misbehaving, engine: FakeEngine, store: SessionStore
) -> None:
    def fails(_: int) -> None:
        raise UserError("The model is damaged.")

    engine.before_token = fails
    assistant = make(server.url, FakeUser("once"))
    assert isinstance(events_of(assistant)[-1], Failed)
    answer = final(ask_again(assistant, store.latest(), store))
    assert (answer.answer, answer.kept, saved(store).status) == (CLOUD, None, "complete")
    server.scripts[:] = [status(500)]
    assert isinstance(events_of(assistant)[-1], Failed)
    last = ask_again(assistant, store.latest(), store)[-1]
    assert isinstance(last, Failed)
    assert (last.exit_code, "out of order" in last.message) == (4, True)


def test_there_must_be_such_a_turn(make: Make, server: Misbehaving) -> None:
    assistant = make(server.url)
    session = ask(assistant).session
    (event_,) = assistant.ask_cloud(session or "", 99)
    assert isinstance(event_, Failed) and "no turn 99" in event_.message


# -- offline ------------------------------------------------------------------------------------------------


def test_offline_is_looked_at_in_every_turn(
    make: Make, server: Misbehaving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Endpoint, "is_local", property(lambda _: False))
    assistant = make(server.url)
    switch.turn_on()
    for mode in ("auto", "quality"):
        answer = ask(assistant, mode=mode)
        assert (answer.answer, answer.place, answer.offer, server.requests) == (LOCAL, "local", None, [])
        assert "the app is offline" in answer.reason
    assert assistant.cloud_state == "offline"
    switch.turn_off()
    assert ask(assistant).place == "cloud"


def test_offline_nothing_is_asked_of_the_user_either(
    make: Make, server: Misbehaving, store: SessionStore, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Endpoint, "is_local", property(lambda _: False))
    user = FakeUser("always")
    assistant = make(server.url, user)
    switch.turn_on()
    before = ask(assistant, allow_cloud=False)
    answer = final(ask_again(assistant, before.session, store))
    assert (answer.answer, "the app is offline" in answer.reason) == (LOCAL, True)

    def fails(_: int) -> None:
        raise UserError("The model is damaged.")

    engine.before_token = fails
    events_of(assistant)
    assert ask_again(assistant, store.latest(), store)[-1] == Failed(
        "There is no answer: the app is offline.", 3
    )
    assert (user.asked, server.requests) == ([], [])


def test_going_offline_pulls_the_plug_and_loses_nothing(
    make: Make, store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loopback stands in for the network: it is told apart by the address alone."""
    monkeypatch.setattr(Endpoint, "is_local", property(lambda _: False))
    with Misbehaving(stops_in_the_middle) as server:
        events = []
        for each in make(server.url).answer(Turn("What is this?", allow_cloud=True)):
            events.append(each)
            if isinstance(each, TokenText) and each.text == "The ":
                monkeypatch.setattr(offline, "is_loopback", lambda _: False)
                switch.turn_on()
    answer = final(events)
    assert (answer.answer, answer.place, answer.broken) == (LOCAL, "local", "The ")
    assert "broke in the middle" in answer.reason
    assert saved(store).result == answer


def test_a_server_on_this_machine_is_asked_offline_too(make: Make, server: Misbehaving) -> None:
    switch.turn_on()
    assert ask(make(server.url)).place == "cloud"


def test_the_end_of_a_long_answer_is_told(make: Make) -> None:
    with Misbehaving(lambda wire: wire.send(STREAM, word("A ta"), end(reason="length"))) as server:
        assert ask(make(server.url)).stop_reason == "length"
