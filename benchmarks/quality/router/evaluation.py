"""Runs routers over cases: how often they are right, and how long a decision takes.

The vision tower's features of an image are computed once and kept in the cache directory, so that a stopped run
continues. No question is answered, except for the time to the first token.
"""

from __future__ import annotations

import io
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from adapters.prototypes import image_vector, question_vector
from benchmarks.quality.router.cases import Case
from edge_app.assistant import Assistant, Turn
from edge_app.evaluation.left_out_scope import LeftOutScope
from edge_app.evaluation.rows import evenly_spread
from edge_app.events import Answered, Failed
from edge_app.system import paths
from models.core.errors import UserError
from models.core.images import load_image
from models.core.types import Sampling
from models.vision.efficientnet import HEAD_CHANNELS
from models.vision.tower import TowerFeatures
from router.choice import Query, Router
from router.routers import make_router
from router.scope import TaskScope
from router.types import RouterName

if TYPE_CHECKING:
    from models.engine import Engine

AGAIN = "And what else can be said about it?"
FEATURES_FILE = "router-eval-1.npz"
_SAVE_EVERY = 100  # computed images

Report = Callable[[int, int], None]
"""Called with (done, total)."""


@dataclass(frozen=True)
class Decision:
    """A router's choice for a case. milliseconds: of everything after the tower's features are there."""

    case: Case
    chosen: str | None
    probability: float
    milliseconds: float

    @property
    def right(self) -> bool:
        return self.chosen == self.case.right


class ImageFeatureFile:
    """Pooled features (float32 [HEAD_CHANNELS]) and colours of images, kept in one file by the image's digest.

    The file is valid for the model whose digest it has.
    """

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine = engine
        self._file = folder / FEATURES_FILE
        self._features = self._read()
        self._digests: dict[Path, str] = {}

    def compute(self, files: Iterable[Path], report: Report) -> None:
        """Compute the features that are missing. Raises UserError for an image that cannot be read."""
        wanted = list(dict.fromkeys(files))
        fresh = 0
        for number, file in enumerate(wanted, 1):
            image = load_image(file)
            self._digests[file] = image.digest
            if image.digest not in self._features:
                computed = self._engine.image_features(image)
                self._features[image.digest] = np.concatenate([computed.pool, computed.colour])
                fresh += 1
                if fresh % _SAVE_EVERY == 0:
                    self._save()
            report(number, len(wanted))
        if fresh:
            self._save()

    def of(self, file: Path) -> TowerFeatures:
        """Features of an image given to compute(), without maps, which no router reads."""
        both = self._features[self._digests[file]]
        return TowerFeatures(
            both[:HEAD_CHANNELS], np.zeros((0, HEAD_CHANNELS), np.float32), both[HEAD_CHANNELS:], {}
        )

    def _read(self) -> dict[str, NDArray[np.float32]]:
        try:
            with np.load(self._file, allow_pickle=False) as stored:
                if str(stored["identity"]) == self._engine.digest:
                    return dict(zip(stored["digests"].tolist(), stored["features"], strict=True))
        except (OSError, ValueError, KeyError):
            pass  # missing or incomplete: computed again
        return {}

    def _save(self) -> None:
        content = io.BytesIO()
        np.savez(
            content,
            identity=np.array(self._engine.digest),
            digests=np.array(list(self._features)),
            features=np.stack(list(self._features.values())),
        )
        partial = self._file.with_suffix(".partial")
        partial.write_bytes(content.getvalue())
        partial.replace(self._file)


def decide_all(
    name: RouterName,
    directory: Path,
    installed: Sequence[str],
    cases: Sequence[Case],
    features: ImageFeatureFile,
    engine: Engine,
    report: Report,
    scopes: Mapping[tuple[str, str], float] | None = None,
) -> list[Decision]:
    """The router's decision for every case. One uncounted decision comes first, in which it reads the adapters.

    scopes: log-odds of scope by (kind, question), as edge_app.evaluation.left_out_scope takes them.
    """
    router = make_router(
        name,
        directory,
        engine,
        LeftOutScope(TaskScope(directory, paths.cache_directory()), scopes or {}, installed),
    )
    _decide(router, cases[0], installed, features, engine, name)
    decisions = []
    for number, case in enumerate(cases, 1):
        decisions.append(_decide(router, case, installed, features, engine, name))
        report(number, len(cases))
    return decisions


