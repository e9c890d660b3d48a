"""The router that asks the language model: its prompt, and the scores from the model's probabilities."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from adapters.store.manifest import MANIFEST_FILE, REQUIRED_FILES, AdapterManifest, Example, write_manifest
from models.compiled_engine import CompiledEngine
from models.core.types import Image
from router.choice import Query
from router.routers.ask_model import ModelRouter
from router.types import Reason

NAMES = ("cells", "maps")


def describe(directory: Path, name: str, questions: Sequence[str], description: str = "") -> None:
    folder = directory / name
    folder.mkdir(parents=True, exist_ok=True)
    manifest = AdapterManifest(
        name=name,
        version="1.0.0",
        description=description or f"About {name}.",
        base_model="edge-vlm-135m",
        base_digest="",
        examples=tuple(Example(question) for question in questions),
        files=dict.fromkeys(REQUIRED_FILES, "0" * 64),
    )
    (folder / MANIFEST_FILE).write_bytes(write_manifest(manifest))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    describe(tmp_path, "cells", ["How many cells are there?", "Are platelets visible?"])
    describe(tmp_path, "maps", ["Which river is this?"])
    return tmp_path


class Speaker:
    """Gives one option more probability than its baseline."""

    def __init__(self, favourite: str, most: int = 10_000) -> None:
        self.favourite = favourite
        self.most = most
        self.read: list[tuple[str, Image | None]] = []

    def continuation_shares(
        self, text: str, options: Sequence[str], image: Image | None = None
    ) -> NDArray[np.float64]:
        if len(text) > self.most:
            raise ValueError
        self.read.append((text, image))
        odds = np.arange(1.0, len(options) + 1)  # prefers the last options for every prompt
        if "N/A" not in text:
            odds[[option.strip() for option in options].index(self.favourite)] *= 3
        shares: NDArray[np.float64] = odds / odds.sum()
        return shares


def about(question: str) -> Query:
    picture = Image(np.zeros((2, 2, 3), np.uint8), "digest", "a.png")
    return Query(question, np.zeros(4, np.float32), np.zeros(4, np.float32), picture)


@pytest.mark.parametrize("favourite", NAMES)
def test_the_adapter_that_gains_most_by_the_question_is_chosen(directory: Path, favourite: str) -> None:
    choice = ModelRouter(directory, Speaker(favourite)).choose(about("What is it?"), NAMES)
    assert choice.adapter == choice.candidates[0].adapter == favourite
    assert choice.reason == Reason("adapter_suits", {"adapter": favourite, "image": None, "question": None})
    assert choice.probability == pytest.approx(3 / 5)


def test_none_is_a_name_like_any_other(directory: Path) -> None:
    choice = ModelRouter(directory, Speaker("none")).choose(about("Tell me a joke."), NAMES)
    assert choice.adapter is None
    assert choice.probability == pytest.approx(3 / 5)


def test_it_reads_what_adapters_are_for_their_examples_and_the_image(directory: Path) -> None:
    speaker = Speaker("cells")
    query = about("What\nis   it?")
    ModelRouter(directory, speaker).choose(query, NAMES)
    (usual, without), (text, image) = speaker.read
    assert "N/A ->" in usual
    assert without is None
    assert image is query.picture
    lines = text.splitlines()
    assert lines[:2] == ["cells: About cells.", "maps: About maps."]
    assert "Are platelets visible? -> cells" in lines
    assert lines[-1] == "What is it? ->", "a question cannot pretend to be a line of the list"


def test_what_is_usual_is_asked_once_a_list(directory: Path) -> None:
    speaker = Speaker("cells")
    router = ModelRouter(directory, speaker)
    for _ in range(3):
        router.choose(about("What is it?"), NAMES)
    assert len(speaker.read) == 4
    shutil.rmtree(directory / "maps")
    assert router.choose(about("What is it?"), ("cells",)).adapter == "cells"
    assert len(speaker.read) == 6


def test_examples_are_left_out_before_the_list_gets_too_long(directory: Path) -> None:
    speaker = Speaker("cells", most=150)
    assert ModelRouter(directory, speaker).choose(about("What is it?"), NAMES).adapter == "cells"
    assert "platelets" not in speaker.read[0][0]
    choice = ModelRouter(directory, Speaker("cells", most=10)).choose(about("What is it?"), NAMES)
    assert (choice.adapter, choice.candidates) == (None, ())
    assert choice.reason.kind == "too_many_adapters"


def test_adapters_without_a_manifest_are_never_chosen(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    choice = ModelRouter(tmp_path, Speaker("bare")).choose(about("What is it?"), ("bare",))
    assert choice.adapter is None


@pytest.mark.slow
def test_the_real_model_names_an_installed_adapter_or_none(directory: Path, engine: CompiledEngine) -> None:
    choice = ModelRouter(directory, engine).choose(
        Query("How many cells are there?", np.zeros(4, np.float32), None), NAMES
    )
    assert choice.adapter in (*NAMES, None)
    assert {candidate.adapter for candidate in choice.candidates} == set(NAMES)
    assert 0 < choice.probability < 1
