"""A question to the endpoint with ledger, daily limit, breaker and retries."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edge_app.cloud.breaker import FAILURES
from edge_app.cloud.client import Limits
from edge_app.cloud.dispatch import Backoff, Cloud, from_settings
from edge_app.cloud.endpoint import Endpoint, endpoint
from edge_app.cloud.errors import CloudError
from edge_app.cloud.ledger import Ledger
from edge_app.cloud.payload import Payload, payload
from edge_app.cloud.protocol.answer_reader import CloudDone, Piece
from edge_app.cloud.protocol.thinking import CloudText
from edge_app.settings import Price, Settings
from edge_app.system import offline, paths
from models.core.errors import NeedsNetwork, UserError
from models.core.types import Message, Sampling
from tests.edge_app.cloud.misbehaving import STREAM, Misbehaving, Wire, answers, status, word

QUICK = Backoff(retries=2, first=0.02, longest=0.5)
PRICES = {"big-model": Price(input=1000.0, output=2000.0)}


@pytest.fixture
def ledger(home: Path) -> Iterator[Ledger]:
    assert paths.sessions_file().is_relative_to(home)
    ledger = limited(None)
    yield ledger
    ledger.close()


def limited(daily_limit: float | None) -> Ledger:
    return Ledger.open(Settings(cloud_prices=PRICES, cloud_daily_limit=daily_limit))


def ask_of(place: Endpoint) -> Payload:
    return payload(place, [Message("user", "What is it?")], sampling=Sampling(max_tokens=50))


def cloud(place: Endpoint, ledger: Ledger, **more: object) -> Cloud:
    options: dict[str, object] = {"backoff": QUICK, "limits": Limits(first=20.0), "find_key": lambda _: None}
    return Cloud(place, ledger, **{**options, **more})  # type: ignore[arg-type]


def ask(asked: Cloud, **more: object) -> list[Piece]:
    return list(asked.ask(ask_of(asked.endpoint), **more))  # type: ignore[arg-type]


def statuses(ledger: Ledger) -> list[tuple[int, str]]:
    return [(entry.attempt, entry.status) for entry in reversed(ledger.entries())]


def far_away(server: Misbehaving, monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    """The loopback server, treated as one in the cloud, so that it costs money."""
    monkeypatch.setattr(Endpoint, "is_local", property(lambda _: False))
    return server.endpoint


# -- second tries


class Unpaused(threading.Event):
    """Records the seconds that a wait would have taken, and returns at once."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.pauses.append(timeout)
        return self.is_set()


def test_what_passes_is_tried_again(ledger: Ledger) -> None:
    cancel = Unpaused()
    with Misbehaving(status(500), status(429, Retry_After="0.4"), answers("A cat.")) as server:
        pieces = ask(cloud(server.endpoint, ledger), cancel=cancel)
    assert pieces == [CloudText("A cat."), CloudDone("stop", 11, 3)]
    assert len(cancel.pauses) == 2 and cancel.pauses[1] == 0.4
    assert statuses(ledger) == [(1, "server"), (2, "rate_limited"), (3, "complete")]


def test_tries_are_bounded(ledger: Ledger) -> None:
    with Misbehaving(status(503)) as server, pytest.raises(CloudError) as caught:
        ask(cloud(server.endpoint, ledger))
    assert (caught.value.kind, len(server.requests)) == ("server", 3)


@pytest.mark.parametrize("code", [401, 403, 404, 413, 400, 302])
def test_what_stays_wrong_is_asked_once(ledger: Ledger, code: int) -> None:
    with Misbehaving(status(code)) as server, pytest.raises(CloudError):
        ask(cloud(server.endpoint, ledger))
    assert len(server.requests) == 1


def test_a_long_retry_after_is_reported_at_once(ledger: Ledger) -> None:
    with (
        Misbehaving(status(429, Retry_After="3600")) as server,
        pytest.raises(CloudError, match="3600 seconds"),
    ):
        ask(cloud(server.endpoint, ledger))
    assert len(server.requests) == 1


def test_pauses_grow_and_differ() -> None:
    backoff = Backoff(retries=5, first=1.0, longest=3.0)
    for attempt, whole in enumerate((1.0, 2.0, 3.0, 3.0)):
        pauses = [backoff.pause(attempt, None) for _ in range(50)]
        assert all(pause is not None and whole / 2 <= pause <= whole for pause in pauses)
        assert len(set(pauses)) > 40
    assert backoff.pause(0, 2.5) == 2.5
    assert backoff.pause(0, 3.5) is None


