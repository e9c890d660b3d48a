"""What the figures of a model must reach."""

from __future__ import annotations

import pytest

from benchmarks.speed.table import Samples
from benchmarks.vlm.figures import DECODE_RATIO, decode_limit


@pytest.mark.parametrize(
    ("bound", "limit"), [(100.0, DECODE_RATIO["Q4_0"]), (57.5, DECODE_RATIO["Q4_0"]), (32.0, 1.28)]
)
def test_decode_must_reach_a_ratio_or_a_share_of_the_memory_bound(bound: float, limit: float) -> None:
    peer = Samples((18.0, 20.0, 23.0))
    assert decode_limit("Q4_0", Samples((bound, bound + 3, bound - 3)), peer) == limit


def test_without_a_peer_the_ratio_is_asked() -> None:
    assert decode_limit("Q8_0", Samples((10.0,)), None) == DECODE_RATIO["Q8_0"]
