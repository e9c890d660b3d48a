"""Random features for tests of routers: kinds of images and questions, each around its own centre."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adapters.prototypes import prototypes_of, write_prototypes
from router.choice import Choice, Query, Router
from router.routers.background import Background, FeatureBackground

HIDDEN, IMAGE_SIZE = 64, 1408
CHAT = 20
CHAT_KINDS = range(280, 280 + CHAT)
KINDS = {"aerial": 1, "cells": 2, "receipts": 3}


def near(kind: int, size: int, number: int, noise: float = 0.6) -> NDArray[np.float32]:
    """A unit vector around the centre of a kind. Kind 0 is ordinary; all kinds of chat share a direction."""
    centre = np.random.default_rng(kind).standard_normal(size)
    if kind in CHAT_KINDS:
        centre += 1.5 * np.random.default_rng(9).standard_normal(size)
    own = np.random.default_rng([kind, number]).standard_normal(size)
    vector = (centre + noise * own).astype(np.float32)
    return vector / np.float32(np.linalg.norm(vector))


def around(kind: int, size: int, count: int, first: int = 0) -> NDArray[np.float32]:
    return np.stack([near(kind, size, first + number) for number in range(count)])


def spread_out(size: int) -> FeatureBackground:
    """A background of 200 kinds, one vector each."""
    vectors = np.stack([near(100 + number, size, number) for number in range(200)])
    return FeatureBackground.of(vectors.mean(axis=0), vectors)


BACKGROUND = Background(spread_out(IMAGE_SIZE), spread_out(HIDDEN), CHAT, spread_out(IMAGE_SIZE))

GENERIC = 104
"""A kind of question that fits every adapter with images."""


class MadeUpScope:
    """In place of router.scope.TaskScope: a question's kind is the number before its last one.

    directory: of adapters that `install` made, whose tasks are questions of their own kind.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def of_adapter(self, question: str, adapter: str) -> float | None:
        try:
            own, images = map(int, (self._directory / adapter / "kind").read_text().split())
        except OSError:
            return None
        kind = int(question.split()[-2])
        return 4.0 if kind == own or (kind == GENERIC and images) else -4.0


def install(directory: Path, name: str, kind: int, images: int = 20, questions: int = 4) -> None:
    folder = directory / name
    folder.mkdir(parents=True, exist_ok=True)
    made = prototypes_of(
        list(around(kind, IMAGE_SIZE, images)) if images else [],
        list(around(kind, HIDDEN, questions)) if questions else [],
    )
    write_prototypes(folder, made)
    (folder / "kind").write_text(f"{kind} {images}")


def query(image: int | None, question: int, number: int = 999) -> Query:
    """A query of the given kinds; image and question are not among the examples."""
    seen = None if image is None else near(image, IMAGE_SIZE, 999)
    return Query(f"? {question} {number}", near(question, HIDDEN, number), seen)


def ask(router: Router, installed: tuple[str, ...], image: int | None, question: int) -> Choice:
    return router.choose(query(image, question), installed)


ALL = tuple(KINDS)
