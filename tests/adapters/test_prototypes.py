"""Prototypes are unit vectors that depend on an adapter's own examples, and files of them are checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save_file

from adapters.prototypes import (
    FORMAT,
    MOST,
    PROTOTYPES_FILE,
    Prototypes,
    check_sizes,
    image_vector,
    make_prototypes,
    prototypes_of,
    question_vector,
    read_prototypes,
    write_prototypes,
)
from models.core.errors import UserError
from models.core.types import Image
from models.engine import FeatureSizes
from models.vision.tower import TowerFeatures

HIDDEN, IMAGE_SIZE = 24, 1280 + 128


class Senses:
    """A token for each word, its embedding drawn from its id; features drawn from the image's digest."""

    def __init__(self) -> None:
        self.looked: list[str] = []

    def image_features(self, image: Image) -> TowerFeatures:
        self.looked.append(image.digest)
        rng = np.random.default_rng(list(image.digest.encode()))
        return features(rng.random(1280, dtype=np.float32), rng.random(128, dtype=np.float32))

    def token_embeddings(self, text: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        ids = np.array([sum(word.encode()) for word in text.split()], np.int64)
        rows = [np.random.default_rng(number).standard_normal(HIDDEN).astype(np.float32) for number in ids]
        return ids, np.array(rows, np.float32).reshape(len(ids), HIDDEN)


def features(pool: NDArray[np.float32], colour: NDArray[np.float32]) -> TowerFeatures:
    return TowerFeatures(pool, np.zeros((81, 1280), np.float32), colour, {})


def image(digest: str) -> Image:
    return Image(np.zeros((1, 1, 3), np.uint8), digest, digest)


def unit_rows(count: int, size: int, seed: int = 0) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_vectors_have_length_one_whatever_is_seen() -> None:
    black = features(np.zeros(1280, np.float32), np.zeros(128, np.float32))
    assert np.isfinite(image_vector(black)).all()
    bright = features(np.full(1280, 90, np.float32), np.full(128, 1 / 64, np.float32))
    assert np.linalg.norm(image_vector(bright)) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(question_vector(Senses(), "What is the total?")) == pytest.approx(1, abs=1e-5)


def test_case_and_spacing_of_a_question_do_not_count() -> None:
    plain = question_vector(Senses(), "what is the total ?")
    assert np.array_equal(question_vector(Senses(), "  What is   the TOTAL?"), plain)
    assert not np.array_equal(question_vector(Senses(), "What is the date?"), plain)


@pytest.mark.parametrize("question", ["", "   ", "\n"])
def test_a_question_without_words_is_like_nothing(question: str) -> None:
    assert not question_vector(Senses(), question).any()


def test_repeated_examples_count_once_and_many_are_thinned_out_evenly() -> None:
    senses = Senses()
    pictures = [image(f"{number:03}") for number in range(100) for _ in range(3)]
    made = make_prototypes(senses, pictures, ["How many?", "How many?", "Which?"])
    assert made.image.shape == (MOST, IMAGE_SIZE)
    assert made.question.shape == (2, HIDDEN)
    assert len(senses.looked) == MOST
    assert (min(senses.looked), max(senses.looked)) == ("000", "098")


def test_questions_alone_are_enough_and_nothing_is_not() -> None:
    made = make_prototypes(Senses(), [], ["What is the total?"])
    assert (len(made.image), made.question.shape) == (0, (1, HIDDEN))
    with pytest.raises(UserError, match="no example"):
        make_prototypes(Senses(), [], [" "])


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    wanted = prototypes_of(list(unit_rows(5, IMAGE_SIZE)), list(unit_rows(3, HIDDEN)))
    path = write_prototypes(tmp_path, wanted)
    assert path == tmp_path / PROTOTYPES_FILE
    assert [file.name for file in tmp_path.iterdir()] == [PROTOTYPES_FILE]
    found = read_prototypes(path)
    assert np.abs(found.image - wanted.image).max() < 1e-3
    assert np.abs(found.question - wanted.question).max() < 1e-3
    assert np.linalg.norm(found.image, axis=1) == pytest.approx(1, abs=1e-6)


def test_one_kind_may_be_missing_from_a_file(tmp_path: Path) -> None:
    seen = read_prototypes(write_prototypes(tmp_path, prototypes_of(list(unit_rows(2, IMAGE_SIZE)), [])))
    assert (len(seen.image), len(seen.question)) == (2, 0)
    asked = read_prototypes(write_prototypes(tmp_path, prototypes_of([], list(unit_rows(2, HIDDEN)))))
    assert (len(asked.image), len(asked.question)) == (0, 2)


def test_the_file_of_the_same_examples_is_the_same_to_the_byte(tmp_path: Path) -> None:
    contents = []
    for _ in range(2):
        made = make_prototypes(Senses(), [image("a"), image("b")], ["One?", "Two?"])
        contents.append(write_prototypes(tmp_path, made).read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ("image_size", "text_size", "what"),
    [
        (1407, HIDDEN, "1408 features of an image, not 1407"),
        (IMAGE_SIZE, 7, "24 features of a question, not 7"),
    ],
)
def test_prototypes_of_another_model_are_refused(
    tmp_path: Path, image_size: int, text_size: int, what: str
) -> None:
    both = prototypes_of(list(unit_rows(2, IMAGE_SIZE)), list(unit_rows(2, HIDDEN)))
    check_sizes(tmp_path, both, FeatureSizes(text=HIDDEN, image=IMAGE_SIZE))
    with pytest.raises(UserError, match=what):
        check_sizes(tmp_path, both, FeatureSizes(text=text_size, image=image_size))


def test_sizes_do_not_matter_to_a_kind_that_is_missing(tmp_path: Path) -> None:
    check_sizes(tmp_path, prototypes_of([], list(unit_rows(2, HIDDEN))), FeatureSizes(text=HIDDEN, image=3))


GOOD = {"image": unit_rows(2, IMAGE_SIZE), "question": unit_rows(2, HIDDEN)}


@pytest.mark.parametrize(
    ("changes", "metadata", "what"),
    [
        ({}, {"format": "edge-app-prototypes 2"}, "of the format"),
        ({}, None, "of the format"),
        ({"more": unit_rows(1, 4)}, {}, "more"),
        ({"question": None}, {}, "holds image"),
        ({"image": unit_rows(2, IMAGE_SIZE) * 2}, {}, "not unit vectors"),
        ({"question": np.full((2, HIDDEN), np.nan, np.float32)}, {}, "not unit vectors"),
        ({"question": np.full((2, HIDDEN), np.inf, np.float32)}, {}, "not unit vectors"),
        ({"question": np.zeros((2, HIDDEN), np.int32)}, {}, "rows of floats"),
        ({"question": np.zeros(HIDDEN, np.float32)}, {}, "rows of floats"),
        ({"question": unit_rows(1025, 4)}, {}, "rows of floats"),
        ({"image": GOOD["image"][:0], "question": GOOD["question"][:0]}, {}, "no prototype at all"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    tmp_path: Path, changes: dict[str, NDArray[np.float32] | None], metadata: dict[str, str] | None, what: str
) -> None:
    path = tmp_path / PROTOTYPES_FILE
    tensors = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    save_file(tensors, path, None if metadata is None else {"format": FORMAT, **metadata})
    with pytest.raises(UserError, match=what) as refused:
        read_prototypes(path)
    assert str(path) in str(refused.value)


def test_a_missing_file_is_the_users_to_mend(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=PROTOTYPES_FILE):
        read_prototypes(tmp_path / PROTOTYPES_FILE)


@settings(max_examples=60)
@given(data=st.data())
def test_a_damaged_file_is_refused_or_read_never_worse(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    path = write_prototypes(folder, Prototypes(GOOD["image"], GOOD["question"]))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        found = read_prototypes(path)
    except UserError:
        return
    assert np.isfinite(found.image).all()
    assert np.isfinite(found.question).all()
