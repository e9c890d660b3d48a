"""Listings of a hub and of this machine: nonsense in them is refused in a sentence, and the token stays at its hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.core.errors import UserError
from models.hub.adding import WantedModel, propose
from models.hub.file_trees import MOST_PAGES
from models.hub.local_tree import local_files
from tests.models.hub.loopback import LoopbackServer
from tests.models.hub.loopback_hub import COMMIT, publish_repository
from tests.models.hub.test_adding import DIRECTORY, GGUF, REPOSITORY, server, write

__all__ = ["server"]  # a fixture

LISTING = f"/api/models/{REPOSITORY}/tree/{COMMIT}?recursive=true"
MODEL = GGUF["Small-Q8_0.gguf"]


def file(**fields: object) -> dict[str, object]:
    large = {"oid": "0" * 64, "size": fields.get("size", 10)}
    return {"type": "file", "path": "a.gguf", "size": 10, "oid": "0" * 40, "lfs": large, **fields}


@pytest.mark.parametrize(
    "listing",
    [
        5,
        None,
        {"a": 1},
        "text",
        *([file(size=size)] for size in (-5, 1 << 63, 1 << 50, 1.5)),
        [file(path="\ud800")],
    ],
)
def test_a_listing_that_is_none_is_refused(server: LoopbackServer, listing: object) -> None:
    publish_repository(server, REPOSITORY, {"a.gguf": MODEL})
    server.add_json(LISTING, listing)
    with pytest.raises(UserError, match="did not answer as Hugging Face does"):
        propose(WantedModel(f"hf:{REPOSITORY}"))


def test_a_header_that_the_disk_does_not_take_is_refused(
    server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path, _content: bytes) -> int:
        raise OSError(28, "No space left on device")

    publish_repository(server, REPOSITORY, {"a.gguf": MODEL})
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"a\.gguf cannot be kept \(No space left"):
        propose(WantedModel(f"hf:{REPOSITORY}"))


def test_the_pages_of_a_listing_are_put_together(server: LoopbackServer) -> None:
    publish_repository(server, REPOSITORY, DIRECTORY)
    server.files["/page2"] = server.files[LISTING]
    server.add_json(LISTING, [])
    server.links[LISTING] = '</page2>; rel="next"'
    assert propose(WantedModel(f"hf:{REPOSITORY}")).entry.family == "idefics3"


def test_a_listing_without_end_is_given_up(server: LoopbackServer) -> None:
    publish_repository(server, REPOSITORY, DIRECTORY)
    server.links[LISTING] = f'<{LISTING}>; rel="next"'
    with pytest.raises(UserError, match=f"more than {MOST_PAGES} pages"):
        propose(WantedModel(f"hf:{REPOSITORY}"))
    assert len(server.requests) == MOST_PAGES + 1


def test_a_next_page_on_another_server_gets_no_request_and_no_token(
    server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    publish_repository(server, REPOSITORY, DIRECTORY)
    with LoopbackServer() as other:
        server.links[LISTING] = f'<{other.url}{LISTING}>; rel="next"'
        with pytest.raises(UserError, match="another server"):
            propose(WantedModel(f"hf:{REPOSITORY}"))
        assert other.requests == []


@pytest.mark.parametrize(
    ("stated", "kept"),
    [
        ("apache-2.0\nin use: all\x1b[2J", "apache-2.0 in use: all [2J"),
        ("\n", "not stated"),
        (5, "not stated"),
    ],
)
def test_a_licence_is_one_line(server: LoopbackServer, stated: object, kept: str) -> None:
    publish_repository(server, REPOSITORY, DIRECTORY)
    card = {"sha": COMMIT, "cardData": {"license": stated}}
    server.add_json(f"/api/models/{REPOSITORY}/revision/main", card)
    assert propose(WantedModel(f"hf:{REPOSITORY}")).entry.licence == kept


@pytest.mark.parametrize("source", ["file:~no-such-user-here/m", "file:" + "a" * 300])
def test_a_path_that_can_be_none_is_refused(source: str) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        local_files(source)


def test_a_folder_that_may_not_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(UserError, match=r"cannot be read \(Permission denied\)"):
        local_files(f"file:{tmp_path}")


def test_a_model_and_its_mmproj_may_not_have_one_name(tmp_path: Path) -> None:
    model = write(tmp_path / "a", {"x.gguf": MODEL}) / "x.gguf"
    tower = write(tmp_path / "b", {"x.gguf": GGUF["mmproj-Small-Q8_0.gguf"]}) / "x.gguf"
    with pytest.raises(UserError, match="have the same name"):
        local_files(f"file:{model}", f"file:{tower}")
    folder = write(tmp_path / "c", GGUF)
    own = folder / "mmproj-Small-Q8_0.gguf"
    assert set(local_files(f"file:{folder}", f"file:{own}").files) == set(GGUF)


def test_a_folder_may_be_named_by_a_url(tmp_path: Path) -> None:
    folder = write(tmp_path / "my models", GGUF)
    assert set(local_files(folder.as_uri()).files) == set(GGUF)
