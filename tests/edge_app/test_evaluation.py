"""Evaluation: rows in, predictions and a table out; a run that was stopped goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from edge_app import assistant as assistant_module
from edge_app import paths, settings
from edge_app.assistant import Assistant
from edge_app.evaluation import Options, evaluate, read_rows, score
from edge_app.events import Progress
from models.errors import UserError
from models.scoring import is_right
from tests.edge_app.conftest import png
from tests.edge_app.fakes import FakeEngine
from tests.edge_app.test_cli import Run, run

__all__ = ["run"]  # the fixture

OPTIONS = Options("edge-vlm-135m", "auto", "auto", False, False, 512)
ROWS = [
    {
        "image": "images/a.png",
        "question": "What is it?",
        "answer": "cat",
        "type": "main_object",
        "split": "val",
    },
    {
        "image": "images/b.png",
        "question": "What is it?",
        "answer": "dog",
        "type": "main_object",
        "split": "val",
    },
    {"image": "images/a.png", "question": "A cat?", "answer": "A cat!", "type": "yes_no", "split": "val"},
    {
        "image": "images/b.png",
        "question": "A dog?",
        "answer": "no",
        "type": "yes_no",
        "split": "train",
        "more": 1,
    },
]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def assistant(engine: FakeEngine) -> Iterator[Assistant]:
    assistant = Assistant(settings.load(paths.config_file()), None, engine.load)
    yield assistant
    assistant.close()


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for name, colour in (("a", "red"), ("b", "blue")):
        (tmp_path / "images" / f"{name}.png").write_bytes(png(colour))
    file = tmp_path / "pets.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in ROWS) + "\n")
    return file


def predict(assistant: Assistant, file: Path, out: Path | None, options: Options = OPTIONS) -> list[object]:
    rows = read_rows([file], None, None, None)
    return [item for item in evaluate(assistant, rows, options, out) if not isinstance(item, Progress)]


def test_every_row_is_answered_scored_and_counted(assistant: Assistant, pets: Path) -> None:
    results = predict(assistant, pets, None)
    assert [p.correct for _, p in results] == [True, False, True, False]  # type: ignore[misc]
    objects, yes_no = score(results)  # type: ignore[arg-type]
    assert (objects.set, objects.type, objects.rows, objects.correct, objects.majority) == (
        "pets",
        "main_object",
        2,
        1,
        1,
    )
    assert (yes_no.rows, yes_no.correct, yes_no.majority_answer) == (2, 1, "A cat!")


def test_prediction_rows_have_the_documented_keys(assistant: Assistant, pets: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    predict(assistant, pets, out)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 4
    assert list(rows[0]) == [
        *("image", "question", "answer", "expected", "type", "correct", "adapter", "place", "confidence"),
        *("mean_logprob", "min_logprob", "timing_ms", "options"),
    ]
    assert (rows[0]["image"], rows[0]["expected"], rows[0]["mean_logprob"]) == ("images/a.png", "cat", -0.5)


def test_a_stopped_run_goes_on_and_repeats_nothing(
    assistant: Assistant, engine: FakeEngine, pets: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    predict(assistant, pets, out)
    whole = out.read_text()
    lines = whole.splitlines(keepends=True)
    out.write_text("".join(lines[:2]) + lines[2][:30])  # as a crash leaves it
    engine.calls.clear()
    results = predict(assistant, pets, out)
    assert len(engine.calls) == 2
    assert len(results) == len(out.read_text().splitlines()) == 4
    assert [json.loads(a)["correct"] for a in whole.splitlines()] == [p.correct for _, p in results]  # type: ignore[misc]


def test_predictions_made_with_other_options_are_not_taken_over(
    assistant: Assistant, pets: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    predict(assistant, pets, out)
    with pytest.raises(UserError, match="other options"):
        predict(assistant, pets, out, Options("edge-vlm-135m", "auto", "auto", True, False, 512))
    out.write_text('{"image": 1}\n')
    with pytest.raises(UserError, match="line 1 is no prediction"):
        predict(assistant, pets, out)


@pytest.mark.parametrize("change", [{"system": "Shout."}, {"weights": "retrained"}])
def test_predictions_of_other_weights_or_another_system_prompt_are_not_taken_over(
    assistant: Assistant, pets: Path, tmp_path: Path, change: dict[str, str]
) -> None:
    out = tmp_path / "out.jsonl"
    predict(assistant, pets, out)
    with pytest.raises(UserError, match="other options"):
        predict(assistant, pets, out, replace(OPTIONS, **change))


def test_a_row_whose_known_answer_changed_is_asked_again(
    assistant: Assistant, engine: FakeEngine, pets: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    predict(assistant, pets, out)
    pets.write_text(pets.read_text().replace('"dog"', '"cat"'))
    engine.calls.clear()
    assert [p.correct for _, p in predict(assistant, pets, out)] == [True, True, True, False]  # type: ignore[misc]
    assert len(engine.calls) == 1


def test_blind_and_no_words_reach_the_engine(assistant: Assistant, engine: FakeEngine, pets: Path) -> None:
    predict(assistant, pets, None, Options("edge-vlm-135m", "auto", "auto", True, True, 512))
    assert {(call.see_images, call.use_words) for call in engine.calls} == {(False, False)}
    assert engine.encoded == []


def test_splits_limits_and_image_folders(pets: Path, tmp_path: Path) -> None:
    assert len(read_rows([pets], None, "val", None)) == 3
    assert [row.question for row in read_rows([pets, pets], None, "val", 1)] == ["What is it?"] * 2
    assert (
        read_rows([pets], tmp_path / "elsewhere", None, 1)[0].file
        == tmp_path / "elsewhere" / "images" / "a.png"
    )
    with pytest.raises(UserError, match="split 'test'"):
        read_rows([pets], None, "test", None)


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"image": "a"}', '{"image": 1, "question": "", "answer": "", "type": ""}']
)
def test_bad_rows_are_named_by_line(pets: Path, line: str) -> None:
    pets.write_text(pets.read_text() + line + "\n")
    with pytest.raises(UserError, match=r"pets\.jsonl, line 5"):
        read_rows([pets], None, None, None)


def test_a_missing_image_names_its_row(assistant: Assistant, pets: Path) -> None:
    (pets.parent / "images" / "b.png").unlink()
    with pytest.raises(UserError, match=r"pets, images/b\.png"):
        predict(assistant, pets, None)


@pytest.mark.parametrize(
    ("kind", "expected", "answer", "right"),
    [
        ("yes_no", "yes", "Yes.", True),
        ("yes_no", "yes", "yes, it is", False),
        ("total", "12.50", "12.50", True),
        ("total", "12.50", "1250", False),
        ("main_object", "tench", "This is a tench.", True),
        ("main_object", "tench", "This is not a tench.", False),
        ("land_use", "river or lake", "River or lake", True),
    ],
)
def test_what_counts_as_right(kind: str, expected: str, answer: str, right: bool) -> None:
    assert is_right(kind, expected, answer) is right


def test_the_command_prints_a_table_and_json(
    run: Run, engine: FakeEngine, pets: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setattr(assistant_module, "Assistant", partial(Assistant, load=engine.load))
    outcome = run("eval", str(pets), "--split", "val")
    assert outcome.code == 0, outcome.stderr
    heading, *lines = outcome.stdout.splitlines()
    assert heading.split() == ["SET", "TYPE", "ROWS", "CORRECT", "MAJORITY", "(ALWAYS)"]
    assert lines[0].split() == ["pets", "main_object", "2", "50.0%", "50.0%", "cat"]
    printed = json.loads(run("eval", str(pets), "--json").stdout)
    assert printed["scores"][0]["accuracy"] == 0.5
    assert not (home / "data" / "sessions.db").exists()
    assert {call.sampling.temperature for call in engine.calls} == {0.0}
