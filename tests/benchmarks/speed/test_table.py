"""The table of figures: medians, ratios by rounds, targets, text and JSON."""

from __future__ import annotations

import json

from benchmarks.speed.table import Samples, Target, as_json, as_text, row


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    ours, theirs = Samples((200.0, 100.0, 300.0)), Samples((100.0, 50.0, 100.0))
    made = row("decode", "tokens/s", ours, Target("at least", 2.0, "ratio"), ("llama.cpp", theirs))
    assert (made.value, made.peer_value, made.ratio) == (200.0, 100.0, 2.0)
    assert (made.low, made.high, made.ok) == (100.0, 300.0, True)


def test_a_ratio_target_is_not_judged_without_a_peer() -> None:
    made = row("decode", "tokens/s", Samples((1.0,)), Target("at least", 2.0, "ratio"))
    assert made.peer is None and made.ratio is None and made.ok is None


def test_a_missed_target_is_marked() -> None:
    made = row("warm_start", "s", Samples((2.0, 1.6, 1.0)), Target("at most", 1.5))
    assert made.ok is False and made.target == "at most 1.5 s"
    assert "MISSED" in as_text([made])


def test_the_table_has_every_row_once_and_its_notes_below() -> None:
    rows = [
        row("decode", "tokens/s", Samples((295.0,)), None, ("llama.cpp", Samples((126.0,)))),
        row("idle_cpu", "s", Samples((0.0001,)), note="at rest"),
    ]
    lines = as_text(rows).splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["decode", "idle_cpu"]
    assert "2.34 x" in lines[1] and lines[-1] == "idle_cpu: at rest"


def test_json_has_the_keys_that_scripts_read() -> None:
    rows = [row("decode", "tokens/s", Samples((1.0,)))]
    whole = json.loads(as_json({"cpus": 2}, 2, {"python": "3.11"}, rows))
    assert set(whole) == {"machine", "threads", "versions", "rows"}
    assert set(whole["rows"][0]) >= {"name", "value", "unit", "peer", "peer_value", "ratio", "target", "ok"}
