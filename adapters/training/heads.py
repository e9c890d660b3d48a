"""An adapter's own heads: what a closed set of answers says about an image, read off the tower's features.

A type of question whose answer follows from the image alone, out of few words, becomes a head; so does every
name in the rows' labels. A head is fitted without the language model, in seconds. Several views of the
features are tried, and each is judged by images that it was not fitted on; a head that cannot beat the
commonest answer is dropped. Knows nothing of prompts.
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
from adapters.training.fitting import Fitted, View, fit, stack
from models.tokenizer import Tokenizer
from models.vision.projector_file import Head
from models.vision.tower import TowerFeatures

OwnHead = Literal["auto", "yes", "no"]

MAX_WORDS = 48
MAX_WORD_LENGTH = 40
LEAST_IMAGES = 12
FOLDS = 5
LEAST_GAIN = 0.03
"""A head must be right on so much more of the held-out images than the commonest answer."""

PAD = "."  # fills the slots behind a short word: a mixture with nothing in it would be rescaled to noise
MAX_SLOTS = 4

GLOBAL = ("pool", "colour")
TEXTURE = (*GLOBAL, "s8.mean1", "s8.max1", "s16.mean1", "s16.max1")
VIEWS = (
    View("whole image", GLOBAL),
    View("whole image and textures", TEXTURE),
    View("every place, fine", TEXTURE, "s8", 1),
    View("by thirds", (*TEXTURE, "s16.mean3"), "s8", 3),
)
"""From the cheapest on; a later one must be better, not as good."""


@dataclass(frozen=True)
class Facts:
    """What is known of images in one respect. word_of: by digest."""

    name: str
    word_of: Mapping[str, str]

    @property
    def words(self) -> tuple[str, ...]:
        """Sorted; numbers by their value."""
        return tuple(
            sorted(set(self.word_of.values()), key=lambda word: (len(word) if word.isdigit() else 0, word))
        )


@dataclass(frozen=True)
class OwnHeadResult:
    """A head that was tried. accuracy: on images it was not fitted on; majority: of the commonest word.

    head: None when it was dropped. shares: by digest, float32 [words], for the images it was fitted on by a
    head that was not fitted on them.
    """

    name: str
    images: int
    view: str
    accuracy: float
    majority: float
    head: Head | None
    shares: Mapping[str, NDArray[np.float32]]


def find_facts(rows: Sequence[TrainingRow]) -> list[Facts]:
    """What could become a head: types of questions, then labels, in the order in which they occur."""
    said: dict[str, dict[str, set[str]]] = {}
    for row in rows:
        said.setdefault(row.type, {}).setdefault(row.digest, set()).add(row.answer)
        for name, word in row.labels.items():
            said.setdefault(name, {}).setdefault(row.digest, set()).add(word)
    found = []
    for name, words_of in said.items():
        if len(words_of) < LEAST_IMAGES or any(len(words) > 1 for words in words_of.values()):
            continue
        facts = Facts(re.sub(r"[^A-Za-z0-9_-]", "_", name), {d: next(iter(w)) for d, w in words_of.items()})
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
    """A result for each of `facts`. choice: "yes" keeps every head, "no" makes none."""
    return [_make_head(each, features, tokenizer, choice, seed, say) for each in facts if choice != "no"]


def word_tokens(tokenizer: Tokenizer, words: Sequence[str]) -> NDArray[np.int32]:
    """int32 [words, slots]: each word's tokens as they stand behind a space, cut or padded to the same number.

    A number is taken without the space, which would be a token of its own.
    """
    (pad,) = tokenizer.encode(PAD, special=False)
    ids = [tokenizer.encode(word if word[0].isdigit() else f" {word}", special=False) for word in words]
    slots = min(MAX_SLOTS, max(map(len, ids)))
    return np.array([(each + [pad] * slots)[:slots] for each in ids], np.int32)


def _make_head(
    facts: Facts,
    features: Mapping[str, TowerFeatures],
    tokenizer: Tokenizer,
    choice: OwnHead,
    seed: int,
    say: Callable[[str], None],
) -> OwnHeadResult:
    digests = list(facts.word_of)
    seen = [features[digest] for digest in digests]
    truth = np.array([facts.words.index(facts.word_of[digest]) for digest in digests])
    majority = Counter(truth.tolist()).most_common(1)[0][1] / len(truth)
    best: tuple[float, View, NDArray[np.float32]] | None = None
    for view in VIEWS:
        shares = cross_fit(view, seen, truth, len(facts.words), seed)
        likelihood = float(np.log(shares[np.arange(len(truth)), truth] + 1e-6).mean())
        accuracy = float((shares.argmax(1) == truth).mean())
        say(
            f"head {facts.name}, {view.name}: {accuracy:.1%} of held-out images (log-likelihood {likelihood:.3f})"
        )
        if best is None or likelihood > best[0] + 0.005:
            best = likelihood, view, shares
        if likelihood > -0.01:
            break
    assert best is not None
    _, view, shares = best
    accuracy = float((shares.argmax(1) == truth).mean())
    result = OwnHeadResult(facts.name, len(truth), view.name, accuracy, majority, None, {})
    if choice == "auto" and accuracy < majority + max(LEAST_GAIN, 1 / math.sqrt(len(truth)) / 2):
        say(f"head {facts.name}: dropped; always the commonest is right on {majority:.1%}")
        return result
    say(f"head {facts.name}: kept, {view.name}, {accuracy:.1%}; always the commonest {majority:.1%}")
    fitted = fit(view, stack(view, seen), truth, len(facts.words), seed)
    head = _head(facts, view, fitted, word_tokens(tokenizer, facts.words))
    return OwnHeadResult(
        facts.name, len(truth), view.name, accuracy, majority, head, dict(zip(digests, shares, strict=True))
    )


def cross_fit(
    view: View, seen: Sequence[TowerFeatures], truth: NDArray[np.int64], words: int, seed: int
) -> NDArray[np.float32]:
    """float32 [images, words]: every image's probabilities by a head that was not fitted on it."""
    fold = np.random.default_rng(seed).permutation(len(seen)) % min(FOLDS, len(seen))
    inputs = stack(view, seen)
    shares = np.zeros((len(seen), words), np.float32)
    for held in range(int(fold.max()) + 1):
        fitted = fit(view, inputs[fold != held], truth[fold != held], words, seed)
        shares[fold == held] = fitted.shares(inputs[fold == held])
    return shares


def _head(facts: Facts, view: View, fitted: Fitted, tokens: NDArray[np.int32]) -> Head:
    return Head(
        name=facts.name,
        features=view.features,
        temperature=1.0,
        labels=facts.words,
        weight=fitted.weight,
        bias=fitted.bias,
        tokens=tokens,
        places=fitted.places,
    )
