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
from router.general import NEAREST, General, general, likeness
from router.query import Candidate, Choice, Query

IMAGE_WEIGHT, QUESTION_WEIGHT = 0.75, 0.25
SHARPNESS = 20.0
"""From differences of likeness, which are tenths, to logarithms of odds."""

OWN_SHARE = 0.5
"""Where an adapter's threshold lies between what ordinary images reach and what its own examples do."""

ORDINARY, OWN = 0.98, 0.1
"""Quantiles: what all but a few ordinary images stay below, and all but a few of its own exceed."""

LEAST_GAP = 0.1
"""Own examples are taken to lie at least so far above ordinary ones: two or three say little of the rest."""

QUESTION_THRESHOLD = 0.15
"""How much nearer to an adapter's questions than to ordinary ones a question must be, when it stands alone."""

MOST_DOUBT = 0.3
"""A question that is nearer to ordinary ones counts against an adapter by no more than this likeness."""

Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Known:
    """An adapter as the router knows it. image, question: centred unit vectors [k, 1408] and [m, hidden].

    threshold: likeness from which an image speaks for the adapter; of no use without image prototypes.
    """

    image: NDArray[np.float32]
    question: NDArray[np.float32]
    threshold: float


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
        question = self._background.question.centred(query.words)
        image = None if query.image is None else self._background.image.centred(query.image)
        ordinary = float(likeness(self._background.question.examples @ question))
        candidates = [judge(name, each, image, question, ordinary) for name, each in able.items()]
        if candidates:
            return decide(candidates)
        return Choice(None, 1.0, self._why_nobody(known, installed), ())

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
    """An adapter with its threshold, from its own examples and ordinary ones. path: for messages.

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
    return Known(image, question, _threshold(image, background.image.examples) if len(image) else 0.0)


def _threshold(own: NDArray[np.float32], ordinary: NDArray[np.float32]) -> float:
    """own [k, features], ordinary [n, features]; each of its own is compared with the others alone."""
    reached = float(np.quantile(likeness(ordinary @ own.T), ORDINARY))
    among = own @ own.T
    np.fill_diagonal(among, -1.0)  # never among the nearest, if there are others enough
    exceeded = float(np.quantile(likeness(among), OWN)) if len(own) > NEAREST else reached
    return reached + OWN_SHARE * max(exceeded - reached, LEAST_GAP)


def judge(
    name: str,
    known: Known,
    image: NDArray[np.float32] | None,
    question: NDArray[np.float32],
    ordinary: float,
) -> Candidate:
    """image, question: centred. ordinary: the question's likeness to ordinary ones."""
    asked = float(likeness(known.question @ question)) if len(known.question) else None
    seen = float(likeness(known.image @ image)) if image is not None and len(known.image) else None
    about = max((asked if asked is not None else ordinary) - ordinary, -MOST_DOUBT)
    if seen is None:
        score = SHARPNESS * (about - QUESTION_THRESHOLD)
    else:
        score = SHARPNESS * (IMAGE_WEIGHT * (seen - known.threshold) + QUESTION_WEIGHT * about)
    return Candidate(name, score, seen, asked)


def decide(candidates: Collection[Candidate]) -> Choice:
    """The best candidate, if it suits better than none. Their scores, and 0 for none, are logits."""
    ranked = sorted(candidates, key=lambda each: -each.score)
    best = ranked[0]
    logits = np.array([0.0, *(each.score for each in ranked)])
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    if best.score > 0:
        return Choice(best.adapter, float(shares[1]), f"looks like {_described(best)}", tuple(ranked))
    return Choice(None, float(shares[0]), f"no adapter: nearest is {_described(best)}", tuple(ranked))


def _described(candidate: Candidate) -> str:
    parts = (("image", candidate.image), ("question", candidate.question))
    figures = ", ".join(f"{what} {value:.2f}" for what, value in parts if value is not None)
    return f"{candidate.adapter}: {figures}" if figures else candidate.adapter
