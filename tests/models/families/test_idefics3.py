"""SmolVLM and its relatives compute what transformers computes, on tiny random models of every true shape."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.compiled_engine import CompiledEngine
from models.core.errors import UserError
from models.core.types import Message, Sampling, no_progress
from models.families.parts import LoadOptions, Parts
from models.families.registry import load_parts
from models.model_dump import dump, read_messages
from tests.fixtures.numerics.vlm_cases import CASES, QUESTIONS
from tests.fixtures.numerics.vlm_gguf import write_gguf_pair
from tests.models.families.vlm_models import (
    FEATURES,
    LOGITS,
    difference,
    expected,
    gguf_files,
    images_of,
    parts,
)
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


@pytest.fixture
def engine(engine_cache: Path, tmp_path: Path) -> CompiledEngine:
    return CompiledEngine("tiny", "0", parts("like_256m", "directory", PATHS[0], engine_cache), tmp_path)


def test_a_second_question_reads_neither_tiles_nor_prompt_again(engine: CompiledEngine) -> None:
    """The answer is shown without the blank that it begins with; the template writes that blank again."""
    first = Message("user", "What is this?", (images_of("photo")[0],))
    answer = engine.generate([first], Sampling(max_tokens=4))
    assert len(list(answer)) >= 1
    assert not answer.text.startswith(" ")
    assert engine.is_encoded(first.images[0])
    chat = [first, Message("assistant", answer.text), Message("user", "And on the right?")]
    second = engine.generate(chat, Sampling(max_tokens=1))
    list(second)
    assert second.cached_tokens >= answer.prompt_tokens


def test_it_sees_but_has_nothing_for_the_router(engine: CompiledEngine) -> None:
    image = images_of("photo")[0]
    assert engine.has_vision
    assert engine.feature_sizes.image == 0
    assert engine.certainty(image) is None
    with pytest.raises(UserError, match="no image features for the router"):
        engine.image_features(image)


def test_images_that_do_not_fit_may_be_looked_at_less_closely(engine: CompiledEngine) -> None:
    engine.context_length = 64
    question = Message("user", "What is this?", (images_of("photo")[0],))
    assert not engine.fits([question], 4)
    assert not engine.is_encoded(question.images[0])
    with pytest.raises(UserError, match=r"too long.*detail low"):
        engine.generate([question], Sampling(max_tokens=4))
    low = Message("user", "What is this?", (replace(question.images[0], detail="low"),))
    assert engine.fits([low], 4)
    assert engine.generate([low], Sampling(max_tokens=4)).image_tokens == CASES["like_256m"].rows_a_tile


def test_a_question_that_just_fits_is_told_from_one_that_does_not(engine: CompiledEngine) -> None:
    question = Message("user", "What is this?", tuple(images_of("photo")[:1]))
    length = engine.generate([question], Sampling(max_tokens=4)).prompt_tokens
    for context, fits in ((length + 4, True), (length + 3, False)):
        engine.context_length = context
        assert engine.fits([question], 4) is fits


def test_files_of_two_different_models_are_refused(tmp_path: Path, engine_cache: Path) -> None:
    one, other = (gguf_files(write_gguf_pair(CASES[name], tmp_path / name)) for name in ("like_256m", "tied"))
    mixed = replace(
        one,
        files={**one.files, "mmproj": other.files["mmproj"]},
        digests={**one.digests, "mmproj": other.digests["mmproj"]},
    )
    loaded = load_parts(mixed, LoadOptions(engine_cache, 1), no_progress)
    assert loaded.vision is not None
    with pytest.raises(UserError, match="the two files belong to different models"):
        loaded.vision.load()
    blind = replace(one, files={"language_model": one.files["language_model"]})
    with pytest.raises(UserError, match="has no mmproj among its files"):
        load_parts(blind, LoadOptions(engine_cache, 1), no_progress)
