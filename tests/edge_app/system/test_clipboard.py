"""The clipboard, read by programs in the place of wl-paste and xclip that say what the real ones say."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from edge_app.system import clipboard
from edge_app.system.clipboard import clipboard_images
from models.core.errors import UserError
from tests.edge_app.conftest import png

pytestmark = pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="these have no such programs")


@pytest.fixture(autouse=True)
def no_display(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WAYLAND_DISPLAY", "DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")


def program(folder: Path, name: str, types: str, code: int = 0) -> None:
    """A clipboard program that offers these types and prints a PNG for any other question."""
    image = folder / "clip.png"
    image.write_bytes(png())
    script = folder / name
    script.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *list-types*|*TARGETS*) printf "{types}"; exit {code};; '
        f"*image/png*) cat '{image}';; *) exit 1;; esac\n"
    )
    script.chmod(0o755)


@pytest.mark.parametrize(("name", "display"), [("wl-paste", "WAYLAND_DISPLAY"), ("xclip", "DISPLAY")])
def test_an_image_is_read_in_a_type_that_the_clipboard_offers(
    name: str, display: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(display, ":0")
    program(tmp_path, name, "TARGETS\\ntext/html\\nimage/png\\n")
    assert clipboard_images() == png()


@pytest.mark.parametrize(("types", "code"), [("text/plain\\nUTF8_STRING\\n", 0), ("", 1)])
def test_text_or_nothing_is_no_image(
    types: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    program(tmp_path, "wl-paste", types, code)
    assert clipboard_images() is None


def test_without_a_program_or_a_screen_one_sentence_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="give the image's path"):
        clipboard_images()
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="neither is installed"):
        clipboard_images()


def test_a_program_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clipboard, "SECONDS", 0.1)
    monkeypatch.setenv("DISPLAY", ":0")
    hung = tmp_path / "xclip"
    hung.write_text("#!/bin/sh\nexec sleep 60\n")
    hung.chmod(0o755)
    with pytest.raises(UserError, match="did not answer"):
        clipboard_images()
