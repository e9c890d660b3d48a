"""The line below an answer, in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edge_app.answer_text import (
    adapter_words,
    another_adapter,
    answer_details,
    answer_line,
    needs_help,
    note_of,
    speed_text,
    sure_text,
    sureness,
)
from edge_app.events import ContextTrimmed, Event, ImageEncoded, Notice, TokenText
from router.choice import Candidate
from tests.edge_app.tui.conftest import ANSWER

OFFERS = ("F6 asks the cloud", "F7 tries charts")
DECLINE = replace(ANSWER, declined=True, confidence=None, calibrated=False)


@pytest.mark.parametrize(
    ("changes", "word", "helped"),
    [
        ({"confidence": 0.95}, "sure", False),
        ({"confidence": 0.85}, "sure", False),
        ({"confidence": 0.84}, "fairly sure", False),
        ({"confidence": 0.5}, "fairly sure", False),
        ({"confidence": 0.49}, "unsure", True),  # likelier wrong than right
        ({"confidence": 0.6, "offer": "ask_cloud"}, "unsure", True),  # not enough for its mode
        ({"confidence": None}, None, False),  # a built-in reply
        ({"confidence": 0.2, "place": "cloud"}, None, False),
        ({"confidence": 0.2, "stop_reason": "cancelled"}, None, False),
        ({"confidence": None, "declined": True}, "does not know", True),
        ({"confidence": None, "declined": True, "place": "cloud"}, "does not know", True),
    ],
)
def test_how_sure_an_answer_is(changes: dict[str, Any], word: str | None, helped: bool) -> None:
    answer = replace(ANSWER, **changes)
    assert (sureness(answer), needs_help(answer)) == (word, helped)


def test_the_line_says_where_and_how_sure() -> None:
    assert answer_line(replace(ANSWER, confidence=0.953)) == "on this device · sure, 95%"
    assert answer_line(replace(ANSWER, confidence=0.31), offers=OFFERS) == (
        "on this device · unsure, 31%: F6 asks the cloud, F7 tries charts"
    )
    assert (
        answer_line(replace(ANSWER, confidence=0.953), general=ANSWER.model) == "on this device · sure, 95%"
    )
    assert answer_line(replace(ANSWER, model="other", confidence=0.953), general=ANSWER.model) == (
        "on this device by other · sure, 95%"
    )
    assert answer_line(DECLINE) == "on this device · does not know"
    assert answer_line(DECLINE, offers=OFFERS[1:]) == "on this device · does not know: F7 tries charts"
    assert answer_line(replace(ANSWER, place="cloud"), "local server") == "from the local server"


def test_a_number_that_nothing_was_fitted_for_says_so() -> None:
    assert sure_text(replace(ANSWER, calibrated=False)) == "sure, 90%, not calibrated"
    assert dict(answer_details(replace(ANSWER, calibrated=False)))["confidence"] == (
        "0.900, not calibrated (`edge-app eval confidence` fits it)"
    )
    assert sure_text(DECLINE) == "does not know"


def test_nothing_is_certain_to_the_percent() -> None:
    assert sure_text(replace(ANSWER, confidence=0.9999)) == "sure, 99%"
    assert sure_text(replace(ANSWER, confidence=0.0001)) == "unsure, 1%"


@pytest.mark.parametrize(
    ("reason", "beginning"),
    [
        ("cancelled", "stopped · on this device"),
        ("length", "cut off at the longest answer · on this device · sure"),
        ("content_filter", "ended by the cloud's filter · "),
    ],
)
def test_the_line_begins_with_why_the_answer_is_not_whole(reason: Any, beginning: str) -> None:
    assert answer_line(replace(ANSWER, stop_reason=reason)).startswith(beginning)


def test_the_speed_comes_after_the_adapter() -> None:
    assert speed_text(ANSWER) == "181 tokens/s"
    assert speed_text(replace(ANSWER, adapter="receipts")).startswith("adapter receipts, 181")
    nothing = replace(ANSWER, tokens_per_second=None, timings=replace(ANSWER.timings, first_token=None))
    assert speed_text(nothing) == ""


def test_the_details_hold_what_the_line_leaves_out() -> None:
    details = dict(answer_details(replace(ANSWER, adapter="receipts")))
    assert details == {
        "model": "edge-vlm-135m",
        "adapter": "receipts",
        "why": "local: no adapter is installed",
        "confidence": "0.900",
        "tokens": "40 in (0 cached, 16 image), 12 out",
        "speed": "181 tokens/s",
        "times": "route 0.00 s, image 0.08 s, prefill 0.06 s, first token 0.21 s, total 0.40 s",
    }
    assert "adapter" not in dict(answer_details(replace(ANSWER, place="cloud")))
    assert dict(answer_details(DECLINE))["declined"] == "yes"


def test_the_adapter_for_another_try() -> None:
    compared = (
        Candidate("medical", 1.3, 0.8, 0.2),
        Candidate("charts", 0.4, 0.5, None),
        Candidate("shapes", -2, 0, None),
    )
    assert another_adapter("auto", "medical", compared) == "charts"
    assert another_adapter("auto", "shapes", compared[2:]) == "none"
    assert another_adapter("auto", None, compared[2:]) is None
    assert another_adapter("charts", "charts", ()) == "auto"
    assert another_adapter("none", None, compared) is None
    assert [adapter_words(each) for each in ("none", "auto", "a\nb")] == [
        "no adapter",
        "the router's choice",
        "a b",
    ]


@pytest.mark.parametrize(
    ("event", "note"),
    [
        (Notice("The base is missing."), "The base is missing."),
        (
            ImageEncoded("a.gif", "0", (), ("first of 12 frames", "turned"), False, 0),
            "a.gif: first of 12 frames, turned.",
        ),
        (ImageEncoded("a.gif", "0", (), (), False, 0), None),
        (ContextTrimmed(1), "the oldest question and its answer were left out"),
        (ContextTrimmed(3), "the 3 oldest questions were left out"),
        (TokenText("a"), None),
    ],
)
def test_what_the_user_should_know_is_said_in_one_sentence(event: Event, note: str | None) -> None:
    said = note_of(event)
    assert said is None if note is None else said is not None and note in said