def test_once_a_word_has_come_nothing_is_tried_again(ledger: Ledger) -> None:
    cut = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9999\r\n\r\n"
    came: list[Piece] = []
    with (
        Misbehaving(lambda wire: wire.send(cut, word("The "))) as server,
        pytest.raises(CloudError) as caught,
    ):
        for piece in cloud(server.endpoint, ledger).ask(ask_of(server.endpoint)):
            came.append(piece)
    assert (caught.value.kind, came, len(server.requests)) == ("cut", [CloudText("The ")], 1)
    (entry,) = ledger.entries()
    assert (entry.status, entry.completion_tokens, entry.counted) == ("cut", 1, False)


class SetInAPause(threading.Event):
    """An event that another thread sets as soon as it is waited for."""

    def wait(self, timeout: float | None = None) -> bool:
        threading.Thread(target=self.set).start()
        return super().wait(timeout)


def test_a_stop_is_heard_in_a_pause(ledger: Ledger) -> None:
    with Misbehaving(status(500)) as server:
        asked = cloud(server.endpoint, ledger, backoff=Backoff(first=60.0, longest=60.0))
        with pytest.raises(CloudError) as caught:
            ask(asked, cancel=SetInAPause())
    assert (caught.value.kind, len(server.requests)) == ("cancelled", 1)


