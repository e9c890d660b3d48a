"""The likeliest passage is the answer, and a decline has to be likelier by a margin."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.core.errors import UserError
from models.language.copying.policy import CopyPolicy
from models.language.copying.search import CopyModel, CopySearch, ScoredToken
from models.language.tokenizer import Tokenizer
from tests.models.language.test_tokenizer import small

PAGE = ("Invoice 4711 of 12 May\nTotal 9.00 Cash 20.00",)
DECLINE = "Not on the page."
POLICY = CopyPolicy((DECLINE,), margin=1.0, candidates=2)


class Mixture:
    """A model that says each of some texts with its probability, and anything else hardly ever."""

    def __init__(self, tokenizer: Tokenizer, texts: Mapping[str, float]) -> None:
        self._tokenizer = tokenizer
        self._texts = {
            (*tokenizer.encode(text, special=False), min(tokenizer.end_ids)): share
            for text, share in texts.items()
        }
        self._said: list[int] = []
        self.decoded = 0
        self.broken = False

    def logits(self) -> NDArray[np.float32]:
        weights = np.full(len(self._tokenizer), 1e-6)
        for tokens, share in self._texts.items():
            if list(tokens[: len(self._said)]) == self._said and len(tokens) > len(self._said):
                weights[tokens[len(self._said)]] += share
        return np.full_like(weights, np.nan) if self.broken else np.log(weights).astype(np.float32)

    def decode(self, token: int, after: int) -> NDArray[np.float32]:
        self.decoded += 1
        self._said = [*self._said[:after], token]
        return self.logits()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return small(tmp_path_factory.mktemp("tokenizer"))


def search(
    model: Mixture, tokenizer: Tokenizer, policy: CopyPolicy = POLICY, **changes: Any
) -> list[ScoredToken]:
    options: dict[str, Any] = {"limit": 40, "cancel": threading.Event()} | changes
    parts = CopyModel(tokenizer, len(tokenizer), model.decode, lambda _: (), **options)
    return list(CopySearch(parts, policy, PAGE).steps(model.logits()))


def said(tokenizer: Tokenizer, texts: Mapping[str, float], policy: CopyPolicy = POLICY) -> str:
    steps = search(Mixture(tokenizer, texts), tokenizer, policy)
    assert steps[-1].token in tokenizer.end_ids
    return tokenizer.decode([step.token for step in steps[:-1]])


def test_an_answer_that_stands_on_the_page_is_left_as_it_is(tokenizer: Tokenizer) -> None:
    assert said(tokenizer, {"12 May": 0.9, DECLINE: 0.1}) == "12 May"


def test_an_answer_that_does_not_is_replaced_by_what_the_page_has(tokenizer: Tokenizer) -> None:
    assert said(tokenizer, {"Windows": 0.6, "4711": 0.3, "9.01": 0.1}) == "4711"


def test_a_decline_is_given_when_it_is_likelier_by_the_margin(tokenizer: Tokenizer) -> None:
    texts = {DECLINE: 0.6, "9.00": 0.4}
    assert said(tokenizer, texts) == "9.00"
    assert said(tokenizer, texts, CopyPolicy((DECLINE,), margin=0.2)) == DECLINE
    assert said(tokenizer, {DECLINE: 0.9, "9.00": 0.1}) == DECLINE


def test_of_two_beginnings_the_one_whose_whole_copy_is_likelier_wins(tokenizer: Tokenizer) -> None:
    texts = {"Total 1": 0.2, "Total 2": 0.2, "Total 9.00": 0.1, "Cash 20.00": 0.3, "C": 0.1}
    assert said(tokenizer, texts, CopyPolicy(candidates=1)) == "Total 9.00"
    assert said(tokenizer, texts, CopyPolicy(candidates=2)) == "Cash 20.00"


def test_where_everything_is_excluded_the_answer_is_empty(tokenizer: Tokenizer) -> None:
    assert said(tokenizer, {"4711": 1.0}, CopyPolicy(excluded=PAGE)) == ""
    assert said(tokenizer, {"4711": 0.9, DECLINE: 0.1}, CopyPolicy((DECLINE,), excluded=PAGE)) == DECLINE


def test_one_of_several_choices_is_given_as_a_whole_whatever_the_page_has(tokenizer: Tokenizer) -> None:
    texts = {"Total 9.00": 0.7, "12 May": 0.2, "13 May": 0.1}
    assert said(tokenizer, texts, CopyPolicy(choices=("13 May", "12 May"))) == "12 May"


def test_a_sure_answer_computes_no_other(tokenizer: Tokenizer) -> None:
    sure = Mixture(tokenizer, {"4711": 1.0})
    steps = search(sure, tokenizer)
    assert sure.decoded == len(steps) - 1
    assert sum(step.logprob for step in steps) == pytest.approx(0, abs=0.01)


def test_the_limit_and_a_cancel_end_the_answer(tokenizer: Tokenizer) -> None:
    assert len(search(Mixture(tokenizer, {"Cash 20.00": 1.0}), tokenizer, limit=3)) == 3
    cancel = threading.Event()
    cancel.set()
    assert len(search(Mixture(tokenizer, {"Cash 20.00": 1.0}), tokenizer, cancel=cancel)) == 1


def test_logits_that_are_no_numbers_are_one_sentence(tokenizer: Tokenizer) -> None:
    model = Mixture(tokenizer, {"4711": 1.0})
    model.broken = True
    with pytest.raises(UserError, match="no numbers"):
        search(model, tokenizer)
