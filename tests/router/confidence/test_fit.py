"""The fit recovers the rule by which made-up answers were drawn."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from models.core.errors import UserError
from router.confidence.early_stop import LEAST_TOKENS, beginnings, stopped_at, stopping, with_slack
from router.confidence.fit import EITHER_WAY, Logged, fit, fit_offsets, fold_of
from router.confidence.rule import BLIND, FEATURES, Confidence, Evidence


def answers(count: int, adapter: str | None, seed: int, shift: float = 0.0) -> list[Logged]:
    """Answers that are right with a probability from the least probable token, the heads, and the adapter's offset."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        least, head = rng.normal(1.5, 2.0), rng.normal(1.0, 1.5)
        tokens = int(rng.integers(6, 30))
        logprobs = np.full(tokens, -0.01)
        logprobs[int(rng.integers(tokens))] = -math.log1p(math.exp(-least))
        right = bool(rng.random() < 1 / (1 + math.exp(-(least + head - 1.0 + shift))))
        evidence = Evidence(
            tuple(logprobs.tolist()), adapter, 3, 1 / (1 + math.exp(-head)), 0.9, 3.0, True, None
        )
        found.append(Logged(evidence, right, f"{adapter} {number // 2}"))
    return found


@pytest.fixture(scope="module")
def logged() -> list[Logged]:
    return [*answers(400, "easy", 1, shift=1.0), *answers(400, "hard", 2, shift=-1.5)]


def surprise(confidence: Confidence, logged: list[Logged]) -> float:
    said = [(confidence.judge(each.evidence).probability, each.right) for each in logged]
    return -sum(math.log(p if right else 1 - p) for p, right in said) / len(said)


def test_the_rule_foretells_answers_that_it_has_not_seen(logged: list[Logged]) -> None:
    fresh = [*answers(300, "easy", 11, shift=1.0), *answers(300, "hard", 12, shift=-1.5)]
    rate = sum(each.right for each in fresh) / len(fresh)
    base = -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))
    confidence = Confidence(fit(logged))
    assert surprise(confidence, fresh) < 0.75 * base
    said = [confidence.judge(each.evidence).probability for each in fresh]
    assert sum(said) / len(said) == pytest.approx(rate, abs=0.05)


def test_the_same_evidence_counts_less_for_an_adapter_that_is_often_wrong(logged: list[Logged]) -> None:
    confidence = Confidence(fit(logged))
    evidence = logged[0].evidence
    easy, hard = (confidence.judge(replace(evidence, adapter=name)).probability for name in ("easy", "hard"))
    assert easy > hard + 0.1


def test_few_answers_move_an_adapter_little_and_many_move_it_far(logged: list[Logged]) -> None:
    rule = fit(logged)
    few, many = (
        fit_offsets(answers(count, "new", 3, shift=-3.0), rule)["new"].intercept for count in (4, 400)
    )
    assert many < few < 0.3
    assert many < -1.0


def test_an_own_fit_leaves_the_shared_rule_and_counts_its_answers(logged: list[Logged]) -> None:
    rule = fit(logged)
    new = answers(40, "new", 4)
    own = fit_offsets(new, rule)
    assert list(own) == ["new"]
    assert (own["new"].rows, own["new"].right) == (40, sum(each.right for each in new))


def test_answers_without_an_image_are_fitted_apart() -> None:
    blind = [
        replace(each, evidence=replace(each.evidence, has_image=False, head=None))
        for each in answers(40, None, 5)
    ]
    assert set(fit([*blind, *answers(40, None, 6)]).adapters) == {"none", "none" + BLIND}


def test_answers_that_are_all_right_can_be_fitted(logged: list[Logged]) -> None:
    sure = [replace(each, right=True) for each in answers(100, "sure", 7)]
    confidence = Confidence(fit([*logged, *sure]))
    said = [confidence.judge(each.evidence).probability for each in sure]
    assert sum(said) / len(said) > 0.9


def test_one_image_is_always_in_one_fold() -> None:
    assert {fold_of("a.png", 5) for _ in range(3)} == {fold_of("a.png", 5)}
    assert {fold_of(f"{number}.png", 5) for number in range(100)} == set(range(5))


def test_hardly_any_answer_that_is_right_and_would_be_kept_is_given_up(logged: list[Logged]) -> None:
    rule = with_slack(fit(logged), logged)
    confidence = Confidence(rule)
    for threshold in (0.2, 0.4, 0.6, 0.8):
        done = stopping([(confidence, each) for each in logged], threshold)
        assert done.lost <= math.ceil(0.01 * done.kept)
        assert done.right + done.wrong == len(logged)
    assert stopping([(confidence, each) for each in logged], 0.6).wrong_stopped > 0


def test_before_a_slack_was_chosen_nothing_is_given_up(logged: list[Logged]) -> None:
    confidence = Confidence(fit(logged))
    assert all(stopped_at(confidence, each, 0.99) is None for each in logged[:50])


def test_an_answer_is_given_up_at_its_first_hopeless_beginning_and_never_at_its_end(
    logged: list[Logged],
) -> None:
    confidence = Confidence(with_slack(fit(logged), logged))
    for each in logged[:100]:
        at = stopped_at(confidence, each, 0.8)
        if at is not None:
            assert LEAST_TOKENS <= at < len(each.evidence.logprobs)
            earlier = [part for part in beginnings(each.evidence) if len(part.logprobs) < at]
            assert not any(confidence.hopeless(part, 0.8) for part in earlier)


def test_sureness_never_counts_against_an_answer() -> None:
    """In these answers certainty counts against being right; the weights stay at least 0."""
    turned = [replace(each, right=not each.right) for each in answers(300, "odd", 8)]
    rule = fit([*turned, *answers(300, "even", 9)])
    odd = rule.adapters["odd"]
    for name, shared, own in zip(FEATURES, rule.weights, odd.weights, strict=True):
        if name not in EITHER_WAY:
            assert shared >= 0 and shared + own >= -1e-9


def test_an_answer_less_sure_than_any_that_was_logged_is_not_vouched_for(logged: list[Logged]) -> None:
    confidence = Confidence(fit(logged))
    lost = replace(logged[0].evidence, logprobs=(-8.0,) * 10, head=0.99)
    assert confidence.judge(lost).probability < 0.05
    assert confidence.judge(replace(lost, adapter="new")).probability < 0.05


def test_a_feature_that_is_not_used_counts_nothing(logged: list[Logged]) -> None:
    used = [name for name in FEATURES if name != "head"]
    rule = fit(logged, used, (1.0, 10.0))
    number = FEATURES.index("head")
    weights = [rule.weights[number], *(own.weights[number] for own in rule.adapters.values())]
    assert weights == pytest.approx([0.0] * 3, abs=1e-9)
    assert fit(logged).weights[number] > 0.1


def test_a_fit_is_known_by_the_policy_of_its_answers(logged: list[Logged]) -> None:
    def under(policy: str | None, own: list[Logged]) -> list[Logged]:
        return [replace(each, evidence=replace(each.evidence, policy=policy)) for each in own]

    rule = fit(logged)
    own = answers(40, "new", 3)
    assert fit_offsets(own, rule)["new"].policy is None
    assert fit_offsets([*under("a", own[:20]), *own[20:]], rule)["new"].policy == "a"
    with pytest.raises(UserError, match="2 versions of its adapter"):
        fit_offsets([*under("a", own[:20]), *under("b", own[20:])], rule)
