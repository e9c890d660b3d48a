"""The policy does as it is told, and says so."""

from __future__ import annotations

import pytest

from models.core.errors import UserError
from router.choice import Candidate, Choice
from router.route import route


def test_an_adapter_that_was_named_is_used() -> None:
    chosen = route(adapter="medical", installed=("medical", "shapes"))
    assert (chosen.adapter, chosen.place) == ("medical", "local")
    assert "as asked" in chosen.reason


def test_a_sum_of_adapters_is_named_the_same_way_however_it_was_typed() -> None:
    chosen = route(adapter="shapes:0.50, medical", installed=("medical", "shapes"))
    assert chosen.adapter == "shapes:0.5,medical"


def test_auto_without_adapters_uses_none_and_says_why() -> None:
    nothing = route(adapter="auto", installed=())
    assert (nothing.adapter, nothing.reason) == (None, "no adapter is installed")


def test_auto_takes_what_a_router_chose_with_its_reason() -> None:
    candidates = (Candidate("shapes", 3.0, 0.8, 0.4), Candidate("medical", -2.0, 0.1, 0.1))
    choice = Choice("shapes", 0.97, "the image is like those of shapes", candidates)
    chosen = route(adapter="auto", installed=("medical", "shapes"), choice=choice)
    assert (chosen.adapter, chosen.probability, chosen.candidates) == ("shapes", 0.97, candidates)
    assert choice.reason in chosen.reason


def test_an_unknown_adapter_is_refused_with_those_it_may_be() -> None:
    with pytest.raises(UserError, match="'medcal'; did you mean medical"):
        route(adapter="medcal", installed=("shapes", "medical"))
    with pytest.raises(UserError, match=r"installed: none"):
        route(adapter="x", installed=())
