"""Training data are refused with the number of the line; splits never share an image and never change."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from adapters.training.data import (
    LEAST_IMAGES,
    MAX_ANSWER,
    TRAIN,
    VALIDATION,
    of_split,
    read_training_rows,
    set_aside,
)
from adapters.training.images.features import load_training_image
from models.core.errors import UserError
from tests.models.documents.made_pdf import Sheet, pdf_file


def make_images(folder: Path, count: int) -> list[str]:
    for index in range(count):
        PIL.Image.new("RGB", (8, 8), (index, 0, 0)).save(folder / f"{index}.png")
    return [f"{index}.png" for index in range(count)]


def write(folder: Path, rows: list[Any]) -> Path:
    file = folder / "birds.jsonl"
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return file


def good_rows(folder: Path, count: int = 20) -> list[Any]:
    return [
        {"image": name, "question": "Which bird?", "answer": f"bird {index % 3}"}
        for index, name in enumerate(make_images(folder, count))
    ]


def test_rows_without_splits_are_split_by_image_and_always_alike(tmp_path: Path) -> None:
    rows = good_rows(tmp_path)
    rows += [{**row, "question": "Is it big?", "answer": "no", "type": "size"} for row in rows]
    first = read_training_rows(write(tmp_path, rows))
    second = read_training_rows(write(tmp_path, rows[::-1]))
    assert {row.digest: row.split for row in first} == {row.digest: row.split for row in second}
    assert len({row.digest for row in of_split(first, VALIDATION)}) == 4
    assert len(of_split(first, TRAIN)) == 32
    assert {row.type for row in first} == {"answer", "size"}
    assert first[0].set == "birds"


def test_an_image_may_be_a_file_url(tmp_path: Path) -> None:
    rows = good_rows(tmp_path)
    by_url = [{**row, "image": (tmp_path / row["image"]).as_uri()} for row in rows]
    assert [row.digest for row in read_training_rows(write(tmp_path, by_url))] == [
        row.digest for row in read_training_rows(write(tmp_path, rows))
    ]


def test_a_line_separator_inside_a_text_does_not_end_its_row(tmp_path: Path) -> None:
    rows = good_rows(tmp_path)
    rows[3]["answer"] = "a\u2028b\u2029c\x85d"
    written = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "birds.jsonl").write_bytes(written.encode())
    read = read_training_rows(tmp_path / "birds.jsonl")
    assert len(read) == len(rows)
    assert [row.answer for row in read if row.image.name == rows[3]["image"]] == [rows[3]["answer"]]


def test_held_out_images_are_held_out_with_all_their_questions(tmp_path: Path) -> None:
    written = good_rows(tmp_path, 40)
    rows = read_training_rows(
        write(tmp_path, written + [{**row, "question": "Two?", "answer": "b"} for row in written])
    )
    learnt, held = set_aside(rows, 0.1, seed=3)
    assert len({row.digest for row in held}) == 4
    assert not {row.digest for row in learnt} & {row.digest for row in held}
    assert len(learnt) + len(held) == len(rows)
    assert set_aside(rows[::-1], 0.1, seed=3)[1] == held[::-1]
    assert set_aside(rows, 0.1, seed=4)[1] != held


def test_the_pages_of_a_document_are_images_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "bills.pdf").write_bytes(pdf_file(*(Sheet([(60, 780, f"Page {n}")]) for n in range(8))))
    written = [{"image": f"bills.pdf#{n}", "question": "Which?", "answer": str(n)} for n in range(1, 9)]
    rows = read_training_rows(write(tmp_path, good_rows(tmp_path) + written))
    pages = [row for row in rows if row.image.name.startswith("bills")]
    assert len({row.digest for row in pages}) == 8
    assert [load_training_image(row).notes for row in pages[:2]] == [("page 1 of 8",), ("page 2 of 8",)]
    assert load_training_image(pages[0]).digest == pages[0].digest


def test_labels_are_kept(tmp_path: Path) -> None:
    rows = good_rows(tmp_path)
    rows[0]["labels"] = {"kind": "finch"}
    assert read_training_rows(write(tmp_path, rows))[0].labels == {"kind": "finch"}


def change(**fields: Any) -> Callable[[list[Any], Path], None]:
    def apply(rows: list[Any], _: Path) -> None:
        rows[6] = {key: value for key, value in {**rows[6], **fields}.items() if value is not None}

    return apply


def line(text: str) -> Callable[[list[Any], Path], None]:
    def apply(rows: list[Any], _: Path) -> None:
        rows[6] = text

    return apply


def leak(rows: list[Any], _: Path) -> None:
    for row in rows:
        row["split"] = "train"
    rows[6] = {**rows[0], "split": "val", "question": "Another?"}


def leak_by_content(rows: list[Any], folder: Path) -> None:
    for row in rows:
        row["split"] = "train"
    (folder / "copy.png").write_bytes((folder / "0.png").read_bytes())
    rows[6] = {**rows[0], "image": "copy.png", "split": "val"}


def contradict(rows: list[Any], _: Path) -> None:
    rows[6] = {**rows[0], "answer": "another bird"}


WRONG: dict[str, Callable[[list[Any], Path], None]] = {
    "no JSON": line("{image"),
    "a list": line("[1, 2]"),
    "no image": change(image=None),
    "an image that is not there": change(image="nowhere.png"),
    "a folder for an image": change(image="."),
    "a NUL in an image's path": change(image="a\0.png"),
    "half of a character in an image's path": change(image="a\ud800.png"),
    "no question": change(question="  "),
    "no answer": change(answer=None),
    "an answer that is a number": change(answer=4),
    "an endless answer": change(answer="x" * (MAX_ANSWER + 1)),
    "a type that is no text": change(type=3),
    "an unknown split": change(split="test"),
    "a split here only": change(split="train"),
    "labels that are a list": change(labels=["finch"]),
    "a label that is a number": change(labels={"kind": 3}),
    "an image in both splits": leak,
    "the same image under two names in both splits": leak_by_content,
    "two answers to one question": contradict,
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_refused_with_its_line(case: str, tmp_path: Path) -> None:
    rows = good_rows(tmp_path)
    WRONG[case](rows, tmp_path)
    with pytest.raises(
        UserError, match=r"birds\.jsonl, line (7|1) " if case == "a split here only" else r"line 7"
    ):
        read_training_rows(write(tmp_path, rows))


def test_too_few_images_no_rows_and_no_file_are_refused(tmp_path: Path) -> None:
    few = good_rows(tmp_path, LEAST_IMAGES)  # a fifth of which is for validation
    with pytest.raises(UserError, match="images to learn from"):
        read_training_rows(write(tmp_path, few))
    with pytest.raises(UserError, match="no rows"):
        read_training_rows(write(tmp_path, ["", "  "]))
    with pytest.raises(UserError, match="cannot be read"):
        read_training_rows(tmp_path / "nothing.jsonl")
