"""Prototypes of an adapter: feature vectors of example images and questions that it is for.

They are in router.safetensors in the adapter's folder, and routers compare a question and its image with them. The
features come from the vision tower and the language model's embedding, which are both frozen. So an adapter's
prototypes depend only on its own examples, and installing one changes no other's file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from models.core.errors import FileError, UserError
from models.core.files import write_document
from models.core.types import Image
from models.engine import FeatureExtractor, FeatureSizes, ImageFeatures, TextEmbedder
from models.formats.safetensors_file import FLOAT_TYPES, SafetensorsFile

PROTOTYPES_FILE = "router.safetensors"
FORMAT = "edge-app-prototypes 1"  # a single metadata entry, because the order of several varies
MOST = 64
"""Prototypes of each kind that are kept: 0.2 MB of an adapter."""

MOST_ACCEPTED = 1024
"""Prototypes of each kind that a file from elsewhere may hold."""

COLOUR_SHARE = 0.25
"""Norm of the colour part of an image vector. The part of the pooled features has norm 1."""

_COMMON = 20.0
"""Scale of the token weight log(1 + id / _COMMON). Byte-level BPE numbers tokens by falling frequency, so a large id is
a rare token."""

_UNIT_TOLERANCE = 0.01  # float16 has about three significant digits

T = TypeVar("T")


@dataclass(frozen=True)
class Prototypes:
    """Unit vectors, float32 (models.engine.FeatureSizes). image: [k, image size]; question: [m, text size].

    Either may have no rows, but not both; its second dimension may then be 0.
    """

    image: NDArray[np.float32]
    question: NDArray[np.float32]


def image_vector(seen: ImageFeatures) -> NDArray[np.float32]:
    """One image as a unit vector, float32 [FeatureSizes.image]: the pooled features, then the colours.

    Square roots of the histograms are taken, so that their product is the Bhattacharyya coefficient.
    """
    pool = seen.pool / max(float(np.linalg.norm(seen.pool)), 1e-6)
    colour = np.sqrt(np.maximum(seen.colour, 0))
    colour = colour * (COLOUR_SHARE / max(float(np.linalg.norm(colour)), 1e-6))
    return _unit(np.concatenate([pool, colour]).astype(np.float32))


def question_vector(embedder: TextEmbedder, question: str) -> NDArray[np.float32]:
    """One question as a unit vector, float32 [hidden]: the weighted mean of its tokens' unit embeddings.

    Rare tokens have larger weights (see _COMMON). Case and spacing do not count. A question without words has the
    vector zero.
    """
    pieces = re.findall(r"[^\W_]+|[^\w\s]", question.lower())
    ids, rows = embedder.token_embeddings("".join(f" {piece}" for piece in pieces))
    if not len(ids):
        return np.zeros(rows.shape[1], np.float32)
    weights = np.log1p(ids / _COMMON)
    directions = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return _unit((directions * weights[:, None]).sum(axis=0).astype(np.float32))


def make_prototypes(
    extractor: FeatureExtractor, images: Sequence[Image], questions: Sequence[str]
) -> Prototypes:
    """Prototypes of an adapter's examples, whose images and questions need not correspond.

    Repeated ones count once, and at most MOST of each are taken, spread over all. Raises UserError when
    there are neither.
    """
    pictures = list({image.digest: image for image in images}.values())
    return prototypes_of(
        [image_vector(extractor.image_features(image)) for image in spread_evenly(pictures, MOST)],
        [
            question_vector(extractor, question)
            for question in spread_evenly(list(dict.fromkeys(questions)), MOST)
        ],
    )


def prototypes_of(
    images: Sequence[NDArray[np.float32]], questions: Sequence[NDArray[np.float32]]
) -> Prototypes:
    """Prototypes of image vectors and question vectors (see image_vector, question_vector).

    Question vectors of zeros are left out. Raises UserError when no vector remains.
    """
    asked = [vector for vector in spread_evenly(questions, MOST) if vector.any()]
    if not len(images) and not asked:
        raise UserError("The adapter has no example to make prototypes of; give it a question at least.")
    return Prototypes(_rows(spread_evenly(images, MOST)), _rows(asked))


def _rows(vectors: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The vectors as a matrix, float32 [vectors, length]; [0, 0] without any."""
    return np.array(vectors, np.float32).reshape(len(vectors), len(vectors[0]) if vectors else 0)


def write_prototypes(folder: Path, prototypes: Prototypes) -> Path:
    """Writes the folder's router.safetensors in float16, whole or not at all; returns its path.

    Raises UserError when the disk refuses.
    """
    tensors = {"image": prototypes.image, "question": prototypes.question}
    content = save(
        {name: value.astype(np.float16) for name, value in tensors.items()},
        {"format": FORMAT},
    )
    target = folder / PROTOTYPES_FILE
    write_document(target, content)
    return target


def read_prototypes(path: Path) -> Prototypes:
    """An adapter's prototypes. Raises UserError when the file is missing, damaged or of another kind."""
    file = SafetensorsFile(path)
    if file.metadata.get("format") != FORMAT:
        raise _refused(path, f"it does not say that it is of the format {FORMAT}")
    if set(file.tensors) != {"image", "question"}:
        raise _refused(
            path, f"it holds {', '.join(sorted(file.tensors)) or 'nothing'} and not image and question"
        )
    image, question = (_unit_rows(path, file, name) for name in ("image", "question"))
    if not len(image) and not len(question):
        raise _refused(path, "it holds no prototype at all")
    return Prototypes(image, question)


def check_sizes(path: Path, prototypes: Prototypes, sizes: FeatureSizes) -> None:
    """Raises UserError when the prototypes were made with a model that has other features. path: for the message."""
    for kind, rows, size in (
        ("an image", prototypes.image, sizes.image),
        ("a question", prototypes.question, sizes.text),
    ):
        if len(rows) and rows.shape[1] != size:
            raise _refused(
                path, f"it was made with another model ({rows.shape[1]} features of {kind}, not {size})"
            )


def _unit_rows(path: Path, file: SafetensorsFile, name: str) -> NDArray[np.float32]:
    """A tensor of the file as unit vectors, float32 [rows, size]. Raises UserError when it has anything else."""
    tensor = file.tensors[name]
    if tensor.type not in FLOAT_TYPES or len(tensor.shape) != 2 or tensor.shape[0] > MOST_ACCEPTED:
        raise _refused(
            path, f"{name!r} is {tensor.type} {list(tensor.shape)}, not up to {MOST_ACCEPTED} rows of floats"
        )
    rows = file.floats(name)
    lengths = np.linalg.norm(rows, axis=1)
    if not np.all(np.abs(lengths - 1) <= _UNIT_TOLERANCE):  # also true for NaN
        raise _refused(path, f"{name!r} has rows that are not unit vectors")
    unit: NDArray[np.float32] = rows / lengths[:, None].astype(np.float32)
    return unit


def _refused(path: Path, why: str) -> UserError:
    return FileError(path, f" cannot serve the router: {why}; install the adapter again.")


def spread_evenly(items: Sequence[T], most: int) -> list[T]:
    """At most `most` of the items, at equal distances, in their order."""
    step = max(len(items) / most, 1.0)
    return [items[int(i * step)] for i in range(min(len(items), most))]


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    return vector / np.float32(max(float(np.linalg.norm(vector)), 1e-12))
