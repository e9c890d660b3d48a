"""Running averages of what answers cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edge_app.costs.averages import PRIOR_LOCAL, AnswerCost, CostAverages, CostTable, cloud_prior
from edge_app.settings import Price, Settings
from edge_app.system import paths
from router.place_policy import Expected, scenario, threshold
from tests.edge_app.test_answer import ANSWER

CLOUD = Expected(correct=0.9, seconds=3.0, joules=6.0, money=0.001)
ELSEWHERE = 500.0
ROOT = Path(__file__).parents[3]


@pytest.fixture
def table(tmp_path: Path) -> CostTable:
    return CostTable(tmp_path / "sessions.db", CLOUD, ELSEWHERE)


def test_before_there_is_data_the_prior_is_expected(table: CostTable) -> None:
    assert table.of("local", "receipts") == PRIOR_LOCAL
    assert table.of("cloud", None) == replace(CLOUD, joules=506.0)


def test_what_a_cloud_uses_elsewhere_is_added_to_what_is_measured_here(table: CostTable) -> None:
    table.learn("cloud", None, AnswerCost(seconds=3.0, joules=10.0))
    assert table.of("cloud", None).joules == pytest.approx(ELSEWHERE + (6.0 + 10.0) / 2)


def test_the_prior_counts_as_one_answer(table: CostTable) -> None:
    table.learn("local", "receipts", AnswerCost(seconds=3.0, joules=35.0, correct=0.9))
    expected = table.of("local", "receipts")
    assert expected.seconds == pytest.approx((1.0 + 3.0) / 2)
    assert expected.joules == pytest.approx((15.0 + 35.0) / 2)
    assert expected.correct == pytest.approx((0.7 + 0.9) / 2)
    assert table.of("local", "shapes") == PRIOR_LOCAL


def test_a_change_shows_after_a_few_answers(table: CostTable) -> None:
    for _ in range(200):
        table.learn("cloud", None, AnswerCost(seconds=2.0, joules=4.0))
    assert table.of("cloud", None).seconds == pytest.approx(2.0, abs=0.01)
    for _ in range(20):
        table.learn("cloud", None, AnswerCost(seconds=10.0, joules=4.0))
    assert table.of("cloud", None).seconds > 8.5


def test_an_unmeasured_value_stays_at_its_prior(table: CostTable) -> None:
    table.learn("cloud", None, AnswerCost(seconds=2.0, joules=4.0, money=0.003))
    assert table.of("cloud", None).correct == CLOUD.correct


def test_it_lasts_and_is_shared(tmp_path: Path) -> None:
    one, other = (CostTable(tmp_path / "sessions.db", CLOUD, ELSEWHERE) for _ in range(2))
    one.learn("local", None, AnswerCost(seconds=2.0, joules=1.0, correct=0.5))
    other.learn("local", None, AnswerCost(seconds=2.0, joules=1.0, correct=0.5))
    one.close()
    other.close()
    again = CostTable(tmp_path / "sessions.db", CLOUD, ELSEWHERE)
    assert again.of("local", None).seconds == pytest.approx((1 + 2 + 2) / 3)


def test_a_priced_cloud_is_expected_to_cost_something() -> None:
    priced = Settings(
        cloud_model="big", cloud_prices={"big": Price(input=2.0, output=10.0)}, cloud_correct=0.8
    )
    assert cloud_prior(priced).money == pytest.approx((1000 * 2 + 150 * 10) / 1e6)
    assert cloud_prior(priced).correct == 0.8
    assert cloud_prior(Settings()).money == 0


def test_the_documents_tell_the_thresholds_that_follow_from_the_defaults() -> None:
    settings = Settings()
    prior = cloud_prior(settings)
    cloud = replace(prior, joules=prior.joules + settings.cloud_joules)
    scenarios = (ROOT / "docs/scenarios.md").read_text()
    for mode, on_battery in (("auto", False), ("fast", False), ("auto", True)):
        limit = f"{threshold(scenario(mode, on_battery, settings.weights()), cloud):.2f}"
        row = f"| `{mode}` on battery |" if on_battery else f"| `{mode}` |"
        assert f"| {limit} |" in next(line for line in scenarios.splitlines() if line.startswith(row))


def test_closed_averages_do_not_open_the_database_again() -> None:
    averages = CostAverages(Settings(), learns=True)
    before = averages.begin()
    averages.close()
    averages.learn_local(ANSWER, ready=0.0, before=before)
    with pytest.raises(RuntimeError, match="closed"):
        averages.of("local", None)
    assert not paths.sessions_file().exists()
