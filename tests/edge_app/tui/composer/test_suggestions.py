"""What is suggested while typing."""

from __future__ import annotations

from pathlib import Path

from edge_app.tui.composer.suggestions import Suggestion, suggestions


def suggest(line: str, first_line: bool = True) -> list[Suggestion]:
    return suggestions(
        line,
        len(line),
        first_line=first_line,
        adapters=lambda: ("medical", "receipts"),
        models=lambda: ("edge-vlm-135m", "smolvlm-256m"),
    )


def labels(line: str) -> list[str]:
    return [suggestion.label for suggestion in suggest(line)]


def test_images_come_first_then_folders_then_the_rest(folder: Path) -> None:
    (folder / ".hidden.png").write_bytes(b"")
    assert labels("look at @") == ["cat.png", "red house.jpg", "trip/", "notes.txt"]
    assert labels("@.h") == [".hidden.png"]


def test_capitals_do_not_matter_and_folders_are_entered(folder: Path) -> None:
    del folder
    assert labels("@CA") == ["cat.png"]
    assert labels("@trip/") == ["lake.png"]
    assert [s.text for s in suggest("@~/photos/tr")] == ["@~/photos/trip/"]


def test_names_with_spaces_are_quoted(folder: Path) -> None:
    (folder / "my trip").mkdir()
    assert [s.text for s in suggest("@red")] == ['@"red house.jpg"']
    assert [s.text for s in suggest('@"my')] == ['@"my trip/']
    assert suggest("@red")[0].image == Path("red house.jpg")


def test_a_folder_that_is_not_there_suggests_nothing(folder: Path) -> None:
    del folder
    assert labels("@nowhere/x") == []
    assert labels("@~nobody-of-this-name/x") == []


def test_commands_are_suggested_at_the_beginning_of_the_first_line() -> None:
    assert labels("/he") == ["/help"]
    assert labels("/c") == ["/clear", "/cloud", "/copy"]
    assert labels("say /he") == []
    assert suggest("/he", first_line=False) == []


def test_arguments_of_commands_are_suggested(folder: Path) -> None:
    del folder
    assert labels("/adapter ") == ["auto", "none", "medical", "receipts"]
    assert labels("/adapter R") == ["receipts"]
    assert labels("/adapter receipts:0.5,") == ["medical"]
    assert [(s.text, s.start) for s in suggest("/adapter medical,rec")] == [("receipts", 17)]
    assert [(s.text, s.start) for s in suggest("/adapter medical, rec")] == [("receipts", 18)]
    assert labels("/mode q") == ["quality"]
    assert labels("/mode quality") == []
    assert labels("/model s") == ["smolvlm-256m"]
    assert labels("/detail ") == ["auto", "low", "high"]
    assert labels("/image red") == ["red house.jpg"]
    assert labels("/help ") == []
