"""Last, MAA and BWT, computed by hand, and the picture of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.quality.continual.measures import WAYS, AccuracyMatrix, Stage, accuracy_matrices, files_stayed
from benchmarks.quality.plots import draw_matrices
from models.core.errors import UserError

ORDER = ("a", "b", "c")
FORGETS = ((0.9,), (0.5, 0.8), (0.1, 0.4, 0.7))


def matrix(accuracy: tuple[tuple[float, ...], ...]) -> AccuracyMatrix:
    return AccuracyMatrix(ORDER[: len(accuracy)], "sequence", accuracy)


def stage(number: int, digests: dict[str, str] | None = None, order: tuple[str, ...] = ORDER) -> Stage:
    accuracy = {way: tuple([0.5 + number / 10] * (number + 1)) for way in WAYS}
    return Stage(order, number, accuracy, digests or {}, 3, 4)


def test_the_measures_are_those_of_the_paper() -> None:
    measured = matrix(FORGETS)
    assert measured.last == pytest.approx((0.1 + 0.4 + 0.7) / 3)
    assert measured.maa == pytest.approx((0.9 + 0.65 + 0.4) / 3)
    assert measured.bwt == pytest.approx(((0.1 - 0.9) + (0.4 - 0.8)) / 2)


def test_what_is_never_forgotten_has_a_backward_transfer_of_exactly_zero() -> None:
    assert matrix(((0.9,), (0.9, 0.3), (0.9, 0.3, 0.7))).bwt == 0.0


def test_what_helps_earlier_domains_counts_as_gain() -> None:
    assert matrix(((0.5,), (0.75, 0.5))).bwt == pytest.approx(0.25)


def test_one_domain_alone_cannot_be_forgotten() -> None:
    assert matrix(((0.9,),)).bwt == 0.0
    assert matrix(((0.9,),)).last == matrix(((0.9,),)).maa == 0.9


def test_stages_are_seen_by_order_and_way() -> None:
    backwards = ORDER[::-1]
    found = accuracy_matrices(
        [stage(0), stage(1), stage(0, order=backwards), stage(2), stage(1, order=backwards)]
    )
    assert [(each.order, each.way) for each in found] == [
        (order, way) for order in (ORDER, backwards) for way in WAYS
    ]
    assert found[0].accuracy == ((0.5,), (0.6, 0.6), (0.7, 0.7, 0.7))
    assert len(found[3].accuracy) == 2


def test_files_that_changed_at_any_stage_are_noticed() -> None:
    assert files_stayed([stage(0, {"a": "1"}), stage(1, {"a": "1", "b": "2"})])
    assert not files_stayed([stage(0, {"a": "1"}), stage(1, {"a": "3", "b": "2"})])


@pytest.mark.train
@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_a_picture_has_every_map_and_figure_and_is_the_same_each_time(tmp_path: Path, suffix: str) -> None:
    measured = accuracy_matrices([stage(0), stage(1), stage(2)])
    path = tmp_path / "pictures" / f"map{suffix}"
    draw_matrices(measured, path)
    first = path.read_bytes()
    draw_matrices(measured, path)
    assert path.read_bytes() == first
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    if suffix == ".svg":
        assert first.count(b"<image") == len(WAYS)


def test_a_picture_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"map\.txt is no name for a picture"):
        draw_matrices(accuracy_matrices([stage(0)]), tmp_path / "map.txt")
