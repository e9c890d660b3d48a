"""Paths of images in typed and pasted text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_app.tui.composer.image_paths import (
    mention_before,
    mentions,
    pasted_images,
    quoted_mention,
    shown,
    typed_path,
    without_mentions,
)


def names(paths: tuple[Path, ...]) -> list[str]:
    return [path.name for path in paths]


@pytest.mark.parametrize(
    "form",
    [
        "{0}/red house.jpg",
        "'{0}/red house.jpg'",
        '"{0}/red house.jpg" ',
        r"{0}/red\ house.jpg",
        "file://{0}/red%20house.jpg",
        "file://localhost{0}/red%20house.jpg\r\n",
        "~/photos/red house.jpg",
        "  red house.jpg\n",
    ],
)
def test_a_dropped_file_is_recognised_however_its_path_is_written(folder: Path, form: str) -> None:
    assert names(pasted_images(form.format(folder))) == ["red house.jpg"]


@pytest.mark.parametrize(
    "form", ["'{0}/cat.png' '{0}/trip/lake.png' ", "{0}/cat.png\n{0}/trip/lake.png", "cat.png trip/lake.png"]
)
def test_several_dropped_files_are_recognised(folder: Path, form: str) -> None:
    assert names(pasted_images(form.format(folder))) == ["cat.png", "lake.png"]


@pytest.mark.parametrize(
    "text",
    [
        "What is cat.png?",
        "missing.png",
        "notes.txt",
        "",
        " \n",
        "it's",
        "cat.png notes.txt",
        "a\0b.png",
        "x" * 30_000,
    ],
)
def test_other_pasted_text_stays_text(folder: Path, text: str) -> None:
    del folder
    assert pasted_images(text) == ()


@given(st.text())
@example("~\x00")
def test_any_text_can_be_asked_about(text: str) -> None:
    pasted_images(text)
    mentions(text)
    typed_path(text)
    for column in range(len(text) + 1):
        mention_before(text, column)


@pytest.mark.parametrize(
    "form", ["red house.jpg", "'red house.jpg'", r"red\ house.jpg", "~/photos/red house.jpg"]
)
def test_the_image_command_understands_every_form(folder: Path, form: str) -> None:
    assert typed_path(form) in (Path("red house.jpg"), folder / "red house.jpg")


def test_the_mention_at_the_cursor_is_found(folder: Path) -> None:
    del folder
    line = "what is @trip/la and @cat.png"
    found = mention_before(line, 16)
    assert found is not None
    assert (found.start, found.end, found.path) == (8, 16, "trip/la")
    assert mention_before(line, 18) is None
    assert mention_before("mail me@home", 12) is None
    quoted = mention_before('see @"red ho', 12)
    assert quoted is not None
    assert quoted.path == "red ho"


def test_mentions_are_files_and_lose_the_punctuation_after_them(folder: Path) -> None:
    del folder
    found = mentions('Is @cat.png, or @"red house.jpg" or @alice or @missing.png?')
    assert [mention.path for mention in found] == ["cat.png", "red house.jpg", "missing.png"]


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("What is in @cat.png?", "What is in the image?"),
        ("@cat.png what is this?", "what is this?"),
        ("What is this? @cat.png", "What is this?"),
        ("Is @cat.png like @trip/lake.png?", "Is image 1 like image 2?"),
        ("@cat.png @trip/lake.png Which is bigger?", "Which is bigger?"),
        ("no mention", "no mention"),
    ],
)
def test_the_model_reads_no_paths(folder: Path, text: str, question: str) -> None:
    del folder
    assert without_mentions(text, mentions(text)) == question


def test_mentions_count_on_from_what_is_attached_already(folder: Path) -> None:
    del folder
    text = "Is it like @cat.png?"
    assert without_mentions(text, mentions(text), before=1) == "Is it like image 2?"


@given(st.from_regex(r"[a-z ]{1,12}\.png", fullmatch=True).filter(lambda s: s == s.strip()))
def test_a_completed_mention_is_read_back_as_the_same_path(name: str) -> None:
    assert [mention.path for mention in mentions(quoted_mention(name))] == [name]


def test_paths_are_shown_short(folder: Path) -> None:
    assert shown(folder / "trip") == "trip"
    assert shown(folder.parent / "other") == "~/other"
