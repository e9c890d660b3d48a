"""Images of requests come from data: URLs and from one folder, and from nowhere else."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from urllib.parse import quote

import PIL.Image
import pytest

from edge_app.images.image_sources import ImageBytes
from edge_app.serve.errors import ApiError
from edge_app.serve.json_fields import JsonFields
from edge_app.serve.request_images import RequestImages
from models.core.types import Image
from tests.edge_app.conftest import png


def read(url: str, folder: Path | None = None) -> bytes:
    image = RequestImages(folder).read(JsonFields({"url": url}), "url")
    assert isinstance(image, ImageBytes)
    return image.data


def refusal(url: str, folder: Path | None = None) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read(url, folder)
    assert caught.value.param == "url" and caught.value.status == 400
    return caught.value


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """The folder of the images, with one in it, one below, and a secret beside it."""
    shared = tmp_path / "shared"
    (shared / "below").mkdir(parents=True)
    (shared / "a.png").write_bytes(png("red"))
    (shared / "below" / "a b.png").write_bytes(png("blue"))
    (tmp_path / "secret.png").write_bytes(png("green"))
    (tmp_path / "shared-too").mkdir()
    (tmp_path / "shared-too" / "x.png").write_bytes(png("green"))
    return shared


CONTENT = base64.b64encode(png()).decode()


@pytest.mark.parametrize(
    "url",
    [
        f"data:image/png;base64,{CONTENT}",
        f"DATA:;BASE64,{CONTENT}",
        f"data:image/png;name=x.png;base64,{quote(CONTENT, safe='')}",
        f"  data:image/png;base64,{CONTENT.rstrip('=')}\n",
        "data:image/png;base64," + "\n".join(CONTENT[i : i + 76] for i in range(0, len(CONTENT), 76)),
        "data:image/png," + quote(png()),
    ],
)
def test_a_data_url_is_its_bytes(url: str) -> None:
    assert read(url) == png()


@pytest.mark.parametrize("url", ["data:image/png;base64", "data:image/png;base64,!!", "", "  "])
def test_a_data_url_without_bytes_is_refused(url: str) -> None:
    refusal(url)


@pytest.mark.parametrize("url", ["https://example.com/cat.png", "HTTP://example.com"])
def test_the_web_is_not_asked(url: str) -> None:
    error = refusal(url)
    assert url in error.message and "download the image first" in error.message


@pytest.mark.parametrize("url", ["ftp://x/y.png", "javascript:alert(1)", "blob:x"])
def test_other_schemes_are_refused(url: str) -> None:
    assert "not supported" in refusal(url).message


@pytest.mark.parametrize("path", ["a.png", "./a.png", "below/../a.png", "file:a.png"])
def test_a_path_in_the_folder_is_read(shared: Path, path: str) -> None:
    assert read(path, shared) == png("red")


def test_absolute_paths_and_escapes_in_the_folder_are_read(shared: Path) -> None:
    assert read(str(shared / "a.png"), shared) == png("red")
    assert read(f"file://{quote(str(shared / 'below' / 'a b.png'))}", shared) == png("blue")


@pytest.mark.parametrize(
    "path",
    [
        "../secret.png",
        "below/../../secret.png",
        "file:../secret.png",
        "file:%2e%2e/secret.png",
        "../shared-too/x.png",
        "/etc/passwd",
        "file:///etc/passwd",
        "nothing.png",
        "below",
        ".",
        "a.png/../../secret.png",
        "a.png/x",
        "x\0.png",
        "a" * 5000,
        "~/secret.png",
    ],
)
def test_what_is_not_in_the_folder_is_not_there(shared: Path, path: str) -> None:
    error = refusal(path, shared)
    assert error.code == "image_not_found"
    assert "no such image in the folder" in error.message


@pytest.mark.parametrize("url", ["file://office/scans/a.png", "file://[bad/a.png", "file://%5b/a.png"])
def test_a_file_of_another_machine_is_refused(shared: Path, url: str) -> None:
    assert "another machine" in refusal(url, shared).message


def test_whether_something_outside_exists_is_not_told(shared: Path) -> None:
    there, not_there = refusal("../secret.png", shared), refusal("../s3cret.png", shared)
    assert there.message.replace("secret", "s3cret") == not_there.message


def test_links_that_stay_are_followed_and_links_that_leave_are_not(shared: Path, tmp_path: Path) -> None:
    (shared / "stays.png").symlink_to("below/a b.png")
    (shared / "leaves.png").symlink_to(tmp_path / "secret.png")
    (shared / "out").symlink_to(tmp_path)
    (shared / "loop").symlink_to("loop")
    assert read("stays.png", shared) == png("blue")
    for path in ("leaves.png", "out/secret.png", "loop", "out/shared/../secret.png"):
        assert refusal(path, shared).code == "image_not_found"


def test_the_folder_may_be_a_link_itself(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(shared)
    assert read("a.png", tmp_path / "link") == png("red")
    assert read(str(tmp_path / "link" / "a.png"), tmp_path / "link") == png("red")


def test_a_pipe_is_no_image_and_nothing_waits_for_it(shared: Path) -> None:
    os.mkfifo(shared / "pipe")
    assert refusal("pipe", shared).code == "image_not_found"


def test_an_image_has_the_name_of_its_file(shared: Path) -> None:
    image = RequestImages(shared).read(JsonFields({"url": "below/a b.png"}), "url")
    assert isinstance(image, ImageBytes) and image.name == "a b.png"


def test_a_page_of_a_document_is_named_by_its_number(shared: Path) -> None:
    pages = [PIL.Image.new("RGB", (20, 10), colour) for colour in ("red", "blue")]
    pages[0].save(shared / "scan.tif", save_all=True, append_images=pages[1:])
    (shared / "a#2").write_bytes(png("green"))
    images = RequestImages(shared)
    for url in ("scan.tif#2", "file:scan.tif#page=2"):
        page = images.read(JsonFields({"url": url}), "url")
        assert isinstance(page, Image)
        assert (page.name, page.pixels[0, 0].tolist()) == ("scan.tif#2", [0, 0, 255])
    assert read("a#2", shared) == png("green")
    assert "no page 3" in refusal("scan.tif#3", shared).message
    assert refusal("../secret.png#1", shared).code == "image_not_found"


def test_without_a_folder_no_file_is_read(shared: Path) -> None:
    error = refusal(str(shared / "a.png"))
    assert error.code == "images_not_allowed" and "--images-from" in error.message
