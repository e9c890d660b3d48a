"""An adapter's own heads: classifiers over the vision tower's features, whose classes are answers.

A type of question becomes a head when its answers are few words that follow from the image alone; so does every name in
the rows' labels. A head is fitted in seconds, without the language model. Several views of the features are tried and
scored by cross-validation. A head that is not better than the commonest answer is dropped.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adapters.training.data import TrainingRow
from adapters.training.own_heads.fitting import UNKNOWN, View, fit, stack
from models.language.tokenizer import Tokenizer
from models.vision.projector.heads import ProjectorHead
from models.vision.tower import TowerFeatures

OwnHead = Literal["auto", "yes", "no"]

MAX_WORDS = 48
MAX_WORD_LENGTH = 40
LEAST_IMAGES = 12
FOLDS = 4
LEAST_GAIN = 0.03
"""Least difference between a head's accuracy on held-out images and the commonest answer's share."""

GOOD = -0.3
"""Mean log-likelihood from which on no more expensive view is tried."""

READABLE = 0.8
"""Mean share of the likeliest word of a mixture from which on the language model reads the mixture as that word."""

SHARPNESS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)

PAD = "."  # fills the slots after a short word, because an empty mixture would be rescaled to noise
MAX_SLOTS = 4

GLOBAL = ("pool", "colour")
TEXTURE = (*GLOBAL, "s8.mean1", "s8.max1", "s16.mean1", "s16.max1")
VIEWS = (
    View("whole image", GLOBAL),
    View("whole image, textures by thirds", (*TEXTURE, "s16.mean3")),
    View("what is seen at every place", (), "s8", 1),
    View("what is seen at every place, by sixths", (), "s16", 6),
    View("the most striking places", (), "s16", 5, "peaks"),
)
"""The views that are tried, in the order of their cost. A later one is taken only if it is better."""


@dataclass(frozen=True)
class Facts:
    """The labels of images for one property, such as the colour. word_of: the word of each image, by digest."""

    name: str
    word_of: Mapping[str, str]

    @property
    def words(self) -> tuple[str, ...]:
        """The distinct words, sorted; numbers by their value."""
        return tuple(
            sorted(set(self.word_of.values()), key=lambda word: (len(word) if word.isdigit() else 0, word))
        )

    @property
    def majority(self) -> float:
        """The share of the commonest word."""
        return Counter(self.word_of.values()).most_common(1)[0][1] / len(self.word_of)


@dataclass(frozen=True)
class OwnHeadResult:
    """A head that was tried.

    images: how many it was fitted on. accuracy: by cross-validation. majority: share of the commonest word.
    head: None when it was dropped. shares: probabilities float32 [words] of each image, by digest, from the fold of the
    cross-validation in which the image was held out.
    """

    name: str
    images: int
    view: str
    accuracy: float
    majority: float
    head: ProjectorHead | None
    shares: Mapping[str, NDArray[np.float32]]


def find_facts(rows: Sequence[TrainingRow]) -> list[Facts]:
    """Candidates for heads: types of questions, then labels, in the order in which they occur.

    A type of several questions that are answered yes or no is left out, because its answer depends on the question.
    """
    said: dict[str, dict[str, set[str]]] = {}
    asked: dict[str, set[str]] = {}
    for row in rows:
        asked.setdefault(row.type, set()).add(row.question)
        said.setdefault(row.type, {}).setdefault(row.digest, set()).add(row.answer)
        for name, word in row.labels.items():
            said.setdefault(name, {}).setdefault(row.digest, set()).add(word)
    found = []
    for name, words_of in said.items():
        if len(words_of) < LEAST_IMAGES or any(len(words) > 1 for words in words_of.values()):
            continue
        facts = Facts(re.sub(r"[^A-Za-z0-9_-]", "_", name), {d: next(iter(w)) for d, w in words_of.items()})
        if set(facts.words) <= {"yes", "no"} and len(asked.get(name, ())) > 1:
            continue
        closed = 2 <= len(facts.words) <= min(MAX_WORDS, len(words_of) // 4)
        if closed and max(map(len, facts.words)) <= MAX_WORD_LENGTH:
            found.append(facts)
    return found


def make_heads(
    facts: Sequence[Facts],
    features: Mapping[str, TowerFeatures],
    tokenizer: Tokenizer,
    choice: OwnHead,
    seed: int,
    say: Callable[[str], None],
) -> list[OwnHeadResult]:
    """Fit heads and return a result for each of `facts`.

    choice: "auto" keeps the heads that are better than the commonest answer, "yes" keeps all, "no" makes none.
    say: called with a line about each trial.
    """
    if choice == "no" or not facts:
        return []
    digests = list(dict.fromkeys(digest for each in facts for digest in each.word_of))
    seen = [features[digest] for digest in digests]
    truth = _truth(facts, digests)
    best = _best_views(facts, seen, truth, seed, say)
    kept = [i for i, each in enumerate(facts) if _is_worth(each, best[i], choice, say)]
    heads = _fit_kept(facts, seen, truth, best, kept, tokenizer, seed)
    return [
        OwnHeadResult(
            name=each.name,
            images=len(each.word_of),
            view=trial.view.name,
            accuracy=trial.accuracy,
            majority=each.majority,
            head=heads.get(i),
            shares=dict(zip(digests, trial.shares, strict=True)) if i in heads else {},
        )
        for i, (each, trial) in enumerate(zip(facts, best, strict=True))
    ]


def word_tokens(tokenizer: Tokenizer, words: Sequence[str]) -> NDArray[np.int32]:
    """Each word's tokens as they are after a space, cut or padded to the same number: int32 [words, slots].

    A number is encoded without the space, which would be a token of its own.
    """
    (pad,) = tokenizer.encode(PAD, special=False)
    ids = [tokenizer.encode(word if word[0].isdigit() else f" {word}", special=False) for word in words]
    slots = min(MAX_SLOTS, max(map(len, ids)))
    return np.array([(each + [pad] * slots)[:slots] for each in ids], np.int32)


@dataclass(frozen=True)
class _Trial:
    """The cross-validation of one fact in one view. shares: probabilities float32 [n, words]."""

    view: View
    likelihood: float
    accuracy: float
    shares: NDArray[np.float32]


def _truth(facts: Sequence[Facts], digests: Sequence[str]) -> NDArray[np.int64]:
    """Index of each image's word in Facts.words, UNKNOWN without one: int64 [images, facts]."""
    numbers = [{word: index for index, word in enumerate(each.words)} for each in facts]
    return np.array(
        [
            [
                number.get(each.word_of.get(digest, ""), UNKNOWN)
                for each, number in zip(facts, numbers, strict=True)
            ]
            for digest in digests
        ]
    )


