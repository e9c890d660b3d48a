"""Makes router/bundled/general.safetensors, the background of ordinary images and questions.

    python -m router.routers.make_background --data DIR --models DIR --cache DIR

Reads the train split of photos and captions, and general_questions.txt. Of the photos it keeps the mean and the cluster
centres of their features, from which no image can be reconstructed. Of the pictures that router.negatives draws, it
keeps the features.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from adapters.prototypes import image_vector, question_vector
from models.core.errors import UserError
from models.core.images import load_image
from models.core.types import Image
from models.engine import FeatureExtractor, TextEmbedder, load_model
from models.hub.store import ModelStore
from router.negatives import draw_negatives
from router.routers.background import BUNDLED, CHAT, DRAWN, GENERAL, OTHER, SPECIAL, read_questions

SETS = ("photos", "captions")
CENTRES = 128
DRAWN_SEED, DRAWN_EACH = 0, 12
KMEANS_ROUNDS = 20


def general_images(data: Path) -> list[Path]:
    """The training images of the sets. Raises UserError when their lists are missing."""
    found: dict[Path, None] = {}
    for name in SETS:
        path = data / f"{name}.jsonl"
        if not path.is_file():
            raise UserError(f"There is no {path}; --data must name the folder that holds it.")
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        found |= {data / row["image"]: None for row in rows if row["split"] == "train"}
    return list(found)


def centres(vectors: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Cluster centres by k-means, float32 [count, features].

    vectors: [n, features]. Each initial centre is the vector farthest from the centres before it.
    """
    chosen = [0]
    distance = np.full(len(vectors), np.inf)  # [n], squared, to the nearest centre so far
    while len(chosen) < min(count, len(vectors)):
        distance = np.minimum(distance, ((vectors - vectors[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(distance.argmax()))
    middle = vectors[chosen]
    for _ in range(KMEANS_ROUNDS):
        # Squared distances [n, count] without |vector|^2, which is the same for all centres.
        squares = (middle**2).sum(axis=1) - 2 * vectors @ middle.T
        nearest = squares.argmin(axis=1)
        own = [vectors[nearest == index] for index in range(len(middle))]
        middle = np.stack([mine.mean(axis=0) if len(mine) else middle[i] for i, mine in enumerate(own)])
    return middle


def background_tensors(
    kind: str, vectors: NDArray[np.float32], count: int | None
) -> dict[str, NDArray[np.float16]]:
    """A FeatureBackground's tensors by name. count: number of cluster centres to keep; None keeps all vectors."""
    tensors = {
        "mean": vectors.mean(axis=0),
        "examples": vectors if count is None else centres(vectors, count),
    }
    return {f"{kind}.{name}": value.astype(np.float16) for name, value in tensors.items()}


def make(
    engine: FeatureExtractor, images: Sequence[Path], questions: Mapping[str, Sequence[str]]
) -> dict[str, NDArray[Any]]:
    """All tensors of the file. questions: by section (router.routers.background.read_questions)."""
    seen = np.stack([image_vector(engine.image_features(load_image(path))) for path in images])
    return {
        **background_tensors("image", seen, CENTRES),
        **drawn_tensors(engine),
        **question_background(engine, questions),
    }


def drawn_tensors(extractor: FeatureExtractor) -> dict[str, NDArray[np.int8]]:
    """The features of pictures of kinds that no adapter is made for, [pictures, features] for each group of DRAWN."""
    vectors: dict[str, list[NDArray[np.float32]]] = {group: [] for group in DRAWN}
    for name, image in draw_negatives(DRAWN_SEED, DRAWN_EACH):
        features = extractor.image_features(Image(np.asarray(image), name, name))
        family = name.partition("-")[0]
        vectors[family if family in DRAWN else OTHER].append(image_vector(features))
    return {f"image.{group}": eight_bits(np.stack(own)) for group, own in vectors.items()}


def eight_bits(vectors: NDArray[np.float32]) -> NDArray[np.int8]:
    """The directions of the vectors: each scaled so that its largest value is 127 or -127."""
    scaled = np.rint(127 * vectors / np.abs(vectors).max(axis=1, keepdims=True))
    return np.asarray(scaled, np.int8)


def question_background(
    embedder: TextEmbedder, questions: Mapping[str, Sequence[str]]
) -> dict[str, NDArray[np.float16]]:
    """The examples of questions. The last `question.chat` of them are plain chat."""
    about = [q for kind, own in questions.items() if kind not in (CHAT, SPECIAL) for q in own]
    asked = about + list(questions[CHAT])
    vectors = np.stack([question_vector(embedder, question) for question in asked])
    chat = np.array([len(questions[CHAT])], np.float16)
    return background_tensors("question", vectors, None) | {"question.chat": chat}


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
    engine = load_model(store.pull(store.catalog.default), cache_dir=options.cache)
    tensors = make(engine, general_images(options.data), read_questions(GENERAL))
    save_file(tensors, BUNDLED)
    print(", ".join(f"{name} {list(value.shape)}" for name, value in tensors.items()), BUNDLED)


if __name__ == "__main__":
    main()
