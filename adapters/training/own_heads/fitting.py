"""Fits heads to labelled features: softmax regression, optionally behind a hidden layer at every place of a map.

The hidden layer is fitted for all facts together, because what makes one of them visible helps the others. The
fits use PyTorch. scikit-learn has no estimator with a layer that several classifiers share and whose outputs are pooled
over places, and its softmax regression takes no soft targets, which models.training fits.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from models.training.heads import fit_linear, softmax
from models.vision.projector.heads import Places
from models.vision.projector.pooling import Pooling, feature, map_of, pooled_size
from models.vision.tower import TowerFeatures

PENALTY = 0.1
HIDDEN = 24
MOST_PASSES = 60
MOST_SEEN = 8_000
"""Images times passes of one fit of a hidden layer: about ten seconds."""

BATCH = 32
RATE = 3e-3
DECAY = 0.05
SMOOTHING = 0.05
GAIN = 20.0
"""Factor of means over places while a layer is fitted: what is rare in an image has a small mean."""

PEAKS_GAIN = 5.0
"""Factor of the mean over cells of the largest value in each, while a layer is fitted."""

UNKNOWN = -1


@dataclass(frozen=True)
class View:
    """The inputs of a head: named features and, unless map is empty, a hidden layer at every place of that map."""

    name: str
    features: tuple[str, ...]
    map: str = ""
    cells: int = 1
    pooling: Pooling = "mean"


@dataclass(frozen=True)
class Inputs:
    """The inputs of n images. whole: float32 [n, features]. places: float32 [n, places, channels], or None."""

    whole: NDArray[np.float32]
    places: NDArray[np.float32] | None

    def __getitem__(self, chosen: NDArray[np.bool_]) -> Inputs:
        return Inputs(self.whole[chosen], None if self.places is None else self.places[chosen])


@dataclass(frozen=True)
class Fitted:
    """A head's weights, as in models.vision.projector.heads.ProjectorHead."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    places: Places | None

    def shares(self, inputs: Inputs) -> NDArray[np.float32]:
        """Probabilities, float32 [n, words]."""
        x = inputs.whole
        if self.places is not None and inputs.places is not None:
            x = np.concatenate([x, _pooled(inputs.places, self.places)], axis=1)
        return softmax(x @ self.weight.T + self.bias)


def stack(view: View, seen: Sequence[TowerFeatures]) -> Inputs:
    """The view's inputs of these images."""
    nothing = np.zeros(0, np.float32)
    whole = np.stack(
        [np.concatenate([nothing, *(feature(each, name) for name in view.features)]) for each in seen]
    )
    return Inputs(whole, np.stack([map_of(each, view.map) for each in seen]) if view.map else None)


def fit(
    view: View, inputs: Inputs, truth: NDArray[np.int64], words: Sequence[int], seed: int
) -> list[Fitted]:
    """A head for every fact.

    truth: int64 [n, facts], an index below words[fact], or UNKNOWN. words: the number of words of each fact.
    """
    if inputs.places is None:
        return [_fit_linear(inputs.whole, truth[:, index], count) for index, count in enumerate(words)]
    return _fit_places(view, inputs, inputs.places, truth, words, seed)


def _fit_linear(whole: NDArray[np.float32], truth: NDArray[np.int64], words: int) -> Fitted:
    known = truth != UNKNOWN
    wanted = np.eye(words, dtype=np.float32)[truth[known]]
    return Fitted(*fit_linear(whole[known], wanted, PENALTY), None)


