"""The choice follows the user's adapter or the best candidate, and its reason says which."""

from __future__ import annotations

import pytest

from models.core.errors import UserError
from router.choice import Candidate, choose_as_asked, decide
from router.types import Reason


def test_an_adapter_that_was_named_is_used() -> None:
    chosen = choose_as_asked("medical", ("medical", "shapes"))
    assert (chosen.adapter, chosen.probability) == ("medical", None)
    assert chosen.reason == Reason("adapter_asked", {"adapter": "medical"})


def test_a_sum_of_adapters_is_named_the_same_way_however_it_was_typed() -> None:
    chosen = choose_as_asked("shapes:0.50, medical", ("medical", "shapes"))
    assert chosen.adapter == "shapes:0.5,medical"


def test_no_adapter_is_used_where_none_is_asked_for_or_installed() -> None:
    assert choose_as_asked("none", ("medical",)).reason == Reason("no_adapter_asked")
    nothing = choose_as_asked("auto", ())
    assert (nothing.adapter, nothing.reason) == (None, Reason("no_adapter_installed"))


def test_an_unknown_adapter_is_refused_with_those_it_may_be() -> None:
    with pytest.raises(UserError, match="'medcal'; did you mean medical"):
        choose_as_asked("medcal", ("shapes", "medical"))
    with pytest.raises(UserError, match=r"installed: none"):
        choose_as_asked("x", ())


def test_the_best_candidate_is_chosen_if_it_suits_better_than_none() -> None:
    shapes, medical = Candidate("shapes", 3.0, 0.8, 0.4), Candidate("medical", -2.0, 0.1, None)
    choice = decide([medical, shapes])
    assert (choice.adapter, choice.candidates) == ("shapes", (shapes, medical))
    assert choice.probability == pytest.approx(0.9465, abs=1e-4)
    assert choice.reason == Reason("adapter_suits", {"adapter": "shapes", "image": 0.8, "question": 0.4})


@pytest.mark.parametrize("why", [None, Reason("question_out_of_scope", {"adapter": "medical"})])
def test_without_a_suitable_candidate_no_adapter_is_chosen(why: Reason | None) -> None:
    choice = decide([Candidate("medical", -2.0, 0.1, None)], why)
    assert (choice.adapter, choice.reason.kind) == (None, why.kind if why else "no_adapter_suits")
    assert choice.probability == pytest.approx(0.8808, abs=1e-4)


def test_a_candidate_that_is_no_contender_is_shown_but_not_chosen() -> None:
    shapes, charts = Candidate("shapes", -2.0, 0.6, 0.1), Candidate("charts", 3.0, 0.1, 0.9)
    choice = decide([shapes, charts], Reason("question_out_of_scope"), [shapes])
    assert (choice.adapter, choice.reason.kind) == (None, "question_out_of_scope")
    assert choice.candidates == (charts, shapes)
    assert choice.probability == pytest.approx(0.8808, abs=1e-4)
