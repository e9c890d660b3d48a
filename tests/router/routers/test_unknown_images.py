"""Pictures of kinds that no adapter is for, judged by the image alone, over the real model's features."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import adapters
from adapters.prototypes import (
    PROTOTYPES_FILE,
    image_vector,
    make_prototypes,
    read_prototypes,
    write_prototypes,
)
from adapters.store.manifest import MANIFEST_FILE
from benchmarks.quality.router.unknown_kinds import KINDS, draw_unknown
from benchmarks.quality.router.unknown_kinds.easel import Easel
from models.compiled_engine import CompiledEngine
from models.core.types import Image
from router.choice import Query
from router.negatives.__main__ import main as write_negatives
from router.negatives.textures import KINDS as TEXTURES
from router.routers.background import bundled_background
from router.routers.make_background import DRAWN_EACH, DRAWN_SEED, eight_bits
from router.routers.ridge_heads import HeadRouter, is_for_any_page

BUNDLED_ADAPTERS = Path(adapters.__file__).parent / "bundled"
NAMES = tuple(
    sorted(
        folder.name
        for folder in BUNDLED_ADAPTERS.iterdir()
        if (folder / PROTOTYPES_FILE).is_file() and not is_for_any_page(folder / MANIFEST_FILE)
    )
)
"""The adapters for special kinds of images. Pages and screens are of the kind of the one for any page."""


class AnyQuestion:
    """A scope in which every question is a task of every adapter."""

    def of_adapter(self, question: str, adapter: str) -> float | None:
        return 5.0 if question and adapter else None


def pictured(image: PIL.Image.Image, name: str) -> Image:
    return Image(np.asarray(image), name, name)


def chosen(router: HeadRouter, engine: CompiledEngine, image: Image, names: tuple[str, ...]) -> str | None:
    size = engine.feature_sizes.text
    query = Query("What is this?", np.zeros(size, np.float32), image_vector(engine.image_features(image)))
    return router.choose(query, names).adapter


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The examples of the bundled adapters."""
    for name in NAMES:
        (tmp_path / name).mkdir()
        write_prototypes(tmp_path / name, read_prototypes(BUNDLED_ADAPTERS / name / PROTOTYPES_FILE))
    return tmp_path


def test_pictures_of_no_installed_kind_go_to_no_adapter_whatever_is_asked(
    directory: Path, engine: CompiledEngine
) -> None:
    router = HeadRouter(directory, AnyQuestion())
    found = {kind: chosen(router, engine, pictured(image, kind), NAMES) for kind, image in draw_unknown(1)}
    wrong = {kind: adapter for kind, adapter in found.items() if adapter is not None}
    assert len(wrong) <= 0.15 * len(KINDS), wrong


@pytest.mark.parametrize("kind", ["messenger", "animal", "town_map"])
def test_an_adapter_for_such_a_kind_wins_its_pictures_at_once(
    directory: Path, engine: CompiledEngine, kind: str
) -> None:
    router = HeadRouter(directory, AnyQuestion())

    def painted(first: int) -> Iterator[Image]:
        for number in range(first, 100):
            yield pictured(KINDS[kind](Easel(f"{kind} {number}")).convert("RGB"), f"{kind} {number}")

    new = list(islice(painted(50), 6))
    assert kind not in [chosen(router, engine, image, NAMES) for image in new]
    (directory / kind).mkdir()
    write_prototypes(directory / kind, make_prototypes(engine, list(islice(painted(0), 24)), []))
    assert [chosen(router, engine, image, (*NAMES, kind)) for image in new] == [kind] * 6


def test_the_bundled_pictures_are_those_that_the_command_draws(
    engine: CompiledEngine, tmp_path: Path
) -> None:
    background = bundled_background().image
    kept = background.examples[
        -len(TEXTURES) * DRAWN_EACH :: DRAWN_EACH
    ]  # textures, which hold no text, are last
    write_negatives([str(tmp_path), "--seed", str(DRAWN_SEED), "--each", "1"])
    for kind, own in zip(TEXTURES, kept, strict=True):
        with PIL.Image.open(tmp_path / f"textures-{kind}-000.png") as image:
            vector = image_vector(engine.image_features(pictured(image.convert("RGB"), kind)))
        if kind != "blank":  # may hold a word
            assert float(background.centred(vector) @ own) > 0.95, kind


def test_eight_bits_keep_the_direction() -> None:
    vectors = np.random.default_rng(0).standard_normal((5, 100)).astype(np.float32)
    kept = eight_bits(vectors).astype(np.float32)
    cosines = (kept * vectors).sum(axis=1) / np.linalg.norm(kept, axis=1) / np.linalg.norm(vectors, axis=1)
    assert cosines == pytest.approx(1, abs=1e-3)
    assert np.abs(kept).max(axis=1).tolist() == [127] * 5
