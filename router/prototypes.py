"""The nearest-prototype router: an adapter suits what is nearer to its examples than ordinary things are.

Training-free, over frozen features of the image and the question. An adapter's score depends on its own
prototypes and on the bundled background, never on other adapters: installing one changes no other's score.
The image counts more than the question, since many questions fit any image. An adapter whose examples have
images is out of the question without one. Knows nothing of adapters' weights or of how answers come about.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adapters.prototypes import PROTOTYPES_FILE, Prototypes, read_prototypes
from models.errors import UserError
from router.general import NEAREST_IMAGES, NEAREST_QUESTIONS, General, general, likeness
from router.query import Candidate, Choice, Query

QUESTION_WEIGHT = 0.3
"""Of a question's likeness, beside an image's nearness of 1 for a typical one."""

THRESHOLD = 0.1
"""What both together must reach: 0 is what hardly an ordinary image does, 1 what half of its own do."""

QUESTION_ALONE = 0.2
"""How much nearer to an adapter's questions than to ordinary ones a question must be, when it is all there is."""

MOST_DOUBT = 0.3
"""A question that is nearer to ordinary ones counts against an adapter by no more than this likeness."""

CHAT_LIKENESS, CHAT_LEAD = 0.55, 0.2
"""A question is plain chat when it is so like one, and so much less like any about an image."""

SHARPNESS = 8.0
"""From these measures to logarithms of odds."""

ORDINARY, OWN = 0.98, 0.1
"""Quantiles of likeness: what hardly an ordinary image exceeds, and what most of an adapter's own do."""

LEAST_GAP = 0.1
"""A typical image of its own lies at least so far above; two or three examples say little of the rest."""

Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Known:
    """An adapter as the router knows it. image, question: centred unit vectors [k, 1408] and [m, hidden].

    level: the likeness of images that has a nearness of 0; gap: what lies between that and a nearness of 1.
    """

    image: NDArray[np.float32]
    question: NDArray[np.float32]
    level: float
    gap: float


@dataclass(frozen=True)
class Asked:
    """A question, held against ordinary ones. vector: centred. ordinary: likeness to all of them; about_images,
    chat: to the nearest one that asks about an image, and to the nearest that is plain chat."""

    vector: NDArray[np.float32]
    ordinary: float
    about_images: float
    chat: float

    def is_chat(self, asked: float | None) -> bool:
        """asked: likeness to an adapter's own questions, which may be more like it than chat is."""
        other = max(self.about_images, -1.0 if asked is None else asked)
        return self.chat >= CHAT_LIKENESS and self.chat - other >= CHAT_LEAD


class PrototypeRouter:
    """A router over the adapters in one directory; what changed on disk is read again at the next choice."""

    def __init__(self, directory: Path, background: General | None = None) -> None:
        self._directory = directory
        self._background = background or general()
        self._known: dict[str, tuple[Stamp, Known | UserError]] = {}

    def choose(self, query: Query, installed: Collection[str]) -> Choice:
        """The adapter that suits best, or none. Adapters without prototypes are never chosen."""
        self._update(installed)
        known = {name: each for name, (_, each) in self._known.items() if isinstance(each, Known)}
        able = {name: each for name, each in known.items() if query.image is not None or not len(each.image)}
        asked = self._asked(query)
        image = None if query.image is None else self._background.image.centred(query.image)
        candidates = [judge(name, each, image, asked) for name, each in able.items()]
        if candidates:
            return decide(candidates, asked)
        return Choice(None, 1.0, self._why_nobody(known, installed), ())

    def _asked(self, query: Query) -> Asked:
        vector = self._background.question.centred(query.words)
        cosines = self._background.question.examples @ vector
        count = self._background.chat
        about_images, chat = cosines[: len(cosines) - count], cosines[len(cosines) - count :]
        ordinary = float(likeness(cosines, NEAREST_QUESTIONS))
        return Asked(vector, ordinary, float(about_images.max(initial=-1)), float(chat.max(initial=-1)))

    def _update(self, installed: Collection[str]) -> None:
        """Reads what is new or has changed, forgets what is gone."""
        current: dict[str, tuple[Stamp, Known | UserError]] = {}
        for name in installed:
            path = self._directory / name / PROTOTYPES_FILE
            try:
                status = path.stat()
            except OSError:
                continue  # it has none, or is being removed
            stamp = status.st_ino, status.st_size, status.st_mtime_ns
            before = self._known.get(name)
            current[name] = before if before and before[0] == stamp else (stamp, self._read(path))
        self._known = current

    def _read(self, path: Path) -> Known | UserError:
        try:
            return calibrated(path, read_prototypes(path), self._background)
        except UserError as error:
            return error

    def _why_nobody(self, known: Collection[str], installed: Collection[str]) -> str:
        if not installed:
            return "no adapter is installed"
        if known:
            return "no adapter: there is no image, and those installed are for images"
        damaged = next((str(each) for _, each in self._known.values() if isinstance(each, UserError)), None)
        return f"no adapter: {damaged or 'none of those installed has examples to compare with'}"