def test_going_offline_in_the_middle_ends_the_answer(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def talks(wire: Wire) -> None:
        wire.send(STREAM, word("The "))
        wire.wait_until_gone()

    with Misbehaving(talks) as server:
        place = far_away(server, monkeypatch)
        monkeypatch.setattr(offline, "is_loopback", lambda _: False)  # the server is taken for one far away
        pieces = cloud(place, ledger).ask(ask_of(place))
        assert next(pieces) == CloudText("The ")
        offline.switch.turn_on()
        with pytest.raises(CloudError, match="broke in the middle"):
            next(pieces)
        with pytest.raises(NeedsNetwork):
            ask(cloud(place, ledger))
    assert statuses(ledger) == [(1, "cut")]


# -- the breaker


def test_a_dead_endpoint_slows_no_further_question(ledger: Ledger) -> None:
    with Misbehaving(status(500)) as server:
        asked = cloud(server.endpoint, ledger, backoff=Backoff(retries=0))
        for _ in range(FAILURES):
            with pytest.raises(CloudError, match="out of order"):
                ask(asked)
        with pytest.raises(CloudError, match="left alone") as caught:
            ask(asked)
    assert (caught.value.kind, len(server.requests), len(ledger.entries())) == ("resting", FAILURES, FAILURES)


def test_stops_by_the_user_are_no_failures(ledger: Ledger) -> None:
    def talks(wire: Wire) -> None:
        wire.send(STREAM, word("The "))
        wire.wait_until_gone()

    with Misbehaving(talks) as server:
        asked = cloud(server.endpoint, ledger)
        for _ in range(FAILURES + 1):
            pieces = asked.ask(ask_of(server.endpoint))
            next(pieces)
            pieces.close()
    assert asked.breaker.state == "closed"
    assert {entry.status for entry in ledger.entries()} == {"cancelled"}


# -- the record


def test_every_request_is_recorded_with_what_it_was_and_cost(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Misbehaving(answers("A cat.")) as server:
        place = far_away(server, monkeypatch)
        ask(cloud(place, ledger), session="abc")
        asked = ask_of(place)
    (entry,) = ledger.entries()
    assert (entry.purpose, entry.session, entry.host, entry.model) == ("turn", "abc", place.host, "big-model")
    assert (entry.sha256, entry.bytes) == (asked.sha256, len(server.requests[0].body))
    assert (entry.status, entry.prompt_tokens, entry.completion_tokens, entry.counted) == (
        "complete",
        11,
        3,
        True,
    )
    assert entry.cost == pytest.approx((11 * 1000 + 3 * 2000) / 1e6)
    assert ledger.spent_today() == pytest.approx(entry.cost)
    assert entry.ended is not None and entry.sent <= entry.ended


def test_it_is_recorded_before_it_is_sent(ledger: Ledger) -> None:
    seen: list[str] = []

    def looks(wire: Wire) -> None:
        seen.extend(entry.status for entry in ledger.entries())
        answers("Yes.")(wire)

    with Misbehaving(looks) as server:
        ask(cloud(server.endpoint, ledger))
    assert seen == ["sending"]


def test_a_process_killed_while_sending_leaves_the_record(ledger: Ledger) -> None:
    script = """
import sys
from edge_app.cloud.dispatch import Cloud
from edge_app.cloud.endpoint import endpoint
from edge_app.cloud.ledger import Ledger
from edge_app.cloud.payload import payload
from edge_app.settings import Settings
from models.core.types import Message, Sampling
place = endpoint(sys.argv[1], "big-model")
cloud = Cloud(place, Ledger.open(Settings()), find_key=lambda _: None)
question = payload(place, [Message("user", "Hello?")], sampling=Sampling(max_tokens=5))
for piece in cloud.ask(question): print(piece, flush=True)
"""

    def talks(wire: Wire) -> None:
        wire.send(STREAM, word("The "))
        wire.wait_until_gone(60)

    with Misbehaving(talks) as server:
        child = subprocess.Popen(
            [sys.executable, "-c", script, server.url], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
        )
        assert child.stdout is not None and "The " in child.stdout.readline()
        assert statuses(ledger) == [(1, "sending")]
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    assert statuses(ledger) == [(1, "interrupted")]
    assert ledger.entries()[0].completion_tokens == 5, "counted at its most"


def test_the_record_holds_nothing_that_was_said(ledger: Ledger) -> None:
    with Misbehaving(answers("SecretAnswer")) as server:
        asked = payload(server.endpoint, [Message("user", "SecretQuestion")], sampling=Sampling(max_tokens=5))
        list(cloud(server.endpoint, ledger).ask(asked))
    ledger.close()
    held = b"".join(file.read_bytes() for file in paths.data_directory().glob("sessions.db*"))
    assert b"big-model" in held
    assert b"Secret" not in held


# -- money


def test_the_daily_limit_is_kept(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        Misbehaving(answers("A cat.")) as server,
        closing(limited(0.2)) as more,
        closing(limited(0.15)) as less,
    ):
        place = far_away(server, monkeypatch)
        ask(cloud(place, more))  # at most about 0.14, 0.017 in the end
        ask(cloud(place, more))
        asked = cloud(place, less)
        with pytest.raises(CloudError, match="cloud_daily_limit") as caught:
            ask(asked)
    assert (caught.value.kind, len(server.requests), asked.breaker.state) == ("spent", 2, "closed")
    assert len(ledger.entries()) == 2


def test_a_server_on_this_machine_costs_what_its_price_says(ledger: Ledger) -> None:
    with Misbehaving(answers("A cat.")) as server, closing(limited(0.1)) as less:
        ask(cloud(endpoint(server.url, "big-model"), ledger))
        with pytest.raises(CloudError, match="cloud_daily_limit"):
            ask(cloud(endpoint(server.url, "big-model"), less))
    (entry,) = ledger.entries()
    assert entry.cost == pytest.approx((11 * 1000 + 3 * 2000) / 1e6)


def test_what_is_under_way_counts_at_its_most(monkeypatch: pytest.MonkeyPatch) -> None:
    def talks(wire: Wire) -> None:
        wire.send(STREAM, word("The "))
        wire.wait_until_gone()

    with Misbehaving(talks) as server, closing(limited(0.2)) as ledger:
        asked = cloud(far_away(server, monkeypatch), ledger)
        pieces = asked.ask(ask_of(asked.endpoint))
        next(pieces)
        with pytest.raises(CloudError, match="cloud_daily_limit"):
            ask(asked)
        pieces.close()


def test_a_limit_without_a_price_sends_nothing(ledger: Ledger) -> None:
    place = endpoint("https://api.example.com/v1", "model-without-price")
    with closing(limited(1.0)) as careful, pytest.raises(CloudError, match="cloud_prices"):
        ask(cloud(place, careful))
    assert ledger.entries() == ()


def test_what_is_on_this_machine_costs_nothing_without_a_price() -> None:
    with Misbehaving(answers("A cat.")) as server, closing(limited(0.0)) as ledger:
        ask(cloud(endpoint(server.url, "small-model"), ledger))
        assert ledger.entries()[0].cost == 0.0


# -- the settings


def test_the_settings_make_it(ledger: Ledger) -> None:
    assert from_settings(Settings(), ledger) is None
    made = from_settings(Settings(cloud_url="http://localhost:1", cloud_model="m"), ledger)
    assert made is not None and made.endpoint == endpoint("http://localhost:1/v1", "m")
    with pytest.raises(UserError, match="cloud_model is missing"):
        from_settings(Settings(cloud_url="http://localhost:1"), ledger)