def _best_views(
    facts: Sequence[Facts],
    seen: Sequence[TowerFeatures],
    truth: NDArray[np.int64],
    seed: int,
    say: Callable[[str], None],
) -> list[_Trial]:
    """The best trial of each fact. More expensive views are tried only for facts without a good one."""
    best: dict[int, _Trial] = {}
    for view in VIEWS:
        open_ = [i for i in range(len(facts)) if i not in best or not _is_good(best[i], facts[i])]
        if not open_:
            break
        words = [len(facts[i].words) for i in open_]
        for i, shares in zip(open_, cross_fit(view, seen, truth[:, open_], words, seed), strict=True):
            known = np.flatnonzero(truth[:, i] != UNKNOWN)
            right = shares[known, truth[known, i]]
            accuracy = float((shares[known].argmax(1) == truth[known, i]).mean())
            trial = _Trial(view, float(np.log(right + 1e-6).mean()), accuracy, shares)
            say(
                f"head {facts[i].name}, {view.name}: right on {accuracy:.1%} of images it was not fitted on "
                f"(log-likelihood {trial.likelihood:.3f})"
            )
            if i not in best or _is_better(trial, best[i], facts[i]):
                best[i] = trial
    return [best[i] for i in range(len(facts))]


def _is_good(trial: _Trial, facts: Facts) -> bool:
    """Whether no more expensive view needs to be tried."""
    return trial.likelihood >= GOOD and _says_more(trial, facts)


