"""The rule by which an answer counts as naming an object."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.scoring.answer_rules import accepted_names, is_right, marks, names_object, normalise, read_classes


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("tench", "tench"),
        ("A tench.", "tench"),
        ("The photo shows two Goldfishes!", "goldfish"),
        ("This is a sand bar.", "sandbar"),
        ("a koala bear", "koala"),
        ("three strawberries on a plate", "strawberry"),
        ("It is a bull-frog", "bullfrog"),
        ("wooden-spoon", "wooden spoon"),
        ("sunglass", "sunglasses"),
        ("a Homarus americanus", "American lobster"),
        ("It is not a dog but a tench", "tench"),
    ],
)
def test_names_and_wordnet_synonyms_count(answer: str, label: str) -> None:
    assert names_object(answer, label)


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("dog", "beagle"),
        ("English foxhound", "beagle"),
        ("It is not a tench", "tench"),
        ("There is no tench here", "tench"),
        ("hencoop", "hen"),
        ("", "tench"),
        ("mountain", "mountain bike"),
    ],
)
def test_broader_words_denials_and_parts_of_words_do_not(answer: str, label: str) -> None:
    assert not names_object(answer, label)


def test_a_label_outside_the_classes_accepts_itself_alone() -> None:
    assert accepted_names("Residential areas") == {"residential area"}


def test_classes_are_the_thousand_sorted_by_wordnet_id() -> None:
    classes = read_classes()
    assert len(classes) == 1000
    assert list(classes) == sorted(classes)
    assert all(lemmas and all(lemmas) for lemmas in classes.values())


def test_normalising_takes_off_plurals_accents_and_punctuation() -> None:
    assert normalise("Crème brûlées, glasses & buses; berries") == "creme brulee glass bus berry"


@pytest.mark.parametrize(
    ("kind", "expected", "answer", "right"),
    [
        ("total", "12.50", "RM 12.5", True),
        ("total", "RM12.50", "12.50", True),
        ("total", "12.50", "1250", False),
        ("total", "12.50", "12.50 or 13.00", False),
        ("platelet_count", "3", "3", True),
        ("platelet_count", "3", "three", False),
        ("value", "40", "40.0", True),
        ("value", "40", "41", False),
        ("read_off", "40", "41.9", True),
        ("read_off", "40", "42.1", False),
        ("read_off", "40", "about forty", False),
        ("date", "14/03/2018", "14 MAR 18", True),
        ("date", "14/03/2018", "03/14/2018", False),
        ("date", "14/03/2018", "14/03/2018 12:30", False),
        ("date", "unknown", "Unknown.", True),
        ("company", "OLD TOWN SDN. BHD.", "Old Town Sdn Bhd", True),
        ("company", "OLD TOWN SDN BHD", "OLD TOWN", False),
        ("extreme", "Apples", "apple", True),
        ("yes_no", "yes", "Yes.", True),
        ("answer", "是", "否", False),
        ("answer", "是", "是", True),
    ],
)
def test_each_type_has_its_rule(kind: str, expected: str, answer: str, right: bool) -> None:
    assert is_right(kind, expected, answer) is right


BILL = {"company": "ACME SDN BHD", "date": "14/03/2018", "address": "1, HIGH ST.", "total": "12.50"}


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, set()),
        ({"company": "Acme Sdn. Bhd", "date": "14 MAR 2018", "address": "1 High St", "total": "12.5"}, set()),
        ({"total": 12.5}, set()),
        ({"total": "13.00"}, {"json", "json total"}),
        ({"total": ["12.50"]}, {"json", "json total"}),
        ({"date": None}, {"json", "json date"}),
        ({"more": "x"}, {"json"}),
    ],
)
def test_an_object_is_marked_as_a_whole_and_by_its_fields(
    changes: dict[str, object], wrong: set[str]
) -> None:
    found = marks("json", json.dumps(BILL), json.dumps(BILL | changes))
    assert {name for name, right in found.items() if not right} == wrong
    assert list(found) == ["json", "json parses", "json company", "json date", "json address", "json total"]
    assert is_right("json", json.dumps(BILL), json.dumps(BILL | changes)) is ("json" not in wrong)


@pytest.mark.parametrize("answer", ["", "{", "[1]", '"text"', '{"company": "ACME'])
def test_what_is_no_object_has_no_mark(answer: str) -> None:
    assert not any(marks("json", json.dumps(BILL), answer).values())


@given(
    st.sampled_from(["json", "date", "company", "total", "read_off", "main_object", "x"]),
    st.text(),
    st.text(),
)
def test_any_answer_to_any_question_is_marked(kind: str, expected: str, answer: str) -> None:
    assert marks(kind, expected, answer)[kind] is is_right(kind, expected, answer)


def test_a_fact_is_one_of_the_expected_answers_in_a_sentence() -> None:
    assert is_right("fact", "12|twelve", "There are twelve months in a year.")
    assert is_right("fact", "paris", "The capital of France is Paris.")
    assert not is_right("fact", "12|twelve", "There are 21 months.")
    assert not is_right("fact", "paris", "It is not Paris.")
