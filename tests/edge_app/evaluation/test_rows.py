"""Evaluation: rows in, predictions and a table out; a run that was stopped goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import pytest

from adapters.training.data import DEFAULT_TYPE
from edge_app import assistant as assistant_module
from edge_app import settings
from edge_app.assistant import Assistant
from edge_app.evaluation.rows import (
    EvaluationOptions,
    EvaluationRow,
    Prediction,
    evaluate,
    read_rows,
    score,
    weights_identity,
)
from edge_app.events import Progress
from edge_app.system import paths
from models.core.errors import UserError
from models.scoring.answer_rules import is_right
from tests.edge_app.cli.conftest import Run, run
from tests.edge_app.conftest import png
from tests.edge_app.fakes import FakeEngine

__all__ = ["run"]  # the fixture

OPTIONS = EvaluationOptions("edge-vlm-135m", "auto", "auto", False, False, 512)
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


def predict(
    assistant: Assistant, file: Path, out: Path | None, options: EvaluationOptions = OPTIONS
) -> list[object]:
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


def test_a_row_without_a_type_has_the_type_that_training_gives_it(tmp_path: Path) -> None:
    file = tmp_path / "birds.jsonl"
    file.write_text('{"image": "a.jpg", "question": "Which bird is this?", "answer": "a robin"}\n')
    (row,) = read_rows([file], None, None, None)
    assert row.type == DEFAULT_TYPE


def test_an_image_may_be_a_file_url(pets: Path, tmp_path: Path) -> None:
    image = tmp_path / "images" / "a.png"
    pets.write_text(json.dumps({**ROWS[0], "image": image.as_uri()}) + "\n")
    (row,) = read_rows([pets], None, None, None)
    assert (row.image, row.file) == (image.as_uri(), image)


def test_prediction_rows_have_the_documented_keys(assistant: Assistant, pets: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    predict(assistant, pets, out)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 4
    assert list(rows[0]) == [
        *("image", "question", "answer", "expected", "type", "correct", "adapter", "place", "confidence"),
        *("mean_logprob", "min_logprob", "timing_ms", "options", "evidence", "energy"),
        *("declined", "calibrated"),
    ]
    assert (rows[0]["image"], rows[0]["expected"], rows[0]["mean_logprob"]) == ("images/a.png", "cat", -0.5)
    assert len(rows[0]["evidence"]["logprobs"]) == 3
    assert (rows[0]["evidence"]["head"], rows[0]["evidence"]["has_image"]) == (0.9, True)


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
        predict(assistant, pets, out, EvaluationOptions("edge-vlm-135m", "auto", "auto", True, False, 512))
    out.write_text('{"image": 1}\n')
    with pytest.raises(UserError, match="line 1 is no prediction"):
        predict(assistant, pets, out)


@pytest.mark.parametrize("change", [{"system": "Shout."}, {"weights": "retrained"}, {"detail": "low"}])
def test_predictions_with_another_prompt_other_weights_or_detail_are_not_taken_over(
    assistant: Assistant, pets: Path, tmp_path: Path, change: dict[str, str]
) -> None:
    out = tmp_path / "out.jsonl"
    predict(assistant, pets, out)
    with pytest.raises(UserError, match="other options"):
        predict(assistant, pets, out, replace(OPTIONS, **change))


def test_predictions_of_a_version_that_named_no_detail_are_taken_over(
    assistant: Assistant, engine: FakeEngine, pets: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    predict(assistant, pets, out)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    for line in lines:
        del line["options"]["detail"]
    out.write_text("".join(json.dumps(line) + "\n" for line in lines))
    engine.calls.clear()
    predict(assistant, pets, out)
    assert not engine.calls


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
    predict(assistant, pets, None, EvaluationOptions("edge-vlm-135m", "auto", "auto", True, True, 512))
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


def answered(kind: str, expected: str, answer: str, adapter: str | None) -> tuple[EvaluationRow, Prediction]:
    row = EvaluationRow("bills", "a.png", Path("a.png"), "What is it?", expected, kind)
    given = is_right(kind, expected, answer)
    return row, Prediction(
        "a.png",
        row.question,
        answer,
        expected,
        kind,
        given,
        adapter,
        "local",
        0.9,
        -0.1,
        -0.2,
        {},
        {},
        None,
        {},
    )


def test_objects_are_counted_whole_and_by_field_beside_the_commonest_answer() -> None:
    one, other = '{"company": "ACME", "total": "1.00"}', '{"company": "ACME", "total": "2.00"}'
    results = [
        answered("json", one, one, "receipts"),
        answered("json", one, '{"company": "Acme.", "total": "9"}', "receipts"),
        answered("json", other, "{", None),
        answered("total", "2.00", "RM 2", "receipts"),
    ]
    lines = {line.type: line for line in score(results)}
    assert list(lines) == ["json", "json parses", "json company", "json total", "total"]
    assert [lines[name].correct for name in lines] == [1, 2, 2, 1, 1]
    assert [lines[name].majority for name in lines] == [2, 3, 3, 2, 1]
    assert lines["json"].adapters == {"receipts": 2, "none": 1}


def install(home: Path, name: str, content: str = "{}") -> None:
    folder = home / "data" / "adapters" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(content)


def test_predictions_belong_to_the_adapters_that_may_answer(home: Path) -> None:
    def identity(adapter: str) -> str:
        return weights_identity("edge-vlm-135m", adapter)

    assert identity("none") == identity("auto")
    for name in ("bills", "maps"):
        install(home, name)
    none, auto, bills, both = (identity(name) for name in ("none", "auto", "bills", "bills:0.5,maps"))
    assert len({none, auto, bills}) == 3
    install(home, "maps", '{"r": 8}')
    assert (identity("none"), identity("bills")) == (none, bills)
    assert identity("auto") != auto
    assert identity("bills:0.5,maps") != both
    with pytest.raises(UserError, match="no adapter named 'bill'"):
        identity("bill")


def test_the_text_of_documents_reaches_the_model_and_that_of_hidden_images_does_not(
    assistant: Assistant, engine: FakeEngine, tmp_path: Path
) -> None:
    picture = PIL.Image.new("RGB", (420, 300), "white")
    for row, text in enumerate(("ACME TRADING", "Milk 3.10", "Bread 2.40", "Rice 7.25", "TOTAL 12.75")):
        font = PIL.ImageFont.load_default(size=24)
        PIL.ImageDraw.Draw(picture).text((20, 12 + 50 * row), text, "black", font)
    picture.save(tmp_path / "bill.png")
    (tmp_path / "photo.png").write_bytes(png("red"))
    file = tmp_path / "bills.jsonl"
    rows = [
        {"image": f"{name}.png", "question": "?", "answer": "x", "type": "t"} for name in ("bill", "photo")
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    predict(assistant, file, None)
    predict(assistant, file, None, replace(OPTIONS, blind=True))
    (read,) = engine.calls[0].texts.values()
    assert read.endswith("TOTAL 12.75")
    assert [call.texts for call in engine.calls[1:]] == [{}, {}, {}]


def test_the_command_prints_a_table_and_json(
    run: Run, engine: FakeEngine, pets: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setattr(assistant_module, "Assistant", partial(Assistant, load=engine.load))
    outcome = run("eval", str(pets), "--split", "val")
    assert outcome.code == 0, outcome.stderr
    heading, *lines = outcome.stdout.splitlines()
    assert heading.split() == ["SET", "TYPE", "ROWS", "CORRECT", "MAJORITY", "(ALWAYS)", "ADAPTER"]
    assert lines[0].split() == ["pets", "main_object", "2", "50.0%", "50.0%", "cat", "none"]
    printed = json.loads(run("eval", str(pets), "--json").stdout)
    assert printed["scores"][0]["accuracy"] == 0.5
    assert not (home / "data" / "sessions.db").exists()
    assert {call.sampling.temperature for call in engine.calls} == {0.0}