def _fit_places(
    view: View,
    inputs: Inputs,
    maps: NDArray[np.float32],
    truth: NDArray[np.int64],
    words: Sequence[int],
    seed: int,
) -> list[Fitted]:
    """One hidden layer and a classifier for every fact, by AdamW.

    Inputs are standardised. The result takes inputs as they are, because centre and spread are folded into it.
    """
    torch.manual_seed(seed)
    centre, spread = inputs.whole.mean(0), inputs.whole.std(0) + 1e-3
    middle, width = maps.mean((0, 1)), maps.std((0, 1)) + 1e-3
    whole = torch.from_numpy((inputs.whole - centre) / spread)
    places, target = torch.from_numpy((maps - middle) / width), torch.from_numpy(truth)
    local = torch.nn.Linear(places.shape[2], HIDDEN)
    seen = pooled_size(HIDDEN, view.cells, view.pooling)
    finals = [torch.nn.Linear(whole.shape[1] + seen, count) for count in words]
    for final in finals:
        torch.nn.init.zeros_(final.weight)
    gain = _gain(view)
    passes = max(1, min(MOST_PASSES, MOST_SEEN // len(target)))
    parameters = [*local.parameters(), *(each for final in finals for each in final.parameters())]
    optimiser = torch.optim.AdamW(parameters, lr=RATE, weight_decay=DECAY)
    steps = passes * -(-len(target) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    order = torch.Generator().manual_seed(seed)
    for _ in range(passes):
        for batch in torch.randperm(len(target), generator=order).split(BATCH):
            hidden = torch.relu(local(places[batch]))
            x = torch.cat([whole[batch], gain * _torch_pooled(hidden, view.cells, view.pooling)], dim=1)
            loss = torch.stack([_loss(final(x), target[batch, i]) for i, final in enumerate(finals)]).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return [_folded(view, local, final, (centre, spread), (middle, width)) for final in finals]


def _loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean over the images of which the fact is known."""
    known = target != UNKNOWN
    if not known.any():
        return logits.sum() * 0
    return functional.cross_entropy(logits[known], target[known], label_smoothing=SMOOTHING)


def _folded(
    view: View,
    local: torch.nn.Linear,
    final: torch.nn.Linear,
    whole: tuple[NDArray[np.float32], NDArray[np.float32]],
    places: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> Fitted:
    """The fitted layers as a function of inputs that are not standardised. whole, places: (centre, spread) of those.

    W ((x - centre) / spread) + b = (W / spread) x + (b - (W / spread) centre)
    """
    hidden = local.weight.detach().numpy() / places[1]
    bias = local.bias.detach().numpy() - hidden @ places[0]
    weight = final.weight.detach().numpy().copy()
    count = len(whole[0])
    weight[:, :count] /= whole[1]
    weight[:, count:] *= _gain(view).numpy()
    offset = final.bias.detach().numpy() - weight[:, :count] @ whole[0]
    return Fitted(
        weight.astype(np.float32),
        offset.astype(np.float32),
        Places(view.map, view.cells, hidden.astype(np.float32), bias.astype(np.float32), view.pooling),
    )


def _gain(view: View) -> torch.Tensor:
    """Factors of pooled values while a layer is fitted, float32 [pooled_size]."""
    if view.pooling == "mean":
        return torch.full((HIDDEN * view.cells**2,), GAIN)
    return torch.cat([torch.ones(HIDDEN), torch.full((HIDDEN,), PEAKS_GAIN)])


def _torch_pooled(hidden: torch.Tensor, division: int, pooling: Pooling) -> torch.Tensor:
    """[n, places, hidden] -> [n, pooled_size(hidden, division, pooling)], as models.vision.projector.pooling.pooled."""
    if pooling == "mean":
        return _torch_means(hidden, division)
    side = round(hidden.shape[1] ** 0.5)
    sizes = [last - first for first, last in itertools.pairwise(_edges(side, division))]
    rows = hidden.unflatten(1, (side, side)).split(sizes, dim=1)
    bands = torch.stack([row.amax(1) for row in rows], dim=1)
    highest = torch.stack([band.amax(2) for band in bands.split(sizes, dim=2)], dim=2)
    return torch.cat([highest.amax((1, 2)), highest.mean((1, 2))], dim=1)


def _torch_means(hidden: torch.Tensor, division: int) -> torch.Tensor:
    if division == 1:
        return hidden.mean(1)
    return (_cell_shares(hidden.shape[1], division) @ hidden).flatten(1)


@cache
def _cell_shares(places: int, division: int) -> torch.Tensor:
    """Weight of each place in the mean of each cell, [division * division, places]."""
    side = round(places**0.5)
    one = torch.zeros(division, side)
    for index, (first, last) in enumerate(itertools.pairwise(_edges(side, division))):
        one[index, first:last] = 1 / (last - first)
    return torch.kron(one, one)


def _edges(side: int, division: int) -> list[int]:
    """Indices at which the cells of a side begin, and at which the last one ends."""
    return [index * side // division for index in range(division + 1)]


def _pooled(maps: NDArray[np.float32], places: Places) -> NDArray[np.float32]:
    with torch.inference_mode():
        hidden = torch.from_numpy(maps) @ torch.from_numpy(places.weight).T + torch.from_numpy(places.bias)
        pooled: NDArray[np.float32] = _torch_pooled(hidden.relu(), places.cells, places.pooling).numpy()
    return pooled
