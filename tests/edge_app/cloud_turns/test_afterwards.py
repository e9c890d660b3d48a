"""What is saved of a cloud turn, asking again on demand, and going offline."""

from __future__ import annotations

import pytest

from edge_app.assistant import Assistant, Turn
from edge_app.cloud.endpoint import Endpoint
from edge_app.cloud.ledger import Ledger
from edge_app.costs.averages import PRIOR_LOCAL, CostTable, cloud_prior
from edge_app.events import (
    Answered,
    CloudFailed,
    Escalated,
    Event,
    Failed,
    TokenText,
)
from edge_app.storage.sessions import SessionStore
from edge_app.system import offline
from edge_app.system.offline import switch
from models.core.errors import UserError
from tests.edge_app.cloud.misbehaving import (
    Misbehaving,
    status,
)
from tests.edge_app.cloud_turns.support import (
    CLOUD,
    DOUBTFUL,
    LOCAL,
    SURE,
    FakeUser,
    Make,
    ask,
    breaks_off,
    events_of,
    final,
    saved,
    sent_sizes,
    stops_in_the_middle,
)
from tests.edge_app.conftest import png
from tests.edge_app.fakes import FakeEngine


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


def test_the_cloud_is_sent_the_whole_conversation_and_this_device_reads_what_is_about_the_image(
    make: Make, server: Misbehaving, engine: FakeEngine
) -> None:
    assistant = make(server.url)
    session = ask(assistant, "What is this?", images=(png("red"),)).session
    ask(assistant, "And this?", images=(png("blue"),), session=session)
    here = engine.calls[-1].messages
    assert [(m.text, len(m.images)) for m in here] == [("And this?", 1)]
    sent = server.requests[-1].fields()["messages"]
    assert [len(m["content"]) for m in sent if m["role"] == "user"] == [2, 2]  # an image and a text each
    ask(assistant, "What is in the first photo?", session=session)
    again = [(m.text, len(m.images)) for m in engine.calls[-1].messages if m.role == "user"]
    assert again == [("What is this?", 1), ("What is in this photo?", 0)]
    assert engine.calls[-1].messages[0].images != here[0].images


def test_a_comparison_of_images_is_asked_of_the_cloud_alone(
    make: Make, server: Misbehaving, engine: FakeEngine
) -> None:
    assistant = make(server.url)
    session = ask(assistant, "What is this?", images=(png("red"),)).session
    ask(assistant, "And this?", images=(png("blue"),), session=session)
    calls = len(engine.calls)
    compared = ask(assistant, "Which of the two is older?", session=session)
    assert (compared.text, compared.reason_kind, len(engine.calls)) == (CLOUD, "several_images", calls)
    kept = ask(assistant, "Compare them.", session=session, mode="fast")
    assert (kept.declined, kept.confidence, "one image at a time" in kept.text) == (True, None, True)
    ask(assistant, "And its colour?", session=session)
    assert "Compare them." not in [message.text for message in engine.calls[-1].messages]


def test_an_image_that_is_not_there_is_missed_before_anything_is_loaded_or_sent(
    make: Make, server: Misbehaving, engine: FakeEngine
) -> None:
    answer = ask(make(server.url), "What is in this photo?", mode="quality")
    assert (answer.declined, answer.place, answer.reason_kind) == (True, "local", "no_image")
    assert answer.text.startswith("No image is attached.") and "--image PATH" in answer.text
    assert not engine.threads and not server.requests


def test_the_export_shows_places_reasons_and_the_kept_answer(
    make: Make, server: Misbehaving, store: SessionStore
) -> None:
    from edge_app.storage.session_export import to_json, to_markdown

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
    averages = CostTable.open(assistant.settings)
    assert averages.of("local", None) != PRIOR_LOCAL
    assert averages.of("cloud", None) != cloud_prior(assistant.settings)
    averages.close()


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
    assert (answer.text, answer.kept, answer.place) == (CLOUD, LOCAL, "cloud")
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
    assert (failed.kept, answer.text, answer.broken, answer.place) == (LOCAL, LOCAL, "The ", "local")
    assert "broke in the middle" in answer.reason
    assert saved(store).result == answer


def test_consent_holds_on_demand_too(make: Make, server: Misbehaving, store: SessionStore) -> None:
    assistant = make(server.url, FakeUser("no"))
    before = ask(assistant, mode="eco", allow_cloud=False)
    answer = final(ask_again(assistant, before.session, store))
    assert (answer.text, server.requests) == (LOCAL, [])
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
    assert (answer.text, answer.kept, saved(store).status) == (CLOUD, None, "complete")
    server.scripts[:] = [status(500)]
    assert isinstance(events_of(assistant)[-1], Failed)
    last = ask_again(assistant, store.latest(), store)[-1]
    assert isinstance(last, Failed)
    assert (last.exit_code, "out of order" in last.message) == (4, True)


def test_leaving_a_question_asked_again_leaves_a_failed_turn_as_it_was(
    make: Make, engine: FakeEngine, store: SessionStore
) -> None:
    def fails(number: int) -> None:
        if number == 1:
            raise UserError("The model is damaged.")

    engine.before_token = fails
    with Misbehaving(stops_in_the_middle) as server:
        assistant = make(server.url, FakeUser("once"))
        events_of(assistant, mode="eco")
        before = saved(store)
        events = assistant.ask_cloud(store.latest(), before.id)
        assert isinstance(next(events), Escalated)
        events.close()
    assert (before.status, before.answer) == ("failed", "A ")
    assert saved(store) == before


def test_there_must_be_such_a_turn(make: Make, server: Misbehaving) -> None:
    assistant = make(server.url)
    session = ask(assistant).session
    (event_,) = assistant.ask_cloud(session or "", 99)
    assert isinstance(event_, Failed) and "no turn 99" in event_.message


def test_offline_is_looked_at_in_every_turn(
    make: Make, server: Misbehaving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Endpoint, "is_local", property(lambda _: False))
    assistant = make(server.url)
    switch.turn_on()
    for mode in ("auto", "quality"):
        answer = ask(assistant, mode=mode)
        assert (answer.text, answer.place, answer.offer, server.requests) == (LOCAL, "local", None, [])
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
    assert (answer.text, "the app is offline" in answer.reason) == (LOCAL, True)

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
    assert (answer.text, answer.place, answer.broken) == (LOCAL, "local", "The ")
    assert "broke in the middle" in answer.reason
    assert saved(store).result == answer


def test_a_server_on_this_machine_is_asked_offline_too(make: Make, server: Misbehaving) -> None:
    switch.turn_on()
    assert ask(make(server.url)).place == "cloud"
