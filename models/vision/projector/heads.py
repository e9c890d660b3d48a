"""The heads of a projector, and an adapter's changes to them, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.core.errors import UserError
from models.vision.projector.pooling import Pooling, pooled_size


@dataclass(frozen=True)
class Places:
    """A hidden layer at every position of a map, relu(W x + b), pooled over cells x cells.

    weight: float32 [hidden, channels]. bias: float32 [hidden]. pooling: see models.vision.projector.pooling.pooled.
    """

    map: str
    cells: int
    weight: NDArray[np.float32] = field(repr=False)
    bias: NDArray[np.float32] = field(repr=False)
    pooling: Pooling = "mean"

    @property
    def size(self) -> int:
        """The number of inputs that it adds to a head, after the features."""
        return pooled_size(len(self.bias), self.cells, self.pooling)


@dataclass(frozen=True)
class ProjectorHead:
    """A classifier over features, and the tokens of its words.

    weight: float32 [words, features]. bias: float32 [words]. temperature: divides the logits before the softmax.
    tokens: int32 [words, slots]; -1 contributes nothing to a mixture. places: None for none.
    sharpness: the mixtures use the probabilities to this power, normalised. Without it, the mixtures of a head that is
        seldom certain would all be close to the same mean, and the language model could not tell them apart.
    """

    name: str
    features: tuple[str, ...]
    temperature: float
    labels: tuple[str, ...]
    weight: NDArray[np.float32] = field(repr=False)
    bias: NDArray[np.float32] = field(repr=False)
    tokens: NDArray[np.int32] = field(repr=False)
    places: Places | None = None
    sharpness: float = 1.0

    @property
    def slots(self) -> int:
        """The number of image tokens of this head."""
        return int(self.tokens.shape[1])


@dataclass(frozen=True, eq=False)
class ProjectorPart:
    """An adapter's changes to the projector.

    keep: the model's heads that stay, in this order; None for all.
    heads: the adapter's own, whose tokens come after those of the kept ones.
    lora: "heads.<name>.A" float32 [rank, features] and "heads.<name>.B" [words, rank] of kept heads. B A is added to
        the head's weight.
    """

    keep: tuple[str, ...] | None = None
    heads: tuple[ProjectorHead, ...] = ()
    lora: Mapping[str, NDArray[np.float32]] = field(default_factory=dict, repr=False)

    @property
    def size(self) -> int:
        """Bytes in memory."""
        arrays = [array for head in self.heads for array in (head.weight, head.bias, head.tokens)]
        return sum(array.nbytes for array in (*arrays, *self.lora.values()))


def check_vocabulary(head: ProjectorHead, vocab_size: int, owner: str) -> None:
    """Raises UserError, naming the owner, when a head's token is not one of the language model's."""
    if head.tokens.max() >= vocab_size:
        raise UserError(
            f"{owner}: the head {head.name} has token ids that are not in the vocabulary "
            f"(0 to {vocab_size - 1}): get a fresh copy of the file."
        )
