"""Measures of continual learning over several domains: accuracy at the end, along the way, and backward transfer.

They are those of MLLM-CL (arXiv 2506.05453): Last, MAA and BWT.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Way = Literal["sequence", "isolated", "routed"]
WAYS: Mapping[Way, str] = {
    "sequence": "one LoRA, trained on from domain to domain",
    "isolated": "an adapter a domain, the right one given",
    "routed": "an adapter a domain, the router's choice",
}

Accuracies = tuple[tuple[float, ...], ...]
"""accuracy[stage][domain]: share of right answers, 0..1, for the domains learnt up to the stage, in their order."""


@dataclass(frozen=True)
class AccuracyMatrix:
    """The accuracies of one way in one order. `order` has the domains, as many as `accuracy` has stages."""

    order: tuple[str, ...]
    way: Way
    accuracy: Accuracies

    @property
    def last(self) -> float:
        """Mean accuracy over all domains after the last stage."""
        return mean(self.accuracy[-1])

    @property
    def maa(self) -> float:
        """Mean average accuracy: over the stages, of the mean accuracy over the domains learnt by then."""
        return mean([mean(stage) for stage in self.accuracy])

    @property
    def bwt(self) -> float:
        """Backward transfer: the mean over all domains but the last of (accuracy at the end - accuracy after the
        domain was learnt). Negative when something was forgotten, 0 for a single domain."""
        last = self.accuracy[-1]
        return mean([last[index] - self.accuracy[index][index] for index in range(len(last) - 1)])

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "last": self.last, "maa": self.maa, "bwt": self.bwt}


@dataclass(frozen=True)
class Stage:
    """The results after one domain was learnt.

    number: of the domain in the order, from 0. accuracy: by way, one value for each domain learnt so far. digests:
    of the isolated adapters' folders, by domain. chosen_right: the number of rows, out of `asked`, for which the
    router chose the adapter of their domain.
    """

    order: tuple[str, ...]
    number: int
    accuracy: Mapping[Way, tuple[float, ...]]
    digests: Mapping[str, str]
    chosen_right: int
    asked: int


def accuracy_matrices(stages: Sequence[Stage]) -> tuple[AccuracyMatrix, ...]:
    """A matrix for each order and way, from the stages in any mix of orders."""
    found = []
    for order in dict.fromkeys(stage.order for stage in stages):
        own = [stage for stage in stages if stage.order == order]
        found += [AccuracyMatrix(order, way, tuple(stage.accuracy[way] for stage in own)) for way in WAYS]
    return tuple(found)


def files_stayed(stages: Sequence[Stage]) -> bool:
    """Whether the digest of every isolated adapter is the same at every stage."""
    digests: dict[str, set[str]] = {}
    for stage in stages:
        for domain, digest in stage.digests.items():
            digests.setdefault(domain, set()).add(digest)
    return all(len(found) == 1 for found in digests.values())


def mean(values: Sequence[float]) -> float:
    """0 of no values."""
    return sum(values) / len(values) if values else 0.0
