"""What is learnt from a refusal, and what is not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edge_app.cloud.endpoint import endpoint
from edge_app.cloud.errors import CloudError
from edge_app.cloud.payload import Payload, payload
from edge_app.cloud.protocol.dialect import Dialect, DialectStore, is_about_images
from models.core.types import Message, Sampling

REFUSED = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead"


def request() -> Payload:
    place = endpoint("http://localhost:1", "m")
    return payload(place, [Message("user", "Äh?")], sampling=Sampling(max_tokens=50))


def refusal(said: str, kind: str = "rejected") -> CloudError:
    return CloudError(kind, f"refused: {said}.", said=said)  # type: ignore[arg-type]


def test_a_refused_limit_is_sent_under_its_other_name() -> None:
    learnt = Dialect().after(refusal(REFUSED), request())
    assert learnt == Dialect("max_completion_tokens")
    sent = json.loads(learnt.of(request()).body)
    assert (sent.pop("max_completion_tokens"), "max_tokens" in sent) == (50, False)
    before = json.loads(request().body)
    assert before.pop("max_tokens") == 50
    assert sent == before, "nothing else changes"


def test_the_other_name_is_given_up_too_where_it_is_unknown() -> None:
    newer = Dialect("max_completion_tokens")
    said = "body.max_completion_tokens: Extra inputs are not permitted"
    assert newer.after(refusal(said), newer.of(request())) == Dialect("max_tokens")


def test_a_refused_count_of_tokens_is_left_out() -> None:
    learnt = Dialect().after(refusal("Unrecognized request argument supplied: stream_options"), request())
    assert learnt == Dialect(left_out=frozenset({"stream_options"}))
    assert "stream_options" not in json.loads(learnt.of(request()).body)
    assert learnt.after(refusal("Unrecognized: stream_options"), learnt.of(request())) is None


def test_a_refused_schema_is_left_out_since_the_question_says_it_too() -> None:
    plain = request()
    fields = {**json.loads(plain.body), "response_format": {"type": "json_schema"}}
    asked = replace(plain, body=json.dumps(fields).encode())
    learnt = Dialect().after(refusal("'response_format' of type 'json_schema' is not supported"), asked)
    assert learnt == Dialect(left_out=frozenset({"response_format"}))
    assert json.loads(learnt.of(asked).body) == json.loads(plain.body)
    assert Dialect().after(refusal("response_format is not supported"), plain) is None


@pytest.mark.parametrize(
    ("said", "name"),
    [
        (
            "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default",
            "temperature",
        ),
        ("this model does not support top_p", "top_p"),
        ("body.seed: Extra inputs are not permitted", "seed"),
        ("Unknown field `seed`; known are: messages, max_tokens, temperature, top_p", "seed"),
    ],
)
def test_a_refused_sampling_field_is_left_out(said: str, name: str) -> None:
    sampling = Sampling(max_tokens=50, temperature=0.2, top_p=0.5, seed=7)
    asked = payload(endpoint("http://localhost:1", "m"), [Message("user", "?")], sampling=sampling)
    learnt = Dialect().after(refusal(said), asked)
    assert learnt == Dialect(left_out=frozenset({name}))
    before = json.loads(asked.body)
    assert before.pop(name) is not None
    assert json.loads(learnt.of(asked).body) == before, "nothing else changes"
    assert learnt.after(refusal(f"unsupported: {name}"), learnt.of(asked)) is None


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("max_tokens is too large: at most 4096", "rejected"),
        ("Unsupported value: 'temperature' does not support 0.2 with this model", "rejected"),
        (REFUSED, "server"),
        ("", "rejected"),
    ],
)
def test_other_refusals_teach_nothing(said: str, kind: str) -> None:
    assert Dialect().after(refusal(said, kind), request()) is None


def test_a_request_that_is_right_stays_as_it_is() -> None:
    asked = request()
    assert Dialect().of(asked) is asked
    assert Dialect("max_tokens").of(asked) is asked


@pytest.mark.parametrize(
    ("said", "kind", "expected"),
    [
        ("image_url is only supported by certain models", "rejected", True),
        ("No endpoints found that support image input", "no_model", True),
        ("this model has no vision", "rejected", True),
        ("image input is not supported - hint: provide the mmproj", "server", True),
        ("imagine that", "rejected", False),
        ("the image service is down", "rate_limited", False),
        ("", "rejected", False),
    ],
)
def test_a_refusal_of_images_is_recognised(said: str, kind: str, expected: bool) -> None:
    assert is_about_images(refusal(said, kind)) is expected


def test_dialects_are_remembered_by_host(home: Path) -> None:
    store = DialectStore.open()
    store.learn("a.example", Dialect("max_completion_tokens"))
    refusing = Dialect("max_completion_tokens", frozenset({"temperature", "stream_options"}))
    store.learn("a.example", refusing)
    store.close()
    store = DialectStore.open()
    assert store.known("a.example") == refusing
    assert store.known("b.example") == Dialect()
    store.forget("a.example")
    assert store.known("a.example") == Dialect()
    store.close()
    assert list(home.rglob("sessions.db"))
