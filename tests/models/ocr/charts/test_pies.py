"""The labels of a pie are found in a ring or in a legend; percentages that stand otherwise are none of a pie's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.core.types import TextLine
from models.ocr.charts.pies import find_slices
from models.ocr.page_layout import PageText, in_reading_order
from models.ocr.prompt_text import as_prompt_lines

FABRIC = ("Cotton 60%", "Polyester 35%", "Elastane 5%")


def centred(text: str, x: float, y: float) -> TextLine:
    width = 0.012 * len(text)
    return TextLine(text, 0.9, (x - width / 2, y - 0.025, x + width / 2, y + 0.025))


def from_left(text: str, left: float, y: float) -> TextLine:
    return TextLine(text, 0.9, (left, y - 0.025, left + 0.014 * len(text), y + 0.025))


def ring(
    shares: Mapping[str, str], start: float = 0.0, radii: tuple[float, float] = (0.36, 0.38), way: int = 1
) -> list[TextLine]:
    """Labels at the middles of their slices, clockwise or (way = -1) counterclockwise."""
    lines, before = [], 0.0
    for label, share in shares.items():
        size = float(share.replace(",", "."))
        angle = start + way * math.tau * (before + size / 2) / 100
        lines.append(
            centred(f"{label} {share}%", 0.5 + radii[0] * math.cos(angle), 0.52 + radii[1] * math.sin(angle))
        )
        before += size
    return lines


def legend(texts: Sequence[str], left: float = 0.8, top: float = 0.4) -> list[TextLine]:
    return [from_left(text, left, top + 0.06 * number) for number, text in enumerate(texts)]


def last_line(lines: Sequence[TextLine]) -> str:
    return as_prompt_lines(PageText(in_reading_order(lines)), chart_ranks=True).split("\n")[-1]


def test_the_labels_of_a_ring_are_ranked() -> None:
    lines = ring({"Figs": "25", "Plums": "40", "Pears": "25,0", "Kiwis": "10"}, start=-1.6)
    assert last_line([centred("Sales", 0.5, 0.04), *lines]) == "Plums 1, Figs 2, Pears 2, Kiwis 4"


@given(
    st.lists(st.integers(5, 60), min_size=3, max_size=6).filter(lambda sizes: sum(sizes) <= 95),
    st.floats(0, math.tau),
    st.tuples(st.floats(0.28, 0.45), st.floats(0.3, 0.4)),
    st.sampled_from((1, -1)),
)
def test_a_ring_is_found_wherever_its_first_slice_begins(
    sizes: list[int], start: float, radii: tuple[float, float], way: int
) -> None:
    shares = {f"No{number}": str(size) for number, size in enumerate([*sizes, 100 - sum(sizes)])}
    assert len(find_slices(ring(shares, start, radii, way))) == len(shares)


def test_labels_in_a_legend_beside_the_pie_are_ranked() -> None:
    title, pie = centred("Sales", 0.4, 0.04), TextLine("O", 0.6, (0.15, 0.14, 0.68, 0.9))
    assert last_line([title, pie, *legend(FABRIC)]) == "Cotton 1, Polyester 2, Elastane 3"


@pytest.mark.parametrize(
    "lines",
    [
        [from_left(text, 0.1, 0.3 + 0.1 * number) for number, text in enumerate(FABRIC)],
        [from_left(text, 0.1, 0.15 + 0.35 * number) for number, text in enumerate(FABRIC)],
        [centred(text, 0.5, 0.2 + 0.3 * number) for number, text in enumerate(FABRIC)],
        [centred(text, 0.2 + 0.3 * number, 0.5) for number, text in enumerate(FABRIC)],
        [from_left(FABRIC[0], 0.1, 0.4), from_left(FABRIC[1], 0.5, 0.4), from_left(FABRIC[2], 0.1, 0.6)],
        [centred(FABRIC[0], 0.2, 0.2), centred(FABRIC[1], 0.5, 0.5), centred(FABRIC[2], 0.8, 0.8)],
        [*legend(FABRIC), from_left("Wash at 40", 0.8, 0.6)],
        [*legend(FABRIC), from_left("Made in Portugal", 0.1, 0.45)],
        legend(FABRIC, left=0.5),
    ],
    ids=[
        "column",
        "wide column",
        "centred",
        "row",
        "two rows",
        "stairs",
        "more below",
        "more beside",
        "middle",
    ],
)
def test_a_fabric_label_is_no_pie(lines: list[TextLine]) -> None:
    assert find_slices(lines) == []
    text = as_prompt_lines(PageText(in_reading_order(lines)), chart_ranks=True)
    assert "Cotton 1" not in text and "Cotton 60%" in text


RING = {"Figs": "25", "Plums": "50", "Pears": "25"}


@pytest.mark.parametrize(
    "lines",
    [
        [*ring(RING), centred("7%", 0.5, 0.5)],
        ring({"Figs": "25", "Plums": "50"}),
        ring({"Asia": "50", "Europe": "30", "Africa": "10"}),
        ring({"Shop -": "60", "Cafe": "25", "Bar": "15"}),
        ring({"-": "50", "–": "30", "−": "20"}),
    ],
    ids=["one without label", "two", "no whole", "negative", "no labels"],
)
def test_a_ring_of_which_something_is_missing_is_not_ranked(lines: list[TextLine]) -> None:
    assert find_slices(lines) == []
