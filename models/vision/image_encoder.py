"""A model's eyes: an image through the tower and the projector to image tokens, each image once.

The tower's features are shared by everything that asks about an image; a projector's result depends on the
adapter's projector part as well and is not kept here. Loaded at the first look, so that a chat about words
alone never pays for it. Knows nothing of prompts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from models.core.types import Image
from models.vision.projector import ImageTokens, Projector
from models.vision.projector_file import ProjectorPart
from models.vision.tower import TowerFeatures, VisionTower

MAX_SEEN = 32  # images whose features are kept: 0.8 MB each

Load = Callable[[], tuple[VisionTower, Projector]]


class Sight:
    """Belongs to one thread, as the tower does."""

    def __init__(self, load: Load) -> None:
        """load: called at the first look, or by `prepare`."""
        self._load = load
        self._parts: tuple[VisionTower, Projector] | None = None
        self._seen: OrderedDict[str, TowerFeatures] = OrderedDict()

    def prepare(self) -> tuple[VisionTower, Projector]:
        """Tower and projector, loaded if they are not yet."""
        if self._parts is None:
            self._parts = self._load()
        return self._parts

    def look(self, image: Image, part: ProjectorPart | None = None) -> ImageTokens:
        """The image's tokens. part: what an adapter changes of the projector."""
        _, projector = self.prepare()
        return projector.tokens(self.features(image), part)

    def features(self, image: Image) -> TowerFeatures:
        """What the tower sees, with the maps: whichever adapter asks later, it needs no second look."""
        tower, _ = self.prepare()
        if image.digest not in self._seen:
            self._seen[image.digest] = tower.features(image, maps=True)
        self._seen.move_to_end(image.digest)
        while len(self._seen) > MAX_SEEN:
            self._seen.popitem(last=False)
        return self._seen[image.digest]
