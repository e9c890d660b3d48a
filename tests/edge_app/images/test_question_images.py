"""Paths of images in questions: what is attached, what is an error, and what the model reads."""

from __future__ import annotations

from pathlib import Path

import PIL.Image
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edge_app.images.image_paths import quoted_mention
from edge_app.images.question_images import LONGEST, named_images, read_arguments, read_question
from models.core.errors import UserError


def named(text: str) -> list[str]:
    return [str(image.file) for image in named_images(text)]


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("cat.png", "cat.png"),
        ("./cat.png", "cat.png"),
        ("@cat.png", "cat.png"),
        ("@./cat.png", "cat.png"),
        ('"cat.png"', "cat.png"),
        ("'cat.png'", "cat.png"),
        ("“cat.png”", "cat.png"),
        ("(cat.png)", "cat.png"),
        ("{0}/cat.png", "cat.png"),
        ("~/photos/cat.png", "cat.png"),
        ("@~/photos/cat.png", "cat.png"),
        ("../photos/trip/lake.png", "lake.png"),
        ("file://{0}/cat.png", "cat.png"),
        ('"red house.jpg"', "red house.jpg"),
        ("'red house.jpg'", "red house.jpg"),
        ('@"red house.jpg"', "red house.jpg"),
        ("@'{0}/red house.jpg'", "red house.jpg"),
        ("red\\ house.jpg", "red house.jpg"),
        ("file://{0}/red%20house.jpg", "red house.jpg"),
        ("red house.jpg", "red house.jpg"),
        ("{0}/red house.jpg", "red house.jpg"),
    ],
)
@pytest.mark.parametrize("end", ["?", ", please", ".", "!?", ": tell me", " ?", "…"])
def test_an_image_is_found_however_its_path_is_written(folder: Path, form: str, name: str, end: str) -> None:
    images = read_question(f"Say what is in {form.format(folder)}{end}").images
    assert [image.name for image in images] == [name]
    assert all(image.is_file() for image in images)


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("What is in cat.png?", "What is in the image?"),
        ("What is in @cat.png?", "What is in the image?"),
        ("What is in the photo cat.png?", "What is in the photo?"),
        ("What is in the picture @cat.png and why?", "What is in the picture and why?"),
        ("What is in this cat.png?", "What is in this image?"),
        ("What is cat.png's colour?", "What is the image's colour?"),
        ("cat.png what is this?", "what is this?"),
        ("cat.png: what is this?", "what is this?"),
        ("@cat.png - what is this?", "what is this?"),
        ("What is this? @cat.png", "What is this?"),
        ("Describe: ./cat.png", "Describe:"),
        ("cat.png shows what?", "The image shows what?"),
        ("Is @cat.png like @trip/lake.png?", "Is image 1 like image 2?"),
        ("cat.png and trip/lake.png: which is bigger?", "Image 1 and image 2: which is bigger?"),
        ("@cat.png @trip/lake.png Which is bigger?", "Which is bigger?"),
        ("Compare cat.png with itself, cat.png.", "Compare the image with itself, the image."),
        ("Read the total\nin cat.png\nand the date", "Read the total\nin the image\nand the date"),
        ("no  path", "no  path"),
    ],
)
def test_the_model_reads_words_instead_of_paths(folder: Path, text: str, question: str) -> None:
    del folder
    assert read_question(text).text == question


def test_images_are_counted_on_from_those_attached_already_and_attached_once(folder: Path) -> None:
    read = read_question("Is it like @cat.png?", [folder / "trip" / "lake.png"])
    assert (read.text, [image.name for image in read.images]) == ("Is it like image 2?", ["cat.png"])
    again = read_question("Is it like @cat.png?", [folder / "cat.png"])
    assert (again.text, again.images) == ("Is it like the image?", ())


