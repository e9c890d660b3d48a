"""The vision encoder: an image through the vision tower and the projector to image tokens.

The tower's features are computed once for each image and shared by all adapters and the router. The projector's
result also depends on the adapter's projector part; models.compiled_engine caches it. Tower and projector are loaded
with the first image, so that a conversation without images does not pay for them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from models.core.types import Image, Progress, no_progress
from models.vision.efficientnet import HEAD_CHANNELS
from models.vision.preprocess import COLOUR_BINS
from models.vision.projector.heads import ProjectorPart
from models.vision.projector.projector import ImageTokens, Projector
from models.vision.tower import TowerFeatures, VisionTower

MAX_CACHED_FEATURES = 32
"""Images whose features are kept, 0.8 MB each; the least recently used are dropped first."""

LoadVision = Callable[[Progress], tuple[VisionTower, Projector]]
"""Loads tower and projector and reports the stages. Raises UserError when a file is damaged or does not fit."""


class VisionEncoder:
    """Tower and projector of one model. One thread must make all calls, since the tower's buffers are shared."""

    feature_size = HEAD_CHANNELS + COLOUR_BINS  # of the features that the router reads

    def __init__(self, load: LoadVision) -> None:
        """load: called once, by `load` or with the first image."""
        self._load = load
        self._loaded: tuple[VisionTower, Projector] | None = None
        self._features: OrderedDict[str, TowerFeatures] = OrderedDict()

    def load(self, progress: Progress = no_progress) -> tuple[VisionTower, Projector]:
        """The tower and the projector, loaded now if they are not in memory yet."""
        if self._loaded is None:
            self._loaded = self._load(progress)
        return self._loaded

    def key(self, image: Image) -> str:
        """Identifies the tokens of an image without an adapter."""
        return image.digest

    def encode(
        self, image: Image, part: ProjectorPart | None = None, progress: Progress = no_progress
    ) -> ImageTokens:
        """The image's tokens.

        part: what an adapter changes of the projector; None for no change. progress: see `load`.
        """
        _, projector = self.load(progress)
        return projector.tokens(self.features(image), part)

    def features(self, image: Image) -> TowerFeatures:
        """The tower's features with all maps, so that any adapter can use them without a second run of the tower."""
        tower, _ = self.load()
        if image.digest not in self._features:
            self._features[image.digest] = tower.features(image, maps=True)
        self._features.move_to_end(image.digest)
        while len(self._features) > MAX_CACHED_FEATURES:
            self._features.popitem(last=False)
        return self._features[image.digest]
