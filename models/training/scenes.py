"""Scenes: the content of a training image, as the probabilities of all words of the projector's heads.

Answers are derived from the same probabilities (the most likely name, setting and colours), so that the language model
learns to say what its image tokens contain and not to guess. Scenes come from real photos or are synthetic. A synthetic
scene shows any class of the tower: it mixes the class with classes that have similar classifier weights, and takes
everything else from a real photo of the same group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.training.classes import ClassName
from models.training.heads import COLOURS, PEOPLE, SETTINGS

Probabilities = Mapping[str, NDArray[np.float32]]
SECOND_COLOUR = 0.55  # a second colour is named when it is at least this likely relative to the first


@dataclass(frozen=True)
class Scene:
    """heads: probabilities [words] by head name. ranked: indices of the five most likely classes, best first."""

    heads: Probabilities
    ranked: tuple[int, ...]
    classes: Sequence[ClassName]

    @property
    def best(self) -> ClassName:
        return self.classes[self.ranked[0]]

    @property
    def second(self) -> ClassName:
        """The likeliest class with another name."""
        return next(self.classes[i] for i in self.ranked[1:] if self.classes[i].name != self.best.name)

    @property
    def sureness(self) -> float:
        return float(self.heads["object"][self.ranked[0]])

    @property
    def setting(self) -> str:
        return SETTINGS[int(self.heads["setting"].argmax())]

    @property
    def people(self) -> bool:
        return PEOPLE[int(self.heads["people"].argmax())] == "people"

    def colours(self, head: str) -> tuple[str, ...]:
        """The most likely colour, and the second if it is nearly as likely (SECOND_COLOUR)."""
        values = self.heads[head]
        first, second = (int(i) for i in np.argsort(-values)[:2])
        near = values[second] >= SECOND_COLOUR * values[first]
        return (COLOURS[first], COLOURS[second]) if near else (COLOURS[first],)

    def guesses(self) -> list[tuple[str, float]]:
        """(name, probability), best first, as the projector reports them."""
        return [(self.classes[i].name, float(self.heads["object"][i])) for i in self.ranked]


class SceneMaker:
    """Makes scenes."""

    def __init__(
        self,
        classes: Sequence[ClassName],
        photos: Probabilities,
        classifier: NDArray[np.float32],
        allowed: Sequence[int],
    ) -> None:
        """photos: probabilities of the training photos by head name, each [n, words].

        classifier: the tower's class weights [1000, 1280]. allowed: the classes of synthetic scenes.
        """
        self._classes = classes
        self._photos = photos
        self._allowed = np.asarray(allowed)
        unit = classifier - classifier.mean(0)
        unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
        likeness = unit @ unit.T  # cosines [1000, 1000] of centred class weights
        np.fill_diagonal(likeness, -1)
        self._neighbours = np.argsort(-likeness, axis=1)[:, :6]
        groups = [classes[int(i)].kind.group for i in photos["object"].argmax(1)]
        self._of_group = {g: np.flatnonzero([each == g for each in groups]) for g in sorted(set(groups))}

    def photo(self, index: int) -> Scene:
        """The scene of a real training photo."""
        return self._scene({name: values[index] for name, values in self._photos.items()})

    def draw(self, rng: np.random.Generator, real: float) -> Scene:
        """A real photo with probability `real`, otherwise a synthetic scene of a random allowed class."""
        if rng.random() < real:
            return self.photo(int(rng.integers(len(self._photos["object"]))))
        return self.made_up(rng, int(rng.choice(self._allowed)))

    def made_up(self, rng: np.random.Generator, which: int) -> Scene:
        """A synthetic scene of class `which`, with everything but the object from a real photo."""
        alike = self._of_group.get(self._classes[which].kind.group, np.arange(len(self._photos["object"])))
        around = int(rng.choice(alike))
        heads = {name: values[around] for name, values in self._photos.items()}
        return self._scene({**heads, "object": self._mixture(rng, which)})

    def _mixture(self, rng: np.random.Generator, which: int) -> NDArray[np.float32]:
        """Probabilities [1000]: most on class `which`, the rest on similar classes, and 2% of the rest on all."""
        top = 1 - 0.65 * rng.random() ** 2.5
        values = np.full(len(self._classes), 0.02 * (1 - top) / len(self._classes), dtype=np.float32)
        shares = rng.dirichlet(np.full(self._neighbours.shape[1], 0.4))
        values[self._neighbours[which]] += (0.98 * (1 - top) * shares).astype(np.float32)
        values[which] = max(top, float(values.max()) * 1.15)
        result: NDArray[np.float32] = values / values.sum()
        return result

    def _scene(self, heads: dict[str, NDArray[np.float32]]) -> Scene:
        ranked = np.argsort(-heads["object"])[:5]
        return Scene({**heads, "kind": heads["object"]}, tuple(int(i) for i in ranked), self._classes)
