"""The cases that routers are evaluated on, and the counting of right choices."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.quality.router.cases import (
    ANY_PAGE,
    CROSSED,
    DRAWN_PAGE,
    GENERAL_ASKED,
    GENERAL_ROWS,
    MUST_REACH,
    NO_KIND,
    OWN_WORDS,
    ROWS,
    TEXT,
    UNDER_IMAGE,
    UNKNOWN,
    WRITTEN,
    Case,
    adapter_of,
    cases,
    no_kind_cases,
    written_cases,
)
from benchmarks.quality.router.evaluation import Decision, Share, cost, sampled, shares
from edge_app.evaluation.questions import DOCUMENT, AuthoredQuestion
from edge_app.evaluation.rows import EvaluationRow
from router.routers.background import ANY_IMAGE, ASKED, CHAT, GENERAL, PHOTOS, read_questions

INSTALLED = ("medical", "charts")


def rows(name: str, images: int, each: int = 2) -> list[EvaluationRow]:
    return [
        EvaluationRow(name, f"{image}.png", Path(name) / f"{image}.png", f"Question {number}?", "yes", "kind")
        for image in range(images)
        for number in range(each)
    ]


@pytest.fixture(scope="module")
def every() -> list[Case]:
    return cases([*rows("medical", 4), *rows("charts_unseen", 3), *rows("photos", 5)], INSTALLED)


def test_the_written_questions_are_enough_and_nobodys_training_questions() -> None:
    asked, general = read_questions(ASKED), read_questions(GENERAL)
    domains = ("remote_sensing", "medical", "shapes", "receipts", "charts")
    assert set(asked) == {*domains, ANY_IMAGE, PHOTOS, CHAT}
    assert sum(len(asked[domain]) for domain in domains) == 200
    assert len(asked[ANY_IMAGE]) == 50
    everything = [question.lower() for own in asked.values() for question in own]
    assert len(everything) == len(set(everything))
    assert not set(everything) & {question.lower() for own in general.values() for question in own}


def test_a_file_belongs_to_the_adapter_it_is_named_after() -> None:
    assert adapter_of("charts", INSTALLED) == "charts"
    assert adapter_of("charts_unseen", INSTALLED) == "charts"
    assert adapter_of("charts_unseen", (*INSTALLED, "charts_unseen")) == "charts_unseen"
    assert adapter_of("chart", INSTALLED) is None
    assert adapter_of("photos", INSTALLED) is None


def test_every_group_has_its_cases(every: list[Case]) -> None:
    counts = Counter(case.group for case in every)
    assert counts == {
        ROWS: 14,
        GENERAL_ROWS: 10,
        OWN_WORDS: 2 * 40 * 3,
        GENERAL_ASKED: 40 * 3,
        TEXT: 60,
        UNDER_IMAGE: 3 * 60,
        CROSSED: 2 * 40 * 2,
        UNKNOWN: 7,
    }
    assert set(counts) | {*WRITTEN.values(), NO_KIND, DRAWN_PAGE, ANY_PAGE} == set(MUST_REACH)


def test_right_is_the_adapter_of_the_image_or_none(every: list[Case]) -> None:
    own = {"medical": "medical", "charts_unseen": "charts", "photos": None}
    for case in every:
        if case.group in (GENERAL_ROWS, GENERAL_ASKED, TEXT, UNDER_IMAGE, CROSSED, UNKNOWN):
            assert case.right is None
        else:
            assert case.right == own[case.set]
        assert (case.image is None) == (case.group == TEXT)
        assert case.image is None or case.image.parent.name == case.set
        assert (case.without is not None) == (case.group == UNKNOWN)


def test_questions_of_other_writers_get_images_of_their_kind_and_the_adapter_in_scope_alone() -> None:
    asked = [
        AuthoredQuestion("medical", "How many?", "in", "count", "a"),
        AuthoredQuestion("medical", "Who is ill?", "out", None, "a"),
        AuthoredQuestion("photos", "What is it?", "in", "object", "b"),
        AuthoredQuestion("medical", "What does it say?", "out", DOCUMENT, "b"),
        AuthoredQuestion("maps", "Where?", "in", "place", "b"),
    ]
    made = written_cases(asked, [*rows("medical", 4), *rows("photos", 5)], INSTALLED)
    assert Counter((case.group, case.set, case.right) for case in made) == {
        (WRITTEN["in"], "medical", "medical"): 3,
        (WRITTEN["out"], "medical", None): 3,
        (WRITTEN["in"], "photos", None): 3,
    }
    assert all(case.image is not None and case.image.parent.name == case.set for case in made)


def test_an_adapter_for_any_page_is_right_where_the_own_one_is_not() -> None:
    installed = ("documents", "medical", "receipts")
    every = cases([*rows("receipts", 2), *rows("medical", 2), *rows("documents", 2)], installed, "documents")
    hidden = {(case.group, case.set, case.right) for case in every if case.without}
    asked = [AuthoredQuestion("receipts", "Who served?", "out", DOCUMENT, "b")]
    written = written_cases(asked, rows("receipts", 3), installed, "documents")

    assert hidden == {
        (ANY_PAGE, "receipts", "documents"), (UNKNOWN, "medical", None), (UNKNOWN, "documents", None),
    }  # fmt: skip
    assert {(case.group, case.right) for case in written} == {(ANY_PAGE, "documents")}


def test_every_drawn_picture_is_asked_a_question_of_every_adapter() -> None:
    files = {"poem": [Path("poem-0.png"), Path("poem-1.png")], "robot": [Path("robot-0.png")]}
    made = no_kind_cases(files, (*INSTALLED, "birds"))
    assert Counter((case.set, case.right) for case in made) == {("poem", None): 4, ("robot", None): 2}
    asked = read_questions(ASKED)
    assert [case.question in asked[name] for case in made for name in ("charts", "medical")].count(True) == 6
    assert no_kind_cases(files, (*INSTALLED, "birds")) == made


def test_questions_of_a_receipt_about_drawn_pages_of_text_are_for_the_adapter_for_any_page() -> None:
    files = {"poem": [Path("poem-0.png")], "robot": [Path("robot-0.png")]}
    installed = ("charts", "documents", "receipts")
    made = no_kind_cases(files, installed, "documents")
    asked = read_questions(ASKED)["receipts"]
    assert Counter((case.group, case.set, case.right, case.question in asked) for case in made) == {
        (DRAWN_PAGE, "poem", "documents", True): 1,
        (NO_KIND, "poem", None, False): 1,
        (NO_KIND, "robot", None, True): 1,
        (NO_KIND, "robot", None, False): 1,
    }
    assert {case.group for case in no_kind_cases(files, installed)} == {NO_KIND}


def test_half_of_the_written_questions_are_kept_from_development(every: list[Case]) -> None:
    halves = {case.question: case.half for case in every if case.half}
    assert Counter(halves.values())["judgement"] == len(halves) // 2
    assert all(case.half is None for case in every if case.group in (ROWS, GENERAL_ROWS, UNKNOWN))


def test_the_same_cases_come_every_time(every: list[Case]) -> None:
    again = cases([*rows("medical", 4), *rows("charts_unseen", 3), *rows("photos", 5)], INSTALLED)
    assert again == every


@given(st.integers(1, 60))
def test_a_sample_takes_from_every_group(most: int) -> None:
    made = [Case(group, "a", str(n), None, None) for group in (ROWS, TEXT) for n in range(50)]
    counts = Counter(case.group for case in sampled(made, most))
    assert counts == {ROWS: min(most, 50), TEXT: min(most, 50)}


def test_shares_and_costs_are_counted() -> None:
    case = Case(ROWS, "a", "q", None, "cells", "judgement")
    made = [Decision(case, chosen, 1.0, ms) for chosen, ms in (("cells", 1.0), (None, 3.0), ("cells", 2.0))]
    assert shares(made, lambda each: each.case.group) == {ROWS: Share(2, 3)}
    assert shares(made, lambda _: None) == {}
    assert cost(made).mean == pytest.approx(2)
    assert 2 < cost(made).high <= 3
