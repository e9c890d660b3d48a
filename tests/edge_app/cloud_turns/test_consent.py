"""Nothing is sent without consent, and the proposal shows exactly what is sent."""

from __future__ import annotations

import pytest

from edge_app.cloud.consent import Proposal, Reply
from edge_app.storage.sessions import SessionStore
from tests.edge_app.cloud.misbehaving import (
    Misbehaving,
)
from tests.edge_app.cloud_turns.support import (
    DOUBTFUL,
    LOCAL,
    SURE,
    FakeUser,
    Make,
    ask,
    saved,
)
from tests.edge_app.conftest import new_image, png
from tests.edge_app.fakes import FakeEngine


def test_a_script_needs_to_allow_it_each_time(make: Make, server: Misbehaving) -> None:
    assistant = make(server.url)
    assistant.decisions.decide(server.endpoint.host, "always", None)
    for mode in ("auto", "quality"):
        answer = ask(assistant, allow_cloud=False, mode=mode)
        assert (answer.text, answer.place, server.requests) == (LOCAL, "local", [])
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
        assert answer.text == LOCAL and server.endpoint.host in answer.reason


def test_quality_asks_the_user_first_and_answers_here_when_told_no(make: Make, server: Misbehaving) -> None:
    answer = ask(make(server.url, FakeUser("no")), mode="quality", allow_cloud=False)
    assert (answer.text, answer.place, server.requests) == (LOCAL, "local", [])
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
    assert (answer.text, answer.place, server.requests) == (LOCAL, "local", [])


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
    assert (answer.text, answer.place, server.requests) == (LOCAL, "local", [])
    assert saved(store).result == answer
    user.meanwhile = lambda _: None
    ask(assistant, allow_cloud=False)
    assert len(user.asked) == 2, "what was said to a stopped question was not kept"
