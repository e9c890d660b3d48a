"""The rule of consent, and the store of decisions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest

from edge_app.cloud.consent import ConsentStore, Decision, HostConsent, judge
from edge_app.cloud.endpoint import endpoint
from edge_app.cloud.payload import Payload, payload
from models.core.types import Image, Message, Sampling
from router.types import Reason

PLACE = endpoint("https://api.example.com/v1", "big-model")


@pytest.fixture
def store() -> Iterator[ConsentStore]:
    store = ConsentStore.open()
    yield store
    store.close()


def ask(with_image: bool = False, host: str = "api.example.com") -> Payload:
    pixels = np.zeros((4, 4, 3), np.uint8)
    images = (Image(pixels, hashlib.sha256(pixels.tobytes()).hexdigest(), "photo.png"),) if with_image else ()
    return payload(
        endpoint(f"https://{host}/v1", "m"), [Message("user", "?", images)], sampling=Sampling(max_tokens=5)
    )


DIGEST = hashlib.sha256(np.zeros((4, 4, 3), np.uint8).tobytes()).hexdigest()


@pytest.mark.parametrize(
    ("known", "interactive", "allow_cloud", "action"),
    [
        (HostConsent(), True, False, "ask"),
        (HostConsent(), False, False, "refuse"),
        (HostConsent(), False, True, "send"),
        (HostConsent(chat=True), True, False, "send"),
        (HostConsent(everywhere=True), True, False, "send"),
        (HostConsent(everywhere=True, chat=True), False, False, "refuse"),
        (HostConsent(everywhere=False), True, False, "refuse"),
        (HostConsent(everywhere=False, chat=True), True, True, "refuse"),
        (HostConsent(everywhere=False), False, True, "refuse"),
    ],
)
def test_the_rule(known: HostConsent, interactive: bool, allow_cloud: bool, action: str) -> None:
    permission = judge(ask().endpoint, ask().images, known, interactive=interactive, allow_cloud=allow_cloud)
    assert permission.action == action
    assert (permission.reason is not None) == (action == "refuse")


@pytest.mark.parametrize(
    ("everywhere", "chat", "interactive", "allow"),
    list(product((None, True, False), (None, True), (True, False), (True, False))),
)
def test_a_withheld_image_never_leaves(
    everywhere: bool | None, chat: bool | None, interactive: bool, allow: bool
) -> None:
    known = HostConsent(everywhere, chat, frozenset({DIGEST}))
    permission = judge(
        ask().endpoint, ask(with_image=True).images, known, interactive=interactive, allow_cloud=allow
    )
    assert permission.action == "refuse"
    assert permission.reason == Reason("image_withheld", {"images": ("photo.png",)})


@pytest.mark.parametrize(
    ("decision", "here", "in_another_chat"),
    [
        ("once", "ask", "ask"),
        ("chat", "send", "ask"),
        ("always", "send", "send"),
        ("never", "refuse", "refuse"),
    ],
)
def test_decisions_hold_where_they_were_meant_and_after_a_restart(
    store: ConsentStore, decision: Decision, here: str, in_another_chat: str
) -> None:
    store.decide("api.example.com", decision, "chat-1")
    store.close()
    again = ConsentStore.open()

    def action(session: str | None, host: str = "api.example.com") -> str:
        known = again.known(host, (), session)
        return judge(ask(host=host).endpoint, (), known, interactive=True, allow_cloud=False).action

    assert (action("chat-1"), action("chat-2"), action(None)) == (here, in_another_chat, in_another_chat)
    assert action("chat-1", host="other.example.com") == "ask", "another endpoint is asked for anew"
    again.forget("api.example.com")
    assert action("chat-1") == "ask"
    again.close()


def test_images_are_withheld_and_released(store: ConsentStore) -> None:
    store.withhold(DIGEST)
    store.withhold(DIGEST)
    assert store.known("api.example.com", ask(with_image=True).images, None).withheld == {DIGEST}
    assert store.known("api.example.com", (), None).withheld == frozenset()
    store.forget("api.example.com")
    assert store.withheld([DIGEST, "other"]) == {DIGEST}
    store.release(DIGEST)
    assert store.withheld([DIGEST]) == frozenset()


def test_the_last_decision_counts(store: ConsentStore) -> None:
    store.decide("api.example.com", "always", None)
    store.decide("api.example.com", "never", None)
    assert store.hosts() == {"api.example.com": False}
