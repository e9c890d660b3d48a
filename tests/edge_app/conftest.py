"""Fixtures for the tests of the app.

Every test has its own EDGE_APP_HOME, and no setting from the developer's environment except EDGE_APP_KERNELS, with
which the whole suite can be run on another kernel path.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

import PIL.Image
import pytest

from edge_app.storage.session_records import NewImage
from edge_app.storage.sessions import SessionStore
from edge_app.system import paths
from edge_app.system.offline import switch
from models.hub.store import ModelFiles


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.upper().startswith("EDGE_APP_") and name != "EDGE_APP_KERNELS":
            monkeypatch.delenv(name)
    monkeypatch.setenv("EDGE_APP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EDGE_APP_BUNDLED_ADAPTERS", "0")  # the tests of bundled adapters turn it on
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def online_afterwards() -> Iterator[None]:
    """Turns the offline switch off after each test, since it stays on for the life of a process."""
    yield
    switch.turn_off()


@pytest.fixture(scope="module")
def real_home(model_files: ModelFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of its own that shares the pulled model, and what was compiled for it, with earlier runs."""
    home = tmp_path_factory.mktemp("home")
    shared = model_files.directory.parent
    (home / "data").mkdir()
    (home / "data" / "models").symlink_to(shared)
    (shared.parent / "cache").mkdir(exist_ok=True)
    (home / "cache").symlink_to(shared.parent / "cache")
    return home


@pytest.fixture
def store(home: Path) -> Iterator[SessionStore]:
    assert paths.data_directory().is_relative_to(home)
    store = SessionStore.open()
    yield store
    store.close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: two images, one with a space in its name, a folder with one more, and a text.

    The images are BMP files in spite of their names, so that their sizes do not depend on an encoder's version.
    """
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    picture("#b02020", "#f0e0c0").save(folder / "cat.png", "BMP")
    picture("#2060b0", "#e0f0ff").save(folder / "red house.jpg", "BMP")
    picture("#208040", "#d0f0d0").save(folder / "trip" / "lake.png", "BMP")
    (folder / "notes.txt").write_text("no image")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    return folder


def picture(left: str, right: str) -> PIL.Image.Image:
    """An image with two halves of different colours, so that its orientation can be seen."""
    image = PIL.Image.new("RGB", (64, 48), left)
    image.paste(right, (32, 0, 64, 48))
    return image


def png(colour: str = "red", size: tuple[int, int] = (8, 6)) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def new_image(colour: str = "red", name: str = "photo.png") -> NewImage:
    data = png(colour)
    return NewImage(hashlib.sha256(data).hexdigest(), name, data)


def saved_image_names() -> set[str]:
    directory = paths.images_directory()
    return {file.name for file in directory.iterdir()} if directory.is_dir() else set()
