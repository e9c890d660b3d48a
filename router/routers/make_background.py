"""Makes router/bundled/general.safetensors: what ordinary images and questions look like to the router.

    python -m router.routers.make_background --data DIR --models DIR --cache DIR

Reads the train split of photos and captions, and general_questions.txt. What is kept of the images is the mean
and the centres of clusters of their features, from which no image can be made again. The heads that tell chat from
questions about an image (router.routers.subject) are fitted to the questions.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from adapters.prototypes import Senses, Words, image_vector, question_vector
from models.core.errors import UserError
from models.core.images import load_image
from models.engine import Engine
from models.hub.store import ModelStore
from router.routers.background import BUNDLED
from router.routers.question_lists import CHAT, GENERAL, SPECIAL, read_questions
from router.routers.subject import FORM, fit_subject

STRENGTH = 30.0
"""Of the penalty on the heads' weights; between 10 and 100 the development half of asked.txt sees no difference."""

SETS = ("photos", "captions")
CENTRES = 128
ROUNDS = 20


class Mind(Senses, Protocol):
    """models.engine.Engine is one."""

    def text_state(self, text: str) -> NDArray[np.float32]: ...


def general_images(data: Path) -> list[Path]:
    """The training images of the sets. Raises UserError when the data are not there."""
    found: dict[Path, None] = {}
    for name in SETS:
        path = data / f"{name}.jsonl"
        if not path.is_file():
            raise UserError(f"There is no {path}; --data must name the folder that holds it.")
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        found |= {data / row["image"]: None for row in rows if row["split"] == "train"}
    return list(found)


def centres(vectors: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """k-means, begun with the vectors farthest from those before: float32 [count, features]."""
    chosen = [0]
    distance = np.full(len(vectors), np.inf)
    while len(chosen) < min(count, len(vectors)):
        distance = np.minimum(distance, ((vectors - vectors[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(distance.argmax()))
    middle = vectors[chosen]
    for _ in range(ROUNDS):
        squares = (middle**2).sum(axis=1) - 2 * vectors @ middle.T
        nearest = squares.argmin(axis=1)
        own = [vectors[nearest == index] for index in range(len(middle))]
        middle = np.stack([mine.mean(axis=0) if len(mine) else middle[i] for i, mine in enumerate(own)])
    return middle


def background(kind: str, vectors: NDArray[np.float32], count: int | None) -> dict[str, NDArray[np.float16]]:
    """A Background's tensors under their names. count: clusters to keep the centres of; None keeps all."""
    tensors = {
        "mean": vectors.mean(axis=0),
        "examples": vectors if count is None else centres(vectors, count),
    }
    return {f"{kind}.{name}": value.astype(np.float16) for name, value in tensors.items()}


def make(
    mind: Mind, images: Sequence[Path], questions: Mapping[str, Sequence[str]]
) -> dict[str, NDArray[np.floating]]:
    """All tensors of the file. questions: by kind, plain chat being CHAT."""
    seen = np.stack([image_vector(mind.image_features(load_image(path))) for path in images])
    return background("image", seen, CENTRES) | question_tensors(mind, questions)


def question_tensors(mind: Mind, questions: Mapping[str, Sequence[str]]) -> dict[str, NDArray[np.floating]]:
    """Those that come of the questions."""
    return question_background(mind, questions) | subject_heads(mind, questions)


def question_background(
    words: Words, questions: Mapping[str, Sequence[str]]
) -> dict[str, NDArray[np.float16]]:
    """Of questions alone, chat last: the last `question.chat` examples are plain chat."""
    about = [q for kind, own in questions.items() if kind not in (CHAT, SPECIAL) for q in own]
    asked = about + list(questions[CHAT])
    vectors = np.stack([question_vector(words, question) for question in asked])
    chat = np.array([len(questions[CHAT])], np.float16)
    return background("question", vectors, None) | {"question.chat": chat}


def subject_heads(mind: Mind, questions: Mapping[str, Sequence[str]]) -> dict[str, NDArray[np.float32]]:
    """The two heads' tensors under their names."""
    about = [question for kind, own in questions.items() if kind != CHAT for question in own]
    ways: dict[str, Callable[[str], NDArray[np.float32]]] = {
        "words": lambda question: question_vector(mind, question),
        "state": lambda question: mind.text_state(FORM.format(question)),
    }
    tensors: dict[str, NDArray[np.float32]] = {}
    for name, vector in ways.items():
        own, other = (np.stack([vector(each) for each in side]) for side in (about, questions[CHAT]))
        head = fit_subject(own, other, STRENGTH)
        tensors |= {f"{name}.weight": head.weight, f"{name}.bias": np.array([head.bias], np.float32)}
    return tensors


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="photos.jsonl, captions.jsonl, their images")
    parser.add_argument(
        "--models", type=Path, required=True, help="where `edge-app models pull` keeps models"
    )
    parser.add_argument("--cache", type=Path, required=True, help="compiled code and packed weights")
    options = parser.parse_args(arguments)
    store = ModelStore(options.models)
    engine = Engine.load(store.pull(store.catalog.default), cache_dir=options.cache)
    tensors = make(engine, general_images(options.data), read_questions(GENERAL))
    save_file(tensors, BUNDLED)
    print(", ".join(f"{name} {list(value.shape)}" for name, value in tensors.items()), BUNDLED)


if __name__ == "__main__":
    main()
