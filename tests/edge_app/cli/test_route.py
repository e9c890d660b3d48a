"""`edge-app route` and `edge-app eval NAME` as scripts see them."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from edge_app import assistant
from edge_app.cli.main import main
from router.choice import Candidate, Choice, Query, decide
from tests.adapters.folders import put
from tests.edge_app.conftest import png, saved_image_names
from tests.edge_app.fakes import FakeEngine

Run = Callable[..., tuple[int, str, str]]


class Router:
    """Finds that an image looks like cells, and nothing else like anything."""

    def choose(self, query: Query, installed: Collection[str]) -> Choice:
        cells = Candidate("cells", 3.25, None if query.image is None else 0.91, 0.5)
        maps = Candidate("maps", -2.0, None, -0.1)
        if query.image is None:
            return replace(decide([maps]), probability=0.8)
        assert set(installed) == {"cells", "maps"}
        return replace(decide([cells, maps]), probability=0.96)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, home: Path) -> FakeEngine:
    engine = FakeEngine()
    for name in ("cells", "maps"):
        put(home / "data" / "adapters", name)
    made = partial(assistant.Assistant, load=engine.load, router=Router())
    monkeypatch.setattr(assistant, "Assistant", made)
    return engine


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["edge-app", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, captured.out, captured.err

    return run


@pytest.fixture
def photo(tmp_path: Path) -> str:
    file = tmp_path / "photo.png"
    file.write_bytes(png())
    return str(file)


def test_route_prints_the_choice_its_reason_and_every_candidate(
    run: Run, engine: FakeEngine, photo: str
) -> None:
    code, out, err = run("route", "How many?", "--image", photo)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "cells, local, probability 0.96",
        "looks like cells: image 0.91, question 0.50",
        "Answered by the model edge-vlm-135m.",
        "",
        "CANDIDATE  SCORE  IMAGE  QUESTION",
        "cells       +3.2   0.91      0.50",
        "maps        -2.0      -     -0.10",
        "Judged by the router heads.",
    ]
    assert not engine.calls, "nothing is answered"
    assert saved_image_names() == set(), "and nothing is saved"


def test_route_json_prints_one_object(run: Run, engine: FakeEngine, photo: str) -> None:
    del engine
    code, out, _ = run("route", "How many?", "--image", photo, "--json")
    found = json.loads(out)
    assert code == 0
    assert found.pop("timing_ms").keys() == {"route"}
    assert found == {
        "adapter": "cells",
        "place": "local",
        "model": "edge-vlm-135m",
        "router": "heads",
        "mode": "auto",
        "probability": 0.96,
        "reason": "looks like cells: image 0.91, question 0.50",
        "reason_kind": "adapter_suits",
        "candidates": [
            {"adapter": "cells", "score": 3.25, "image": 0.91, "question": 0.5},
            {"adapter": "maps", "score": -2.0, "image": None, "question": -0.1},
        ],
    }


def test_route_says_when_there_is_no_adapter_for_it(run: Run, engine: FakeEngine) -> None:
    del engine
    code, out, _ = run("route", "Hello")
    assert code == 0
    assert out.startswith("no adapter, local, probability 0.80\nno adapter: nearest is maps")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("route", "What?", "--image", "nowhere.png"), "nowhere.png"),
        (("route", "  "), "The question is empty"),
    ],
)
def test_mistakes_are_a_sentence_on_stderr(
    run: Run, engine: FakeEngine, arguments: tuple[str, ...], message: str
) -> None:
    del engine
    code, out, err = run(*arguments)
    assert (code, out) == (1, "")
    assert message in err
    assert err.startswith("edge-app: ")


@pytest.mark.parametrize("command", [("route",), ("eval",), ("eval", "continual"), ("eval", "router")])
def test_help_has_an_example(run: Run, command: tuple[str, ...]) -> None:
    code, out, _ = run(*command, "--help")
    assert code == 0
    assert f"Usage: edge-app {' '.join(command)} " in out
    assert "Example" in out


def test_a_file_of_an_evaluations_name_is_meant_by_its_path(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "continual").write_text("")
    code, _, err = run("eval", "./continual")
    assert code == 1
    assert "has no rows" in err


@pytest.mark.train
def test_continual_refuses_before_it_trains(run: Run, tmp_path: Path) -> None:
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for file in files:
        file.write_text("")
    names = [str(file) for file in files]
    for arguments, message in (
        (["--order", "a"], "does not name each of a, b once"),
        (["--read", "c"], "--read c is none of the domains a, b"),
        (["--picture", "map.txt"], "map.txt is no name for a picture"),
        ([], "a.jsonl has no rows"),
    ):
        code, out, err = run("eval", "continual", *names, "--state", str(tmp_path / "state"), *arguments)
        assert (code, out) == (1, "")
        assert message in err
    code, _, err = run("eval", "continual", names[0], names[0], "--state", str(tmp_path / "state"))
    assert code == 1
    assert "the same name" in err
