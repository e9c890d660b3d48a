"""Adjustments of scope: where borders are placed, what rules learn, and that no author's questions judge themselves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from models.training.scope.adjustments import (
    GENERAL,
    Adjuster,
    fit_rule,
    grouped,
    main,
    place,
    report,
)
from models.training.scope.data import ImageKind, ScopeQuestion

SIZE = 8


def asked(
    inside: float, outside: float, authors: str = "abcd", count: int = 20
) -> list[tuple[float, ScopeQuestion]]:
    """Logits around two values. authors: a letter for each."""
    noise = np.random.default_rng(0).normal(0, 0.5, (len(authors), 2, count))
    return [
        (
            float(centre + noise[number, side, each]),
            ScopeQuestion(f"{author} {scope} {each}", "in" if side == 0 else "out", author),
        )
        for number, author in enumerate(authors)
        for side, (centre, scope) in enumerate(((inside, "in"), (outside, "out")))
        for each in range(count)
    ]


def adjuster(
    judged: dict[str, list[tuple[float, ScopeQuestion]]], direction: Sequence[float] = (0.0,) * SIZE
) -> Adjuster:
    """Over random vectors of the questions. direction: added to those in scope, subtracted from the others."""
    rng, vectors = np.random.default_rng(1), {}
    for own in judged.values():
        for _, question in own:
            side = 1 if question.scope == "in" else -1
            vector = rng.normal(0, 1, SIZE) + side * np.array(direction)
            vectors[question.text] = (vector / np.linalg.norm(vector)).astype(np.float32)
    kinds = [ImageKind(name, {}, tuple(question for _, question in own)) for name, own in judged.items()]
    return Adjuster(judged, kinds, vectors)


def test_a_border_is_between_the_questions_of_its_kind() -> None:
    borders = place({"charts": asked(4, 0), "maps": asked(1, -3)})
    assert -3 < borders["maps"] < 1 and 0 < borders["charts"] < 4
    assert borders["maps"] < borders["charts"]


def test_a_border_is_drawn_towards_the_others() -> None:
    alone = place({"charts": asked(5, 1)})["charts"]
    others = {f"maps{number}": asked(1, -3) for number in range(6)}
    assert place({"charts": asked(5, 1), **others})["charts"] < alone


def test_kinds_of_the_plain_model_are_adjusted_together() -> None:
    judged = {"photos": asked(3, -3), "drawings": asked(2, -3)}
    assert list(place(grouped(judged))) == [GENERAL]
    assert {question.author for _, question in grouped(judged, "a")[GENERAL]} == set("bcd")


def test_a_rule_separates_what_a_direction_separates() -> None:
    rng = np.random.default_rng(0)
    inside = rng.random(200) < 0.5
    vectors = rng.normal(0, 1, (200, SIZE)).astype(np.float32)
    vectors[:, 0] = np.where(inside, 1, -1) * (1 + np.abs(vectors[:, 0]))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rule = fit_rule(vectors, list(inside), vectors.mean(0))
    right = [(rule.value(vector) > 0) == bool(side) for vector, side in zip(vectors, inside, strict=True)]
    assert np.mean(right) > 0.97


def test_a_rule_of_one_side_alone_is_finite() -> None:
    vectors = np.eye(SIZE, dtype=np.float32)
    assert np.isfinite(fit_rule(vectors, [True] * SIZE, vectors.mean(0)).value(vectors[0]))


def test_a_question_is_not_judged_by_what_its_author_asked() -> None:
    usual = {"charts": asked(2, -2, "abc")}
    odd = [
        (logit, ScopeQuestion(q.text, "out" if q.scope == "in" else "in", "d"))
        for logit, q in asked(2, -2, "d")
    ]
    without = adjuster({"charts": [*usual["charts"], *asked(2, -2, "d")]}).left_out()["charts"]
    turned = adjuster({"charts": [*usual["charts"], *odd]}).left_out()["charts"]
    values = {q.text: value for value, q in without if q.author == "d"}
    assert values
    for value, question in turned:
        if question.author == "d":
            assert value == pytest.approx(values[question.text], abs=0.05)


def test_rules_move_questions_to_the_right_side() -> None:
    judged = {"charts": asked(0.3, -0.3)}
    guessed, known = adjuster(judged), adjuster(judged, (3.0,) + (0.0,) * (SIZE - 1))

    def right(made: Adjuster) -> float:
        return float(np.mean([(value > 0) == (q.scope == "in") for value, q in made.left_out()["charts"]]))

    assert right(known) > max(right(guessed), 0.95)


def test_the_report_has_shares_by_kind_and_author() -> None:
    lines = report({"charts": asked(4, -4)}).splitlines()
    assert lines[1].split() == ["charts", "100.0%", "0.0%", "-"]
    assert {line.split()[0] for line in lines[2:]} == {"a", "b", "c", "d", "all"}


def test_adjustments_and_left_out_log_odds_are_written(tmp_path: Path) -> None:
    judged = asked(3, -1, "ab", 3)
    rows = [
        {"kind": "charts", "question": q.text, "scope": q.scope, "author": q.author, "task": None}
        for _, q in judged
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "logits.json").write_text(json.dumps({"charts": {q.text: logit for logit, q in judged}}))
    files = {name: str(tmp_path / name) for name in ("rows.jsonl", "logits.json", "out", "left.json")}
    main(["--questions", files["rows.jsonl"], "--logits", files["logits.json"], "--out", files["out"],
          "--left-out", files["left.json"]])  # fmt: skip
    assert set(load_file(files["out"])) == {"charts.weight", "charts.border"}
    assert set(json.loads((tmp_path / "left.json").read_text())["charts"]) == {q.text for _, q in judged}
