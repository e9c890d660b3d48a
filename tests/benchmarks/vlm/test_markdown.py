"""The table of a run in the documentation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.speed.table import Samples, Target, as_json, row
from benchmarks.vlm import markdown


def run() -> str:
    """The JSON of a run with two figures of vlm and one of another group."""
    rows = [
        row("decode", "tokens/s", Samples((1.0,))),
        row(
            "vlm_500m_Q8_0_decode_lora_r16",
            "tokens/s",
            Samples((90.0,)),
            Target("at least", 0.92, "ratio"),
            ("no adapter", Samples((100.0,))),
        ),
        row("vlm_500m_ready", "s", Samples((31.25,)), Target("at most", 60.0)),
    ]
    return as_json({"processor": "A", "kernels": "avx2"}, 2, {"llama-cpp-python": "0.3.36"}, rows)


def test_the_table_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(run())
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{markdown.BEGIN}\nold\n{markdown.END}\n\nafter\n")
    assert markdown.main([str(tmp_path / "run.json"), str(page)]) == 0
    text = page.read_text()
    assert text.startswith("before\n\n") and text.endswith("\n\nafter\n")
    assert "old" not in text
    assert "A, 2 threads, kernels avx2; llama-cpp-python 0.3.36." in text
    lines = [line for line in text.splitlines() if line.startswith("| 500m")]
    assert lines == [
        "| 500m Q8_0: decode with an adapter of rank 16 | 90 tokens/s | 100 (no adapter) | 0.90 "
        "| at least 0.92 x, missed |",
        "| 500m: pack, compile and load all | 31.2 s |  |  | at most 60 s |",
    ]


def test_runs_are_put_into_one_table_in_which_the_last_figure_counts(tmp_path: Path) -> None:
    for name, seconds in (("first", 1.0), ("second", 2.0)):
        rows = [
            row(f"vlm_{name}_ready", "s", Samples((5.0,))),
            row("vlm_500m_tile", "s", Samples((seconds,))),
        ]
        (tmp_path / name).write_text(as_json({"processor": "A", "kernels": "avx2"}, 2, {}, rows))
    page = tmp_path / "page.md"
    page.write_text(f"{markdown.BEGIN}{markdown.END}")
    assert markdown.main([str(tmp_path / "first"), str(tmp_path / "second"), str(page)]) == 0
    shown = [line.split(" |")[:2] for line in page.read_text().splitlines() if " s |" in line]
    assert shown == [
        ["| first: pack, compile and load all", " 5 s"],
        ["| 500m: a tile through tower and connector", " 2 s"],
        ["| second: pack, compile and load all", " 5 s"],
    ]


def test_a_page_without_a_place_is_left_as_it_is() -> None:
    with pytest.raises(ValueError, match="no place"):
        markdown.put("no marks", markdown.as_markdown([json.loads(run())]))
