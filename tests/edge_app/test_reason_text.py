"""Every reason has a sentence, and a label joins the sentences of its reasons."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import edge_app
import router
from edge_app.reason_text import CLAUSES, Label, clause, inside, sentence
from router.types import Reason

AUTO = Reason("adapter_suits", {"adapter": "receipts", "image": 0.94, "question": 0.49})
ECO = Reason("mode", {"mode": "eco"})
BELOW = Reason("confidence_below", {"probability": 0.41, "threshold": 0.6})


def used_kinds() -> set[str]:
    """The first argument of every call of Reason(...) and of likeness_reason(...), which makes one, in the source."""
    found = set()
    for package in (edge_app, router):
        for file in Path(package.__path__[0]).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Name)
                    and node.func.id in ("Reason", "likeness_reason")
                ):
                    if ast.unparse(node.args[0]) == "kind":  # inside likeness_reason
                        continue
                    assert isinstance(node.args[0], ast.Constant), "a kind is written out"
                    found.add(node.args[0].value)
    return found


def test_every_kind_in_the_source_has_a_sentence_and_every_sentence_is_used() -> None:
    assert used_kinds() == set(CLAUSES)


def test_an_obstacle_that_the_mode_named_is_not_named_again() -> None:
    obstacle = Reason("allow_cloud_missing", {"endpoint": "the cloud"})
    reasons = (Reason("mode_but", {"mode": "quality", "obstacle": obstacle}), BELOW, obstacle)
    assert str(Label("local", "cloud", reasons)) == (
        "local: mode quality, but asking the cloud needs --allow-cloud; confidence 0.41 below 0.60"
    )


@pytest.mark.parametrize(
    ("label", "text", "kind"),
    [
        (Label("", "cloud", (AUTO,)), "looks like receipts: image 0.94, question 0.49", "adapter_suits"),
        (
            Label(
                "local",
                "cloud",
                (AUTO, Reason("confidence_enough", {"probability": 0.93, "threshold": 0.77})),
            ),
            "local: looks like receipts: image 0.94, question 0.49; confidence 0.93, 0.77 is enough",
            "confidence_enough",
        ),
        (Label("cloud", "cloud", (BELOW,)), "cloud: local confidence 0.41 below 0.60", "confidence_below"),
        (
            Label(
                "local",
                "cloud",
                (BELOW, Reason("allow_cloud_missing", {"endpoint": "the cloud at a.example"})),
            ),
            "local: confidence 0.41 below 0.60; asking the cloud at a.example needs --allow-cloud",
            "allow_cloud_missing",
        ),
        (
            Label("local", "local server", (ECO, Reason("mode_keeps_local", {"mode": "eco"}))),
            "local: mode eco asks the local server only when told to",
            "mode_keeps_local",
        ),
        (Label("local", "cloud", (ECO, AUTO)), f"local: mode eco; {clause(AUTO)}", "adapter_suits"),
        (
            Label(
                "local", "cloud", (Reason("mode_but", {"mode": "quality", "obstacle": Reason("offline")}),)
            ),
            "local: mode quality, but the app is offline",
            "mode_but",
        ),
        (Label("local", "cloud", ()), "local", "text"),
    ],
)
def test_a_label(label: Label, text: str, kind: str) -> None:
    assert (str(label), label.kind) == (text, kind)


def test_only_known_similarities_are_shown() -> None:
    without_image = Reason("no_adapter_suits", {"adapter": "maps", "image": None, "question": -0.1})
    assert clause(without_image) == "no adapter: nearest is maps: question -0.10"
    neither = Reason("adapter_suits", {"adapter": "maps", "image": None, "question": None})
    assert clause(neither) == "looks like maps"


def test_a_kind_from_elsewhere_shows_its_text() -> None:
    assert clause(Reason("weekday", {"text": "it is {Monday}"})) == "it is {Monday}"


def test_an_error_is_embedded_without_its_full_stop() -> None:
    failed = Reason("cloud_failed", {"error": "The cloud at a.example is out of order (status 503)."})
    assert clause(failed) == "the cloud at a.example is out of order (status 503)"
    assert inside("No space is left.") == "no space is left"


def test_a_sentence_of_its_own_begins_with_a_capital_letter() -> None:
    withheld = Reason("image_withheld", {"images": ("a.png", "b.png")})
    assert sentence(withheld) == "Marked never to be sent: a.png, b.png."
