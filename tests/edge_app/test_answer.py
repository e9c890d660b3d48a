"""An answer survives its way to disk and back, also from a database of an earlier version."""

from __future__ import annotations

from edge_app.answer import Answer, Timing, TokenCounts

ANSWER = Answer(
    text="A cat.",
    adapter=None,
    place="local",
    mode="auto",
    confidence=0.4,
    reason="local: confidence 0.40 below 0.60; the app is offline",
    reason_kind="offline",
    model="edge-vlm-135m",
    stop_reason="stop",
    tokens=TokenCounts(prompt=11, completion=3),
    timings=Timing(total=9.0),
    tokens_per_second=None,
    session="0123456789ab",
)


def test_details_hold_everything_but_the_text_and_the_session() -> None:
    assert Answer.from_details("A cat.", "0123456789ab", ANSWER.details()) == ANSWER


def test_an_answer_saved_before_kinds_were_recorded_has_the_kind_text() -> None:
    details = ANSWER.details()
    del details["reason_kind"]
    restored = Answer.from_details("A cat.", "0123456789ab", details)
    assert (restored.reason, restored.reason_kind) == (ANSWER.reason, "text")


def test_the_json_of_an_answer_has_the_kind_beside_the_sentence() -> None:
    keys = list(ANSWER.as_json())
    assert keys[keys.index("reason") + 1] == "reason_kind"
