"""The rule by which an answer counts as naming an object."""

from __future__ import annotations

import pytest

from models.scoring import accepted_names, names_object, normalise, read_classes


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