def _is_better(trial: _Trial, other: _Trial, facts: Facts) -> bool:
    """Whether the trial has the larger likelihood.

    If only one of the two is more accurate than the commonest answer, that one is better, even if it is overconfident.
    """
    if _says_more(trial, facts) != _says_more(other, facts):
        return _says_more(trial, facts)
    return trial.likelihood > other.likelihood + 0.005


def _says_more(trial: _Trial, facts: Facts) -> bool:
    """Whether the trial is more accurate than the commonest answer, by LEAST_GAIN and more than by chance."""
    return trial.accuracy >= facts.majority + max(LEAST_GAIN, 0.5 / math.sqrt(len(facts.word_of)))


def _is_worth(facts: Facts, trial: _Trial, choice: OwnHead, say: Callable[[str], None]) -> bool:
    kept = choice == "yes" or _says_more(trial, facts)
    say(
        f"head {facts.name}: {'kept' if kept else 'dropped'}; {trial.view.name} {trial.accuracy:.1%}, "
        f"always the commonest {facts.majority:.1%}"
    )
    return kept


def _fit_kept(
    facts: Sequence[Facts],
    seen: Sequence[TowerFeatures],
    truth: NDArray[np.int64],
    best: Sequence[_Trial],
    kept: Sequence[int],
    tokenizer: Tokenizer,
    seed: int,
) -> dict[int, ProjectorHead]:
    """The heads of the kept facts, by index. Facts with the same best view are fitted together."""
    heads: dict[int, ProjectorHead] = {}
    for view in VIEWS:
        chosen = [i for i in kept if best[i].view is view]
        if not chosen:
            continue
        words = [len(facts[i].words) for i in chosen]
        for i, fitted in zip(
            chosen, fit(view, stack(view, seen), truth[:, chosen], words, seed), strict=True
        ):
            heads[i] = ProjectorHead(
                name=facts[i].name,
                features=view.features,
                temperature=1.0,
                labels=facts[i].words,
                weight=fitted.weight,
                bias=fitted.bias,
                tokens=word_tokens(tokenizer, facts[i].words),
                places=fitted.places,
                sharpness=_sharpness(best[i].shares[truth[:, i] != UNKNOWN]),
            )
    return heads


def sharpened(shares: NDArray[np.float32], sharpness: float) -> NDArray[np.float32]:
    """Probabilities [..., words] to the power `sharpness`, normalised: the weights of a head's mixture."""
    powers = shares**sharpness
    weights: NDArray[np.float32] = powers / powers.sum(-1, keepdims=True)
    return weights


def _sharpness(shares: NDArray[np.float32]) -> float:
    """The least sharpness that makes mixtures of these probabilities readable (see READABLE)."""
    readable = (s for s in SHARPNESS if sharpened(shares, s).max(-1).mean() >= READABLE)
    return next(readable, SHARPNESS[-1])


def cross_fit(
    view: View, seen: Sequence[TowerFeatures], truth: NDArray[np.int64], words: Sequence[int], seed: int
) -> list[NDArray[np.float32]]:
    """Probabilities float32 [images, words] for every fact, by FOLDS-fold cross-validation."""
    fold = np.random.default_rng(seed).permutation(len(seen)) % FOLDS
    inputs = stack(view, seen)
    shares = [np.zeros((len(seen), count), np.float32) for count in words]
    for held in range(FOLDS):
        out = fold == held
        for fitted, found in zip(fit(view, inputs[~out], truth[~out], words, seed), shares, strict=True):
            found[out] = fitted.shares(inputs[out])
    return shares
