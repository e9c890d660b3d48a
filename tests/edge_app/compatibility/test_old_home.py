"""A home that version 0.1.0 left behind (tests/fixtures/home_0_1_0) is opened by this version."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from edge_app import settings
from edge_app.settings import Price
from edge_app.system import paths
from models import precision
from models.formats import model_description
from tests.edge_app.cli.conftest import Run, run

__all__ = ["run"]  # the fixture

HOME = Path(__file__).parents[2] / "fixtures" / "home_0_1_0" / "home.zip"
TITLES = ["Whose leaf is this?", "Does an oak keep its leaves?", "Which plant has leaves like a hand?"]


@pytest.fixture(autouse=True)
def old_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGE_APP_OFFLINE", "1")
    with zipfile.ZipFile(HOME) as archive:
        archive.extractall(home)
    return home


def session_of(run: Run, title: str) -> str:
    (found,) = (
        each for each in json.loads(run("sessions", "list", "--json").stdout) if each["title"] == title
    )
    return str(found["id"])


def test_its_sessions_are_listed_shown_and_found(run: Run) -> None:
    listed = json.loads(run("sessions", "list", "--json").stdout)
    assert [each["title"] for each in listed] == TITLES
    assert [each["turns"] for each in listed] == [1, 1, 2]
    shown = run("sessions", "show", session_of(run, TITLES[2]))
    assert (shown.code, shown.stderr) == (0, "")
    assert TITLES[2] in shown.stdout and "And which tree?" in shown.stdout
    found = run("sessions", "search", "tree")
    assert (found.code, found.stderr) == (0, "")
    assert "And which [tree]?" in found.stdout


def test_its_pictures_are_still_beside_their_questions(run: Run) -> None:
    shown = run("sessions", "show", session_of(run, TITLES[0])).stdout
    (picture,) = paths.images_directory().iterdir()
    assert f"![leaf.png]({picture.as_uri()})" in shown
    assert "tiny cannot see images" in shown


def test_its_settings_are_honoured() -> None:
    given = settings.load(paths.config_file())
    assert (given.model, given.adapter, given.mode, given.max_tokens) == ("tiny", "plants", "quality", 12)
    assert (given.threads, given.theme, given.keys) == (1, "nord", {"help": "f2"})
    assert given.cloud_daily_limit == 0.5
    assert given.cloud_prices == {"big-model": Price(input=0.5, output=1.5)}
    assert given.worth["eco"].money == 7.0


def test_its_adapter_is_listed_and_whole(run: Run) -> None:
    (listed,) = json.loads(run("adapters", "list", "--json").stdout)
    assert (listed["name"], listed["problem"]) == ("plants", None)
    verified = run("adapters", "verify", "plants")
    assert (verified.code, verified.stderr) == (0, "")


def test_its_confidence_rule_is_ignored_and_doctor_says_so(run: Run, old_home: Path) -> None:
    file = old_home / "data" / "confidence.json"
    features = ["mean", "low", "least", "whole", "tokens", "head", "route", "margin", "image", "ocr"]
    own = {"generation": 7, "intercept": 0.5, "weights": [0.1] * len(features), "rows": 40, "right": 30}
    file.write_text(json.dumps({"format": 1, "features": features, "adapters": {"plants": own}}))
    doctor = run("doctor")
    told = [
        line
        for line in doctor.stdout.splitlines() + doctor.stderr.splitlines()
        if str(file) in line and "is ignored" in line
    ]
    assert len(told) == 1


@pytest.mark.slow
def test_its_model_and_adapter_answer_and_its_session_goes_on(
    run: Run, old_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was packed then is replaced, and code is compiled anew, once: keys of this version name them.

    The model and its adapter stand for those that the app had then, which compute with weights of 8 bits.
    """
    monkeypatch.setattr(model_description, "SMALL_MODEL", 0)
    monkeypatch.setattr(precision, "LARGE_UPDATE", float("inf"))
    packed = old_home / "cache" / "packed"
    old = next(packed.glob("*.pack"))
    session = session_of(run, TITLES[2])
    first = run("ask", "And which shrub?", "--session", session, "--json")
    assert first.code == 0, first.stderr
    answer = json.loads(first.stdout)
    assert (answer["adapter"], answer["session"]) == ("plants", session)
    assert 0 < answer["tokens"]["completion"] <= 12
    assert not old.exists()
    assert len([*packed.glob("*.pack")]) == 1
    said = {}
    for adapter in ("plants", "none"):
        again = run("ask", "Which plant?", "--adapter", adapter, "--json")
        assert again.code == 0, again.stderr
        assert "compiling" not in again.stderr and "packing" not in again.stderr
        said[adapter] = json.loads(again.stdout)["confidence"]
    assert said["plants"] != said["none"]
    turns = {each["title"]: each["turns"] for each in json.loads(run("sessions", "list", "--json").stdout)}
    assert turns[TITLES[2]] == 3