@pytest.mark.parametrize(
    "question",
    [
        "Write a loop that renames *.jpeg to *.jpg",
        "What does photo.jpg mean?",
        "Is PNG or .jpg/.png better for a logo?",
        "How do I list ./images/*.png in bash?",
        'Why does <img src="a/logo.png"> not load?',
        "What does \\w+\\.jpg match?",
        "sed 's/.png$/.jpg/' does what?",
        "What does ./notes.txt say?",
        "Ask @alice and/or bob@home.org about ~5 photos.",
        "What is in trip/?",
        "1/2 + 3/4 = ?",
    ],
)
def test_other_words_stay_a_question(folder: Path, question: str) -> None:
    del folder
    read = read_question(question)
    assert (read.text, read.images) == (question, ())


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("What is in ./gone.png?", "gone.png"),
        ("What is in @gone.png?", "gone.png"),
        ("What is in /nowhere/gone.png?", "/nowhere/gone.png"),
        ("What is in 'trip/gone one.png'?", "trip/gone one.png"),
        ("What is in file:///nowhere/gone.png?", "/nowhere/gone.png"),
        (r"What is in C:\photos\gone.png?", r"C:\photos\gone.png"),
        ("What is in ./gone.heic?", "gone.heic"),
    ],
)
def test_a_path_that_is_not_there_is_an_image_all_the_same(folder: Path, text: str, path: str) -> None:
    """Reading it fails before anything is answered."""
    del folder
    assert named(text) == [path]


def test_a_missing_path_in_the_home_folder_is_found(folder: Path) -> None:
    assert named("What is in ~/gone.png?") == [str(folder.parent / "gone.png")]


def test_a_folder_and_a_text_with_the_name_of_an_image_are_read_as_one(folder: Path) -> None:
    (folder / "pages.png").mkdir()
    (folder / "text.jpg").write_text("no image")
    assert named("What is in pages.png and text.jpg?") == ["pages.png", "text.jpg"]


def test_an_image_without_a_suffix_needs_a_separator(folder: Path) -> None:
    PIL.Image.new("RGB", (4, 4)).save(folder / "upload", "PNG")
    assert named("What is in ./upload?") == ["upload"]
    assert named("Should I upload it?") == []


def test_an_image_on_the_web_is_not_fetched_and_that_is_said(folder: Path) -> None:
    del folder
    with pytest.raises(UserError, match="address on the web"):
        read_question("What is in https://example.org/cat.jpg?")


def test_in_a_long_text_only_mentions_count(folder: Path) -> None:
    del folder
    long = "word " * (LONGEST // 5)
    assert named(f"{long} ./gone.png cat.png") == []
    assert named(f"{long} @cat.png") == ["cat.png"]


@pytest.mark.parametrize(
    ("arguments", "question", "images"),
    [
        (["What is this?", "cat.png"], "What is this?", ["cat.png"]),
        (["Describe this", "cat.png", "trip/lake.png"], "Describe this", ["cat.png", "lake.png"]),
        (["cat.png", "What is this?"], "What is this?", ["cat.png"]),
        (["red house.jpg", "What is this?"], "What is this?", ["red house.jpg"]),
        (["What", "is", "in", "cat.png"], "What is in the image", ["cat.png"]),
        (["What", "is", "in", "./cat.png?"], "What is in the image?", ["cat.png"]),
        (["What is in cat.png?", "trip/lake.png"], "What is in the image?", ["cat.png", "lake.png"]),
        (["cat.png", "cat.png", "What?"], "What?", ["cat.png"]),
        (["What", "is", "photo.jpg?"], "What is photo.jpg?", []),
        (["cat.png"], "", ["cat.png"]),
        ([], "", []),
    ],
)
def test_an_argument_that_names_an_image_is_no_part_of_the_question(
    folder: Path, arguments: list[str], question: str, images: list[str]
) -> None:
    del folder
    read = read_arguments(arguments)
    assert (read.text, [image.name for image in read.images]) == (question, images)


def test_an_argument_is_not_attached_beside_an_option_with_the_same_image(folder: Path) -> None:
    read = read_arguments(["What is this?", "cat.png"], [folder / "cat.png"])
    assert (read.text, read.images) == ("What is this?", ())


@given(st.text())
@example("~\x00.png/")
@example("file://[/a.png")
@example("@")
@example("'" * 50)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_can_be_a_question(folder: Path, text: str) -> None:
    del folder
    try:
        read = read_question(text)
    except UserError as error:
        assert str(error).isprintable()
        return
    assert read.images or read.text == text


@given(st.from_regex(r"[a-z ]{1,12}\.png", fullmatch=True).filter(lambda s: s == s.strip()))
def test_a_completed_mention_is_read_back_as_the_same_path(name: str) -> None:
    assert named(quoted_mention(name)) == [name]
