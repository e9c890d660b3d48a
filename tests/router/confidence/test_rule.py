"""The confidence rule: features, bounds, offsets of adapters, and hopeless beginnings."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.core.errors import UserError
from router.confidence.rule import (
    FEATURES,
    FORMAT,
    MOST_SCOPE,
    OPENING,
    AdapterOffset,
    Confidence,
    Evidence,
    Rule,
    bundled_rule,
    features,
    odds,
    why_ignored,
)

SURE = Evidence(
    logprobs=(-0.01, -0.02, -0.001),
    adapter="receipts",
    generation=7,
    head=0.9,
    route=0.99,
    margin=5.0,
    has_image=True,
    ocr=0.95,
)
DOUBTFUL = replace(SURE, logprobs=(-0.01, -2.5, -3.0))
ZEROS = (0.0,) * len(FEATURES)


def rule(**weights: float) -> Rule:
    """A rule with weights by feature; the offset of "receipts" is 0."""
    return Rule(
        centre=ZEROS,
        scale=(1.0,) * len(FEATURES),
        intercept=0.0,
        weights=tuple(weights.get(name, 0.0) for name in FEATURES),
        slack=1.0,
        least_tokens=2,
        adapters={"receipts": AdapterOffset(7, 0.0, ZEROS, 100, 80)},
    )


def test_surer_words_make_an_answer_likelier_to_be_right() -> None:
    confidence = Confidence(rule(least=1.0))
    assert confidence.judge(SURE).probability > 0.9
    assert confidence.judge(DOUBTFUL).probability < 0.2


def test_an_adapter_departs_from_the_shared_rule_by_what_its_data_say() -> None:
    shared = rule(mean=1.0)
    poor = replace(shared, adapters={"receipts": AdapterOffset(7, -3.0, ZEROS, 50, 10)})
    assert Confidence(poor).judge(SURE).probability < Confidence(shared).judge(SURE).probability
    other = replace(SURE, adapter="mine")
    assert Confidence(poor).judge(other).probability == Confidence(shared).judge(other).probability


def test_another_adapter_of_the_same_name_has_no_data() -> None:
    confidence = Confidence(rule(mean=1.0))
    other = replace(SURE, generation=8)
    assert not confidence.judge(other).fitted
    assert not confidence.hopeless(replace(other, logprobs=(-9.0,) * 9), 0.9)


def test_an_adapter_that_answers_under_another_policy_has_no_data() -> None:
    offset = AdapterOffset(7, 0.0, ZEROS, 100, 80, policy="fitted")
    confidence = Confidence(replace(rule(mean=1.0), adapters={"receipts": offset}))
    changed = replace(SURE, policy="changed", logprobs=(-9.0,) * 9)
    assert confidence.judge(replace(SURE, policy="fitted")).fitted
    assert not confidence.judge(changed).fitted
    assert not confidence.hopeless(changed, 0.9)
    assert confidence.hopeless(replace(changed, policy="fitted"), 0.9)


def test_where_a_policy_is_not_known_the_weights_decide() -> None:
    known = AdapterOffset(7, 0.0, ZEROS, 100, 80, policy="fitted")
    assert known.is_for(SURE)
    assert replace(known, policy=None).is_for(replace(SURE, policy="any"))
    assert not replace(known, policy=None).is_for(replace(SURE, generation=8))


def test_what_was_learnt_about_images_does_not_count_without_one() -> None:
    confidence = Confidence(rule(mean=1.0))
    assert confidence.judge(SURE).fitted
    assert not confidence.judge(replace(SURE, has_image=False)).fitted


@pytest.mark.parametrize("evidence", [SURE, DOUBTFUL])
def test_an_adapter_without_data_is_judged_by_the_shared_rule_and_the_judgement_says_so(
    evidence: Evidence,
) -> None:
    confidence = Confidence(rule(least=1.0))
    judgement = confidence.judge(replace(evidence, adapter="mine"))
    assert not judgement.fitted
    assert judgement.probability == confidence.judge(evidence).probability
    assert confidence.judge(evidence).fitted


def test_what_lies_beyond_all_that_was_logged_counts_no_more_than_its_edge() -> None:
    confidence = Confidence(rule(tokens=-1.0))
    long, longer = (replace(SURE, logprobs=(-0.1,) * count) for count in (50, 500))
    assert confidence.judge(long) == confidence.judge(longer)


def test_what_is_missing_counts_neither_for_nor_against() -> None:
    confidence = Confidence(rule(mean=1.0, head=1.0, ocr=1.0, scope=1.0))
    bare = replace(SURE, head=None, ocr=None, scope=None)
    assert confidence.judge(bare) == Confidence(rule(mean=1.0)).judge(bare)


def test_the_question_counts_up_to_a_bound() -> None:
    confidence = Confidence(rule(scope=1.0))
    for scope, counted in ((2.0, 2.0), (-2.0, -2.0), (MOST_SCOPE, MOST_SCOPE), (MOST_SCOPE + 4, MOST_SCOPE)):
        assert odds(confidence.judge(replace(SURE, scope=scope)).probability) == pytest.approx(counted)


def test_the_opening_of_a_long_answer_counts_and_not_what_follows() -> None:
    confidence = Confidence(rule(opening=1.0))
    long = replace(SURE, logprobs=(-0.1,) * OPENING + (-2.0,))
    assert confidence.judge(long) == confidence.judge(replace(SURE, logprobs=(-0.1,) * OPENING))
    assert confidence.judge(long).probability > confidence.judge(replace(SURE, logprobs=(-2.0,))).probability
    first = Confidence(rule(first=1.0))
    assert first.judge(long) == first.judge(replace(SURE, logprobs=(-0.1, -3.0)))


def test_an_answer_of_which_nothing_came_is_not_right() -> None:
    assert Confidence(rule(mean=1.0)).judge(replace(SURE, logprobs=())).probability == 0


def test_a_beginning_is_hopeless_only_far_below_the_threshold_and_not_at_the_first_token() -> None:
    confidence = Confidence(rule(least=1.0))
    begun = replace(SURE, logprobs=(-3.0,))
    assert not confidence.hopeless(begun, 0.6)
    assert confidence.hopeless(replace(begun, logprobs=(-3.0, -0.1)), 0.6)
    assert not confidence.hopeless(replace(begun, logprobs=(-0.6, -0.1)), 0.6)  # doubtful, within the slack
    assert not confidence.hopeless(replace(begun, logprobs=(-3.0, -0.1)), 0.0)


def test_nothing_is_hopeless_of_an_adapter_without_data() -> None:
    confidence = Confidence(rule(least=1.0))
    assert not confidence.hopeless(replace(DOUBTFUL, adapter="mine"), 0.9)


@given(
    logprobs=st.lists(st.floats(-1e6, 0.0), min_size=1, max_size=40),
    probability=st.floats(0.0, 1.0),
    margin=st.floats(-50, 50),
)
def test_every_judgement_is_a_probability(logprobs: list[float], probability: float, margin: float) -> None:
    evidence = Evidence(tuple(logprobs), None, None, probability, probability, margin, True, probability)
    assert all(value is None or math.isfinite(value) for value in features(evidence))
    assert 0 <= Confidence(bundled_rule()).judge(evidence).probability <= 1


def test_the_users_adapters_stand_beside_the_bundled_ones(tmp_path: Path) -> None:
    file = tmp_path / "confidence.json"
    own = {"generation": 7, "intercept": -1.0, "weights": list(ZEROS), "rows": 40, "right": 12}
    file.write_text(json.dumps({"format": FORMAT, "features": list(FEATURES), "adapters": {"mine": own}}))
    judge = Confidence.load(file).judge
    mine, none_such = (judge(replace(SURE, adapter=name)) for name in ("mine", "other"))
    assert mine.fitted
    assert mine != none_such
    assert Confidence.load(tmp_path / "absent.json").rule == bundled_rule()


def test_answers_of_another_model_that_the_user_fitted_leave_those_of_the_bundled_one(tmp_path: Path) -> None:
    file = tmp_path / "confidence.json"
    own = {"generation": 7, "intercept": -1.0, "weights": list(ZEROS), "rows": 40, "right": 12}
    file.write_text(json.dumps({"format": FORMAT, "features": list(FEATURES), "adapters": {"none": own}}))
    judge = Confidence.load(file).judge
    bundled = replace(SURE, adapter=None, generation=bundled_rule().adapters["none"].generation)
    theirs, unknown = (replace(SURE, adapter=None, generation=number) for number in (7, 8))
    assert judge(bundled) == Confidence(bundled_rule()).judge(bundled)
    assert [judge(each).fitted for each in (bundled, theirs, unknown)] == [True, True, False]


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        json.dumps({"format": FORMAT, "features": list(FEATURES), "adapters": {"mine": {"intercept": 0}}}),
        json.dumps(
            {
                "format": FORMAT,
                "features": list(FEATURES),
                "adapters": {"a": {"intercept": 0, "weights": [1], "rows": 1, "right": 1}},
            }
        ),
    ],
)
def test_a_users_file_that_is_damaged_is_refused_with_what_to_do(tmp_path: Path, content: str) -> None:
    file = tmp_path / "confidence.json"
    file.write_text(content)
    assert why_ignored(file) is None
    with pytest.raises(UserError, match="eval confidence"):
        Confidence.load(file)


@pytest.mark.parametrize(
    "content",
    [
        {"format": FORMAT - 1, "features": list(FEATURES), "adapters": {"mine": {}}},
        {"format": FORMAT + 1},
        {"format": FORMAT, "features": ["mean"], "adapters": {}},
    ],
)
def test_a_users_file_of_another_version_is_ignored_with_one_sentence(
    tmp_path: Path, content: dict[str, object]
) -> None:
    file = tmp_path / "confidence.json"
    file.write_text(json.dumps(content))
    assert Confidence.load(file).rule == bundled_rule()
    sentence = why_ignored(file)
    assert sentence is not None and str(file) in sentence and "eval confidence" in sentence
    assert why_ignored(tmp_path / "absent.json") is None
