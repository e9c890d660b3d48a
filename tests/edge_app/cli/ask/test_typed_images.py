"""Images that are named in the question of `ask` and `route`."""

from __future__ import annotations

import json
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from edge_app import assistant
from edge_app.cloud.consent import ConsentStore
from edge_app.storage.sessions import SessionStore
from tests.edge_app.cli.conftest import Run
from tests.edge_app.cloud.misbehaving import Misbehaving, answers
from tests.edge_app.conftest import saved_image_names
from tests.edge_app.fakes import FakeEngine


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch, folder: Path) -> FakeEngine:
    del folder
    engine = FakeEngine(logprob=-5.0)
    monkeypatch.setattr(assistant, "Assistant", partial(assistant.Assistant, load=engine.load))
    return engine


def asked() -> tuple[str, list[str]]:
    """The last question, which was answered, and the names of its images."""
    with closing(SessionStore.open()) as store:
        turn = store.get(store.latest()).turns[-1]
    assert turn.answer
    return turn.question, [image.name for image in turn.images]


@pytest.mark.parametrize(
    ("arguments", "question", "images", "said"),
    [
        (["What is in ./cat.png?"], "What is in the image?", ["cat.png"], ["cat.png"]),
        (["What is in @cat.png?", "--json"], "What is in the image?", ["cat.png"], ["cat.png"]),
        (
            ["What is this?", "--image", "cat.png", "red house.jpg"],
            "What is this?",
            ["cat.png", "red house.jpg"],
            ["red house.jpg"],
        ),
        (["What is this?", "--image", "cat.png"], "What is this?", ["cat.png"], []),
    ],
)
def test_an_image_in_the_question_is_attached_and_that_is_said(
    run: Run, arguments: list[str], question: str, images: list[str], said: list[str]
) -> None:
    outcome = run("ask", *arguments)
    assert outcome.code == 0
    assert asked() == (question, images)
    told = [line for line in outcome.stderr.splitlines() if line.startswith("attached ")]
    assert told == [f"attached {name}" for name in said]


@pytest.mark.parametrize("command", ["ask", "route"])
@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ("What is in ./gone.png?", "There is no file ./gone.png: check the name and the folder."),
        ('What is in @"trip/gone one.png"?', "There is no file trip/gone one.png: check"),
        ("What is in @gone.png?", "There is no file gone.png"),
        ("What is in pages.png?", "pages.png is a folder"),
        ("What is in text.jpg?", "text.jpg is not an image that can be read"),
        ("What is in https://example.org/a.png?", "is an address on the web"),
    ],
)
def test_what_cannot_be_attached_is_one_sentence_and_nothing_is_answered(
    run: Run, engine: FakeEngine, folder: Path, command: str, question: str, sentence: str
) -> None:
    (folder / "pages.png").mkdir()
    (folder / "text.jpg").write_text("no image")
    outcome = run(command, question)
    assert (outcome.code, outcome.stdout) == (1, "")
    assert sentence in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert not engine.calls


def test_words_without_a_path_are_a_question(run: Run) -> None:
    for question in ("Write a loop that renames *.jpeg to *.jpg", "What does photo.jpg mean?"):
        assert run("ask", question).code == 0
        assert asked() == (question, [])


def test_paths_in_piped_text_are_left_alone(run: Run) -> None:
    outcome = run("ask", "Summarise this:", "-", stdin=b"see ./cat.png and /nowhere/gone.png")
    assert outcome.code == 0
    assert asked() == ("Summarise this:\n\nsee ./cat.png and /nowhere/gone.png", [])
    assert "attached" not in outcome.stderr


def test_an_image_alone_takes_its_question_from_the_pipe(run: Run) -> None:
    assert run("ask", "cat.png", stdin=b"What is this?").code == 0
    assert asked() == ("What is this?", ["cat.png"])
    nothing = run("ask", "cat.png", stdin=b"")
    assert (nothing.code, "The question is empty" in nothing.stderr) == (1, True)


def test_route_attaches_it_too_and_says_so(run: Run, engine: FakeEngine) -> None:
    outcome = run("route", "What is in cat.png?", "trip/lake.png", "--json")
    assert outcome.code == 0
    assert json.loads(outcome.stdout)["adapter"] is None
    assert "attached cat.png\nattached lake.png\n" in outcome.stderr
    assert not engine.calls
    assert saved_image_names() == set()


def test_a_typed_image_leaves_this_machine_under_the_same_consent_as_any(
    run: Run, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Misbehaving(answers("A house.")) as server:
        monkeypatch.setenv("EDGE_APP_CLOUD_URL", server.url)
        monkeypatch.setenv("EDGE_APP_CLOUD_MODEL", "big-model")
        monkeypatch.setenv("EDGE_APP_CLOUD_KEY", "none")  # no keyring is asked
        assert run("ask", "What is in ./cat.png?").code == 0
        assert server.requests == []
        digest = engine.calls[-1].messages[-1].images[0].digest
        ConsentStore.open().withhold(digest)
        assert run("ask", "What is in ./cat.png?", "--allow-cloud").code == 0
        assert server.requests == []
        assert run("ask", "What is in trip/lake.png?", "--allow-cloud").code == 0
        assert len(server.requests) == 1
