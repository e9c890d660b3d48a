"""The torture run: damage is what it says, faults are found, and a run goes on where it was."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.torture.commands import KilledRun, _shown_answer_is_saved, _whole_table, draw_pages
from benchmarks.torture.damage import Damage
from benchmarks.torture.endurance import MemoryCurve
from benchmarks.torture.fuzzing import run_batch
from benchmarks.torture.progress import StateFile
from edge_app.answer import Answer, Timing, TokenCounts
from edge_app.storage.sessions import SessionStore


@pytest.mark.parametrize(
    ("change", "result"),
    [
        (Damage("cut", 0.5, b"", 0), b"ab"),
        (Damage("delete", 0.25, b"", 2), b"ad"),
        (Damage("insert", 1.0, b"x", 0), b"abcdx"),
        (Damage("overwrite", 0.5, b"xy", 0), b"abxy"),
        (Damage("number", 0.0, b"\0\0", 0), b"\0\0cd"),
        (Damage("repeat", 0.5, b"", 2), b"abcdcdcdcd"),
    ],
)
def test_a_change_does_what_its_kind_says(change: Damage, result: bytes) -> None:
    assert change.apply(b"abcd") == result


def test_a_batch_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    first, second = (run_batch("schemas", 3, 8, tmp_path) for _ in range(2))
    assert first == second
    assert first.fault is None
    assert first.tried >= 8
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_ends_is_a_fault(tmp_path: Path) -> None:
    result = run_batch("no such target", 1, 1, tmp_path)
    assert result.fault is not None
    assert "process ended" in result.fault.error


def test_a_run_goes_on_with_its_seed_and_begins_anew_with_another(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "run" / "state.json")
    state = file.load(7)
    state.add("inputs", "pdf", 250)
    state.faults.append({"part": "inputs"})
    file.save(state)
    assert file.load(7) == state
    assert file.load(8).count("inputs", "pdf") == 0


def test_an_answer_that_was_shown_and_not_saved_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("EDGE_APP_HOME", str(home))
    answer = Answer(
        text="A red circle.", adapter=None, place="local", mode="auto", confidence=0.5, reason="", model="m",
        stop_reason="stop", tokens=TokenCounts(), timings=Timing(), tokens_per_second=None, session="",
    )  # fmt: skip
    store = SessionStore.open()
    saved = store.begin_turn(session=None, question="What is this?", images=(), system=None)
    store.finish_turn(saved, "complete", answer)
    store.close()

    assert _shown_answer_is_saved(home, KilledRun("A red circle.\n", ended=True)) == []
    assert _shown_answer_is_saved(home, KilledRun("A red ", ended=False)) == []
    assert _shown_answer_is_saved(home, KilledRun("", ended=False)) == []
    assert _shown_answer_is_saved(home, KilledRun("A red", ended=True)) != []
    assert _shown_answer_is_saved(home, KilledRun("A blue", ended=False)) != []


def test_a_table_with_a_cut_row_is_a_fault(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    assert _whole_table(table) == []
    table.write_text("file,page,total\na.png,1,2.50\n")
    assert _whole_table(table) == []
    table.write_text("file,page,total\na.png,1,2.50\nb.png")
    assert _whole_table(table) != []


def test_memory_that_grows_after_the_first_sixth_is_not_flat() -> None:
    warm = [100.0 + 20 * i for i in range(10)]
    assert MemoryCurve("serve", 1, 0, tuple(warm + [300.0] * 90)).is_flat
    assert not MemoryCurve("serve", 1, 0, tuple(warm + [300.0 + i for i in range(90)])).is_flat


def test_pages_are_drawn_once_for_a_run(tmp_path: Path) -> None:
    draw_pages(tmp_path / "pages")
    before = {page.name: page.read_bytes() for page in (tmp_path / "pages").iterdir()}
    draw_pages(tmp_path / "pages")
    assert before == {page.name: page.read_bytes() for page in (tmp_path / "pages").iterdir()}
    assert random.Random(1).choice(sorted(before)) in before
