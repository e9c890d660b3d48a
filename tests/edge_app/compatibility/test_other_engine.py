"""An engine that another distribution registers answers in the app: chat, images, adapters, and routing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from adapters.install.installer import Wanted
from adapters.prototypes import read_prototypes
from edge_app.answer import Answer
from edge_app.assistant import Assistant, Turn
from edge_app.engine.adapter_installer import AppModels, installer
from edge_app.events import Answered, Failed, ImageEncoded, Routed
from edge_app.settings import Settings
from edge_app.system import paths
from models.core.files import file_digest
from models.core.types import no_progress
from models.hub.store import ModelStore
from tests.adapters.folders import put
from tests.adapters.making import write_adapter
from tests.distributions import install_toy
from tests.edge_app.conftest import png

ROOT = Path(__file__).parents[3]
SETTINGS = Settings(model="parrot", bundled_adapters=False, router="heads")


@pytest.fixture
def site(home: Path, tmp_path: Path) -> Path:
    """The folder of the distribution. The user's catalogue has a model, "parrot", that needs its engine."""
    models = home / "data" / "models"
    models.mkdir(parents=True)
    greeting = models / "greeting.txt"
    greeting.write_text("You said:\n")
    (models / "catalog.toml").write_text(f"""
[models.parrot]
description = "Repeats what it is told"
engine = "toy"
licence = "Apache-2.0"

[models.parrot.files.greeting]
name = "greeting.txt"
size = {greeting.stat().st_size}
sha256 = "{file_digest(greeting)}"
source = "file:greeting.txt"
""")
    return install_toy(tmp_path / "site")


@pytest.fixture
def assistant(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Assistant]:
    monkeypatch.syspath_prepend(site)
    with Assistant(SETTINGS, None) as made:
        yield made
    sys.modules.pop("toy_engine", None)


def ask(assistant: Assistant, turn: Turn) -> tuple[Answer, list[object]]:
    events: list[object] = list(assistant.answer(turn))
    last = events[-1]
    assert isinstance(last, Answered), last
    return last.answer, events


def test_the_command_line_answers_with_it_after_nothing_but_an_installation(site: Path) -> None:
    environment = {**os.environ, "EDGE_APP_MODEL": "parrot", "PYTHONPATH": f"{ROOT}{os.pathsep}{site}"}
    command = [sys.executable, "-m", "edge_app", "ask", "Good morning to you", "--json", "--offline"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["answer"] == "You said: Good morning to you"


def test_without_the_distribution_the_message_names_the_engine(site: Path) -> None:
    del site
    with Assistant(SETTINGS, None) as assistant:
        last = list(assistant.answer(Turn("Name a bird.")))[-1]
    assert isinstance(last, Failed)
    assert "needs the engine 'toy', which is not installed; there are compiled" in last.message


def test_it_reads_images_in_its_own_way(assistant: Assistant, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(png("red"))
    answer, events = ask(assistant, Turn("What is this?", (photo,)))
    assert answer.text == "You said: What is this? (1 image)"
    guesses = [event.guesses for event in events if isinstance(event, ImageEncoded)]
    assert guesses == [(("red", 1.0), ("green", 0.0), ("blue", 0.0))]


def test_a_model_that_sees_several_images_is_shown_them(assistant: Assistant, tmp_path: Path) -> None:
    photos = tmp_path / "red.png", tmp_path / "blue.png"
    for photo in photos:
        photo.write_bytes(png(photo.stem))
    turn = Turn("Which of the two is brighter?", photos)
    assert ask(assistant, turn)[0].declined
    catalog = paths.models_directory() / "catalog.toml"
    catalog.write_text(catalog.read_text().replace('engine = "toy"', 'engine = "toy"\nimages_at_once = 2'))
    with Assistant(SETTINGS, None) as other:
        answer, _ = ask(other, turn)
    assert (answer.text, answer.declined) == ("You said: Which of the two is brighter? (2 image)", False)


def test_an_adapter_is_installed_tried_and_used_as_the_engine_packs_it(
    assistant: Assistant, tmp_path: Path
) -> None:
    identity = ModelStore(paths.models_directory()).base_digests("parrot").current
    (tmp_path / "plants").mkdir()
    write_adapter(tmp_path / "plants", base_model="parrot", base_digest=identity)
    with closing(AppModels(SETTINGS, no_progress)) as models:
        installer(models, lambda _: True, no_progress).install(Wanted(str(tmp_path / "plants")))
        sizes = models.load("parrot").feature_sizes
    made = read_prototypes(paths.adapters_directory() / "plants" / "router.safetensors")
    assert made.question.shape == (1, sizes.text)
    answer, _ = ask(assistant, Turn("Which plant?", adapter="plants"))
    assert answer.text == "[plants] You said: Which plant?"
    summed, _ = ask(assistant, Turn("Which plant?", adapter="plants:0.5"))
    assert summed.text == "[plants:0.5] You said: Which plant?"


def test_no_adapter_is_chosen_by_the_features_of_another_engine(assistant: Assistant, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(png("red"))
    put(paths.adapters_directory(), "plants")
    answer, events = ask(assistant, Turn("Which plant is this?", (photo,), adapter="auto"))
    assert answer.adapter is None
    assert [event.route.reason_kind for event in events if isinstance(event, Routed)] == ["router_not_here"]
