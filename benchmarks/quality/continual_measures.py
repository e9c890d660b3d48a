"""What a run over several domains is judged by: how much is known at the end, along the way, and forgotten.

The measures are those of MLLM-CL (arXiv 2506.05453). Plain data and arithmetic; knows no model and no file.
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
"""By stage: the share of right answers in each domain learnt so far, in their order."""


@dataclass(frozen=True)
class Course:
    """How one way went in one order."""

    order: tuple[str, ...]
    way: Way
    accuracy: Accuracies

    @property
    def last(self) -> float:
        """Mean accuracy over all domains after the last stage."""
        return mean(self.accuracy[-1])

    @property
    def maa(self) -> float:
        """Mean over the stages of the mean accuracy over the domains learnt by then."""
        return mean([mean(stage) for stage in self.accuracy])

    @property
    def bwt(self) -> float:
        """Backward transfer: mean over all domains but the last of the accuracy at the end minus that right
        after the domain was learnt. 0 when nothing was forgotten, or when there is but one domain."""
        last = self.accuracy[-1]
        return mean([last[index] - self.accuracy[index][index] for index in range(len(last) - 1)])

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "last": self.last, "maa": self.maa, "bwt": self.bwt}


@dataclass(frozen=True)
class Stage:
    """What was found after one domain was learnt. accuracy: by way, of each domain learnt so far.

    digests: of the isolated adapters' folders. chosen_right: rows for which the router chose the adapter of
    their domain, of all `asked`.
    """

    order: tuple[str, ...]
    number: int
    accuracy: Mapping[Way, tuple[float, ...]]
    digests: Mapping[str, str]
    chosen_right: int
    asked: int


def courses(stages: Sequence[Stage]) -> tuple[Course, ...]:
    """All stages of each order, seen by way."""
    found = []
    for order in dict.fromkeys(stage.order for stage in stages):
        own = [stage for stage in stages if stage.order == order]
        found += [Course(order, way, tuple(stage.accuracy[way] for stage in own)) for way in WAYS]
    return tuple(found)


def files_stayed(stages: Sequence[Stage]) -> bool:
    """Whether every isolated adapter's files were the same bytes at every stage."""
    digests: dict[str, set[str]] = {}
    for stage in stages:
        for domain, digest in stage.digests.items():
            digests.setdefault(domain, set()).add(digest)
    return all(len(found) == 1 for found in digests.values())


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
