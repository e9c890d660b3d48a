"""The borders of scope: where they are placed, and that no author's questions place their own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from models.training.scope.borders import GENERAL, grouped, left_out, main, place
from models.training.scope.data import ScopeQuestion


def asked(
    inside: float, outside: float, authors: str = "abcd", count: int = 20
) -> list[tuple[float, ScopeQuestion]]:
    """Logits around two values. authors: a letter for each."""
    noise = np.random.default_rng(0).normal(0, 0.5, (len(authors), 2, count))
    return [
        (float(centre + noise[number, side, each]), ScopeQuestion(f"{author}{side}{each}", scope, author))
        for number, author in enumerate(authors)
        for side, (centre, scope) in enumerate(((inside, "in"), (outside, "out")))
        for each in range(count)
    ]


def test_a_border_is_between_the_questions_of_its_kind() -> None:
    borders = place({"charts": asked(4, 0), "maps": asked(1, -3)})
    assert 0 < borders["maps"] + 2 < borders["charts"] < 4
    assert borders["maps"] < borders["charts"]


def test_a_border_is_drawn_towards_the_others() -> None:
    alone = place({"charts": asked(5, 1)})["charts"]
    others = {f"maps{number}": asked(1, -3) for number in range(6)}
    assert place({"charts": asked(5, 1), **others})["charts"] < alone


def test_kinds_of_the_plain_model_share_a_border() -> None:
    judged = {"photos": asked(3, -3), "drawings": asked(2, -3)}
    assert list(place(grouped(judged))) == [GENERAL]
    assert {question.author for _, question in grouped(judged, "a")[GENERAL]} == set("bcd")


def test_a_question_is_judged_by_a_border_that_its_author_did_not_place() -> None:
    judged = {"charts": [*asked(3, -3, "abc"), *asked(30, 24, "d")]}
    distances = {question.text: value for value, question in left_out(judged)["charts"]}
    logits = {question.text: value for value, question in judged["charts"]}
    own = place({"charts": asked(3, -3, "abc")})["charts"]
    assert distances["d00"] == logits["d00"] - own


def test_borders_and_left_out_distances_are_written(tmp_path: Path) -> None:
    judged = asked(3, -1)
    rows = [
        {"kind": "charts", "question": q.text, "scope": q.scope, "author": q.author, "task": None}
        for _, q in judged
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "logits.json").write_text(json.dumps({"charts": {q.text: logit for logit, q in judged}}))
    files = {name: str(tmp_path / name) for name in ("rows.jsonl", "logits.json", "out.json", "left.json")}
    main(["--questions", files["rows.jsonl"], "--logits", files["logits.json"], "--out", files["out.json"],
          "--left-out", files["left.json"]])  # fmt: skip
    assert json.loads((tmp_path / "out.json").read_text()) == place({"charts": judged})
    assert set(json.loads((tmp_path / "left.json").read_text())["charts"]) == {q.text for _, q in judged}
