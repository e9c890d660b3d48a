"""SmolVLM and its relatives compute what transformers computes, on tiny random models of every true shape."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from models.families.parts import Parts
from models.model_dump import dump, read_messages
from tests.fixtures.numerics.vlm_cases import CASES, QUESTIONS
from tests.models.families.vlm_models import FEATURES, LOGITS, difference, expected, images_of, parts
from tests.models.vision.vision_cases import PATHS

pytestmark = pytest.mark.slow  # compiles at the first run


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