def _decide(
    router: Router,
    case: Case,
    installed: Sequence[str],
    features: ImageFeatureFile,
    engine: Engine,
    name: RouterName,
) -> Decision:
    there = [each for each in installed if each != case.without]
    found = None if case.image is None else features.of(case.image)
    picture = load_image(case.image) if name == "model" and case.image is not None else None
    if picture is not None:
        engine.encode_image(picture)  # a turn has encoded it before it is routed
    started = time.perf_counter()
    vector = None if found is None else image_vector(found)
    query = Query(case.question, question_vector(engine, case.question), vector, picture)
    choice = router.choose(query, there)
    spent = 1000 * (time.perf_counter() - started)
    assert choice.probability is not None, "a router states the probability of its choice"
    return Decision(case, choice.adapter, choice.probability, spent)


def sampled(cases: Sequence[Case], most: int) -> list[Case]:
    """At most `most` cases of each group, evenly spread."""
    groups: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        groups[case.group].append(case)
    return [case for own in groups.values() for case in evenly_spread(own, most)]


@dataclass(frozen=True)
class Share:
    """`right` out of `of` decisions."""

    right: int
    of: int

    @property
    def value(self) -> float:
        return self.right / self.of


def shares(decisions: Iterable[Decision], key: Callable[[Decision], str | None]) -> dict[str, Share]:
    """Shares by key, in the order of first occurrence. Decisions whose key is None are not counted."""
    found: dict[str, Share] = {}
    for decision in decisions:
        name = key(decision)
        if name is not None:
            before = found.get(name, Share(0, 0))
            found[name] = Share(before.right + decision.right, before.of + 1)
    return found


@dataclass(frozen=True)
class Cost:
    """Milliseconds of a decision. high: the 95th percentile."""

    mean: float
    high: float


def cost(decisions: Sequence[Decision]) -> Cost:
    """Milliseconds of a decision: the mean, and what 1 in 20 are above."""
    spent = np.array([decision.milliseconds for decision in decisions])
    return Cost(float(spent.mean()), float(np.quantile(spent, 0.95)))


@dataclass(frozen=True)
class FirstToken:
    """Median milliseconds to the first token of real turns. new: about a new image. shown: about one shown before."""

    new: float
    shown: float
    turns: int

    def parts(self, of: Cost) -> Mapping[str, float]:
        """The mean time of a decision as a share of the time to the first token."""
        return {"new": of.mean / self.new, "shown": of.mean / self.shown}


def first_tokens(assistant: Assistant, cases: Sequence[Case], turns: int) -> FirstToken:
    """Measure real turns of the whole app: `turns` images, each with its question and then with a second one.

    Raises UserError for a turn that fails.
    """
    pictured = list({case.image: case for case in cases if case.image is not None}.values())
    new, shown = [], []
    for number, case in enumerate(evenly_spread(pictured, turns + 1)):
        times = [_first_token(assistant, question, case.image) for question in (case.question, AGAIN)]
        if number:  # the very first turn loads the model
            new.append(times[0])
            shown.append(times[1])
    return FirstToken(float(np.median(new)), float(np.median(shown)), len(new))


def _first_token(assistant: Assistant, question: str, image: Path | None) -> float:
    assert image is not None, "turns are measured with images"
    turn = Turn(question, (image,), adapter="auto", mode="fast", sampling=Sampling(max_tokens=1))
    for event in assistant.answer(turn):
        if isinstance(event, Failed):
            raise UserError(event.message)
        if isinstance(event, Answered) and event.answer.timings.first_token is not None:
            return event.answer.timings.first_token
    raise RuntimeError("the turn had no first token")