def calibrated(path: Path, prototypes: Prototypes, background: General) -> Known:
    """An adapter with its scale, from its own examples and ordinary ones. path: for messages.

    Raises UserError when the questions are of another language model.
    """
    hidden = len(background.question.mean)
    if len(prototypes.question) and prototypes.question.shape[1] != hidden:
        raise UserError(
            f"{path} was made with another language model ({prototypes.question.shape[1]} features of a question, "
            f"not {hidden}); install the adapter again."
        )
    image = background.image.centred(prototypes.image)
    question = background.question.centred(prototypes.question.reshape(-1, hidden))
    level, gap = _scale(image, background.image.examples) if len(image) else (0.0, LEAST_GAP)
    return Known(image, question, level, gap)


def _scale(own: NDArray[np.float32], ordinary: NDArray[np.float32]) -> tuple[float, float]:
    """Level and gap. own [k, features], ordinary [n, features]; each of its own is held against the others.

    An adapter for a kind of ordinary images has no level that keeps these out: then the question decides.
    """
    reached = float(np.quantile(likeness(ordinary @ own.T, NEAREST_IMAGES), ORDINARY))
    if len(own) <= NEAREST_IMAGES:
        return reached, LEAST_GAP
    among = own @ own.T
    np.fill_diagonal(among, -1.0)  # never among the nearest
    least, typical = (float(value) for value in np.quantile(likeness(among, NEAREST_IMAGES), (OWN, 0.5)))
    level = min(reached, least)
    return level, max(typical - level, LEAST_GAP)


def judge(name: str, known: Known, image: NDArray[np.float32] | None, question: Asked) -> Candidate:
    """image: centred. "Thank you" under an image is no question about it, whatever the image shows."""
    asked = float(likeness(known.question @ question.vector, 1)) if len(known.question) else None
    seen = (
        float(likeness(known.image @ image, NEAREST_IMAGES))
        if image is not None and len(known.image)
        else None
    )
    about = 0.0 if asked is None else max(asked - question.ordinary, -MOST_DOUBT)
    if seen is None:
        measure = about - QUESTION_ALONE
    elif question.is_chat(asked):
        measure = -QUESTION_WEIGHT
    else:
        measure = (seen - known.level) / known.gap + QUESTION_WEIGHT * about - THRESHOLD
    return Candidate(name, SHARPNESS * measure, seen, asked)


def decide(candidates: Collection[Candidate], question: Asked) -> Choice:
    """The best candidate, if it suits better than none. Their scores, and 0 for none, are logits."""
    ranked = sorted(candidates, key=lambda each: -each.score)
    best = ranked[0]
    logits = np.array([0.0, *(each.score for each in ranked)])
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    if best.score > 0:
        return Choice(best.adapter, float(shares[1]), f"looks like {_described(best)}", tuple(ranked))
    reason = f"no adapter: nearest is {_described(best)}"
    if question.is_chat(best.question):
        reason = "no adapter: the question is plain chat, not about the image"
    return Choice(None, float(shares[0]), reason, tuple(ranked))


def _described(candidate: Candidate) -> str:
    parts = (("image", candidate.image), ("question", candidate.question))
    figures = ", ".join(f"{what} {value:.2f}" for what, value in parts if value is not None)
    return f"{candidate.adapter}: {figures}" if figures else candidate.adapter
