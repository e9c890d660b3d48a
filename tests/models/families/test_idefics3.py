"""SmolVLM and its relatives compute what transformers computes, on tiny random models of every true shape."""

from __future__ import annotations

import atexit
import functools
import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.core.files import file_digest
from models.core.images import load_image
from models.core.types import Image, no_progress
from models.families.parts import LoadOptions, Parts
from models.families.registry import load_parts
from models.hub.store import ModelFiles
from models.model_dump import dump, read_messages
from tests.fixtures import numerics
from tests.fixtures.numerics.vlm_cases import CASES, QUESTIONS, write_checkpoint, write_gguf_pair
from tests.models.tiny_directory import model_files
from tests.models.vision.vision_cases import PATHS

pytestmark = pytest.mark.slow  # compiles at the first run

FEATURES, LOGITS = 0.03, 0.05
"""Bounds of the difference, as its norm over that of the reference: activations are rounded to 8 bits."""


@functools.cache
def expected(name: str) -> Mapping[str, NDArray[Any]]:
    with np.load(Path(numerics.__file__).parent / f"vlm_{name}.npz") as stored:
        return {key: stored[key] for key in stored.files}


def difference(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    return float(
        np.linalg.norm(found - wanted.astype(np.float64)) / np.linalg.norm(wanted.astype(np.float64))
    )


def directory_files(folder: Path) -> ModelFiles:
    return model_files(folder, name="tiny-vlm", family="idefics3")


def gguf_files(folder: Path) -> ModelFiles:
    files = {"language_model": folder / "lm.gguf", "mmproj": folder / "mmproj.gguf"}
    digests = {role: file_digest(path) for role, path in files.items()}
    whole = hashlib.sha256("".join(digests.values()).encode()).hexdigest()
    return ModelFiles("tiny-vlm", "idefics3", folder, files, digests, None, whole)


@functools.cache
def folder_of(name: str, form: str) -> ModelFiles:
    folder = Path(tempfile.mkdtemp(prefix="vlm-")) / "model"
    atexit.register(shutil.rmtree, folder.parent, ignore_errors=True)
    if form == "directory":
        return directory_files(write_checkpoint(CASES[name], folder))
    return gguf_files(write_gguf_pair(CASES[name], folder, form.upper()))


@functools.cache
def parts(name: str, form: str, path: str, cache: Path) -> Parts:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_APP_KERNELS", path)
        loaded = load_parts(folder_of(name, form), LoadOptions(cache, 1), no_progress)
        if loaded.vision is not None:
            loaded.vision.load()  # chooses the kernels too
        return loaded


def images_of(name: str) -> list[Image]:
    question = QUESTIONS[name]
    images = [load_image(file) for file in question.files()]
    return images if question.splitting else [replace(image, detail="low") for image in images]


def check(loaded: Parts, name: str, question: str) -> None:
    """Compare all arrays of a dump with what transformers made."""
    wanted = {
        key.partition("/")[2]: value
        for key, value in expected(name).items()
        if key.startswith(f"{question}/")
    }
    found = dump(loaded, read_messages(QUESTIONS[question].messages), images_of(question))
    assert found["token_ids"].tolist() == wanted["token_ids"].tolist()
    assert found["positions"].tolist() == wanted["positions"].tolist()
    if "tiles_sha256" in wanted:
        assert hashlib.sha256(found["tiles"].tobytes()).hexdigest() == str(wanted["tiles_sha256"])
        assert difference(found["image_features"], wanted["image_features"]) < FEATURES
    assert difference(found["logits_last"], wanted["logits_last"]) < LOGITS
    assert difference(found["logits_at_positions"], wanted["logits_at_positions"]) < LOGITS
    best = np.sort(wanted["logits_last"])[::-1]
    if best[0] - best[1] > 2 * np.abs(found["logits_last"] - wanted["logits_last"]).max():
        assert found["greedy"][0] == wanted["greedy"][0]


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("name", CASES)
def test_a_checkpoint_gives_what_transformers_gives(name: str, question: str, engine_cache: Path) -> None:
    check(parts(name, "directory", PATHS[0], engine_cache), name, question)


@pytest.mark.parametrize("path", PATHS[1:])
def test_every_kernel_path_gives_what_transformers_gives(path: str, engine_cache: Path) -> None:
    check(parts("like_256m", "directory", path, engine_cache), "like_256m", "photo")


@pytest.mark.parametrize("question", ["photo", "unsplit", "talk"])
@pytest.mark.parametrize("name", CASES)
def test_gguf_files_give_what_the_checkpoint_gives(name: str, question: str, engine_cache: Path) -> None:
    check(parts(name, "f32", PATHS[0], engine_cache), name, question)
