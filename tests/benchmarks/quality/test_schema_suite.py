"""What the benchmark of the JSON Schema test suite counts: followed, refused, and what a grammar lets through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.quality.schema_suite import Suite
from tests.models.language.test_tokenizer import small


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return Suite(small(tmp_path), "draft2020-12", answers=5, seed=1)


def case(schema: Any, *tests: tuple[Any, bool]) -> dict[str, Any]:
    instances = [{"data": data, "valid": valid, "description": ""} for data, valid in tests]
    return {"description": "numbers", "schema": schema, "tests": instances}


def test_a_followed_case_has_answers_and_instances(suite: Suite) -> None:
    count = suite.count(case({"type": "integer", "minimum": 3}, (4, True), (1e400, True), (2, False)))
    assert (count.cases, count.refused, count.answers, count.right) == (1, 0, 5, 5)
    assert (count.valid, count.written, count.invalid, count.kept_out) == (2, 1, 1, 1)
    assert not count.faults


def test_a_refused_case_has_neither(suite: Suite) -> None:
    for schema in ({"not": {"type": "string"}}, True):
        count = suite.count(case(schema, (4, True), ("a", False)))
        assert (count.cases, count.refused, count.answers, count.valid, count.invalid) == (1, 1, 0, 0, 0)


def test_an_instance_that_should_not_pass_is_a_fault(suite: Suite) -> None:
    count = suite.count(case({"type": "integer"}, (4, False)))
    assert count.kept_out == 0
    assert "takes 4" in count.faults[0]
