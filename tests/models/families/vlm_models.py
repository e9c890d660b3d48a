"""Loads the tiny vision-language models of tests/fixtures/numerics/vlm_cases.py, and compares with what is stored."""

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
from models.formats.llama_weights import Precision
from models.hub.store import ModelFiles
from tests.fixtures import numerics
from tests.fixtures.numerics.vlm_cases import CASES, QUESTIONS, write_checkpoint
from tests.fixtures.numerics.vlm_gguf import write_gguf_pair
from tests.models.tiny_directory import model_files

FEATURES, LOGITS = 0.03, 0.05
"""Bounds of the difference, as its norm over that of the reference: activations are rounded to 8 bits."""

FLOAT_ERROR = 0.002
"""The same bound in float: the KV cache is float16, and attention in the tower rounds to 13 bits."""


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
def files_of(name: str, form: str) -> ModelFiles:
    """form: "directory", or the type of a GGUF pair's matrices and perhaps "exchanged"."""
    folder = Path(tempfile.mkdtemp(prefix="vlm-")) / "model"
    atexit.register(shutil.rmtree, folder.parent, ignore_errors=True)
    if form == "directory":
        return directory_files(write_checkpoint(CASES[name], folder))
    kind, _, layout = form.partition(" ")
    return gguf_files(write_gguf_pair(CASES[name], folder, kind.upper(), exchanged=layout == "exchanged"))


@functools.cache
def parts(name: str, form: str, path: str, cache: Path, precision: Precision = "int8") -> Parts:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_APP_KERNELS", path)
        loaded = load_parts(files_of(name, form), LoadOptions(cache, 1, precision=precision), no_progress)
        if loaded.vision is not None:
            loaded.vision.load()  # chooses the kernels too
        return loaded


def images_of(name: str) -> list[Image]:
    question = QUESTIONS[name]
    images = [load_image(file) for file in question.files()]
    return images if question.splitting else [replace(image, detail="low") for image in images]
