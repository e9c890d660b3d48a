"""Paths of images in typed and pasted text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_app.images.image_paths import (
    mention_before,
    pasted_images,
    shown,
    typed_path,
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


def test_paths_are_shown_short(folder: Path) -> None:
    assert shown(folder / "trip") == "trip"
    assert shown(folder.parent / "other") == "~/other"
