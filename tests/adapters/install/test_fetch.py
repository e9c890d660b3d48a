"""Fetching from the web and from Hugging Face, on a server of this machine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import adapters
from adapters.install.fetch import Fetched, fetch
from adapters.install.installer import Installer, Wanted
from adapters.store import adapter_store
from adapters.store.adapter_store import AdapterStore
from adapters.store.manifest import ALLOWED_FILES, MANIFEST_FILE, SIGNATURE_FILE
from models.core.errors import NeedsNetwork, UserError
from models.hub import download
from tests.adapters.making import make_installer, tarred, write_adapter, write_peft, zipped
from tests.models.hub.loopback import LoopbackServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackServer]:
    monkeypatch.setattr(download, "FIRST_PAUSE", 0.01)
    with LoopbackServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_adapter(tmp_path / "source")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "staging" / "new"
    folder.mkdir(parents=True)
    return folder


def offer(server: LoopbackServer, folder: Path, path: str) -> None:
    for file in folder.iterdir():
        server.files[f"{path}/{file.name}"] = file.read_bytes()


def publish(server: LoopbackServer, folder: Path, repository: str, revision: str = "main") -> None:
    """As Hugging Face serves a repository at one commit."""
    names = [".gitattributes", *(file.name for file in folder.iterdir())]
    listing = {"sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
    server.add_json(f"/api/models/{repository}/revision/{revision}", listing)
    offer(server, folder, f"/{repository}/resolve/{COMMIT}")


def same(target: Path, source: Path) -> bool:
    return {f.name: f.read_bytes() for f in target.iterdir()} == {
        f.name: f.read_bytes() for f in source.iterdir()
    }


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize("pinned", [True, False])
def test_an_archive_at_an_address(
    server: LoopbackServer, source: Path, target: Path, tmp_path: Path, pack: object, pinned: bool
) -> None:
    archive = (zipped if pack is zipped else tarred)(source, tmp_path / "archive")
    data = server.files["/some/plants.zip"] = archive.read_bytes()
    told: list[tuple[str, int, int | None]] = []
    fetched = fetch(
        f"{server.url}/some/plants.zip",
        target,
        sha256=hashlib.sha256(data).hexdigest() if pinned else "",
        progress=lambda _, message, done, total: told.append((message, done, total)),
    )
    assert fetched == Fetched(f"{server.url}/some/plants.zip")
    assert same(target, source)
    assert told[-1] == ("Downloading plants.zip", len(data), len(data))
    assert [file.name for file in target.parent.iterdir()] == ["new"]


def test_a_plain_archive_at_an_address_must_be_pinned(
    server: LoopbackServer, target: Path, tmp_path: Path
) -> None:
    archive = zipped(write_peft(tmp_path / "peft"), tmp_path / "peft.zip")
    data = server.files["/peft.zip"] = archive.read_bytes()
    with pytest.raises(UserError, match="say what the archive must be with --sha256"):
        fetch(f"{server.url}/peft.zip", target)
    for file in target.iterdir():
        file.unlink()
    fetch(f"{server.url}/peft.zip", target, sha256=hashlib.sha256(data).hexdigest())


def test_an_address_whose_file_hashes_to_something_else_is_refused(
    server: LoopbackServer, target: Path
) -> None:
    server.files["/a.zip"] = b"PK something else"
    with pytest.raises(UserError, match="not the file that --sha256 names"):
        fetch(f"{server.url}/a.zip", target, sha256="0" * 64)


def test_errors_name_the_address_and_not_a_temporary_file(server: LoopbackServer, target: Path) -> None:
    server.files["/a.zip"] = b"hello"
    with pytest.raises(UserError, match=f"^{server.url}/a.zip is neither"):
        fetch(f"{server.url}/a.zip", target)


def test_a_manifest_at_an_address_brings_the_files_beside_it(
    server: LoopbackServer, source: Path, target: Path
) -> None:
    offer(server, source, "/plants/1.0")
    fetch(f"{server.url}/plants/1.0/adapter.toml", target)
    assert same(target, source)
    (source / SIGNATURE_FILE).write_text("{}")
    offer(server, source, "/plants/1.0")
    fetch(f"{server.url}/plants/1.0/adapter.toml", target)
    assert same(target, source)


def test_a_manifest_whose_files_are_missing_is_told(
    server: LoopbackServer, source: Path, target: Path
) -> None:
    server.files["/plants/adapter.toml"] = (source / MANIFEST_FILE).read_bytes()
    with pytest.raises(UserError, match="404"):
        fetch(f"{server.url}/plants/adapter.toml", target)


def test_what_is_too_large_is_not_downloaded(server: LoopbackServer, target: Path) -> None:
    server.files["/plants/adapter.toml"] = bytes(ALLOWED_FILES[MANIFEST_FILE] + 1)
    with pytest.raises(UserError, match="larger than"):
        fetch(f"{server.url}/plants/adapter.toml", target)


def test_a_connection_that_breaks_is_tried_again(
    server: LoopbackServer, source: Path, target: Path, tmp_path: Path
) -> None:
    server.files["/a.zip"] = zipped(source, tmp_path / "a.zip").read_bytes()
    server.statuses, server.cuts = [503], [100, 2000]
    fetch(f"{server.url}/a.zip", target)
    assert same(target, source)
    assert len(server.requests) == 4


def test_a_server_that_is_out_of_reach_needs_the_network(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "FIRST_PAUSE", 0.01)
    with LoopbackServer() as gone:
        address = gone.url
    with pytest.raises(NeedsNetwork, match=r"cannot be reached .*; check the network and try again\.$"):
        fetch(f"{address}/a.zip", target)


@pytest.mark.parametrize(
    "address",
    ["http://example.org/a.zip", "ftp://example.org/a.zip", "file://other/a.zip", "https://a:b/c.zip", "://"],
)
def test_only_https_addresses_are_fetched(address: str, target: Path) -> None:
    with pytest.raises(UserError, match="address"):
        fetch(address, target)


@pytest.mark.parametrize("form", ["folder", "archive"])
def test_a_file_address_of_this_machine_is_its_path(form: str, target: Path, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "my birds")
    path = folder if form == "folder" else zipped(folder, tmp_path / "my birds.zip")
    assert fetch(path.as_uri(), target, offline=True).source == str(path)
    assert same(target, folder)


def test_an_address_that_leads_away_from_https_is_refused(server: LoopbackServer, target: Path) -> None:
    server.redirects = {"/a.zip": "http://example.org/a.zip"}
    with pytest.raises(UserError, match="does not stay, an https address"):
        fetch(f"{server.url}/a.zip", target)


def test_a_password_in_an_address_is_sent_but_never_shown(
    server: LoopbackServer, source: Path, target: Path, tmp_path: Path
) -> None:
    server.files["/a.zip"] = zipped(source, tmp_path / "a.zip").read_bytes()
    fetched = fetch(f"{server.url.replace('://', '://me:secret@')}/a.zip", target)
    assert fetched.source == f"{server.url}/a.zip"
    assert server.headers[0]["Authorization"].startswith("Basic ")


# -- Hugging Face -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("revision", ["", "@v2", f"@{COMMIT}"])
def test_a_repository_is_fetched_at_one_commit(
    server: LoopbackServer, source: Path, target: Path, revision: str
) -> None:
    publish(server, source, "me/plants", revision[1:] or "main")
    fetched = fetch(f"hf:me/plants{revision}", target)
    assert same(target, source)
    assert fetched == Fetched(f"hf:me/plants{revision}", revision=COMMIT)


def test_what_is_no_part_of_an_adapter_stays_in_the_repository(
    server: LoopbackServer, tmp_path: Path, target: Path
) -> None:
    folder = write_peft(tmp_path / "peft")
    for name in ("training_args.bin", "tokenizer.json"):
        (folder / name).write_text("x")
    publish(server, folder, "me/plants")
    fetched = fetch("hf:me/plants", target)
    assert fetched.left_out == ("tokenizer.json", "training_args.bin")
    assert {file.name for file in target.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    assert not any("training_args" in path for path, _ in server.requests)


def test_a_repository_with_pickled_weights_only_is_refused(
    server: LoopbackServer, tmp_path: Path, target: Path
) -> None:
    folder = write_peft(tmp_path / "peft")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    publish(server, folder, "me/plants")
    with pytest.raises(UserError, match="pickle"):
        fetch("hf:me/plants", target)
    (folder / "adapter_model.bin").unlink()
    publish(server, folder, "me/plants")
    with pytest.raises(UserError, match=r"has no adapter_model.safetensors; it is no PEFT adapter"):
        fetch("hf:me/plants", target)


@pytest.mark.parametrize("source", ["hf:", "hf:plants", "hf:a/b/c", "hf:a/b@", "hf:../b?x"])
def test_what_is_no_repository_is_refused(server: LoopbackServer, target: Path, source: str) -> None:
    with pytest.raises(UserError, match="not of the form hf:owner/repository"):
        fetch(source, target)
    assert server.requests == []


@pytest.mark.parametrize("listing", [b"", b"[]", b'{"sha": "main", "siblings": []}', b'{"sha": 1}'])
def test_a_server_that_is_not_hugging_face_is_told(
    server: LoopbackServer, target: Path, listing: bytes
) -> None:
    server.files["/api/models/me/plants/revision/main"] = listing
    with pytest.raises(UserError, match="did not answer as Hugging Face does"):
        fetch("hf:me/plants", target)


@pytest.mark.usefixtures("server")
def test_a_repository_that_is_not_there_is_told(target: Path) -> None:
    with pytest.raises(UserError, match="404"):
        fetch("hf:me/plants", target)


# -- through the installer --------------------------------------------------------------------------------


@pytest.fixture
def installer(tmp_path: Path) -> Installer:
    return make_installer(tmp_path / "adapters")


def test_an_update_takes_what_the_repository_has_now(
    server: LoopbackServer, installer: Installer, source: Path, tmp_path: Path
) -> None:
    publish(server, source, "me/plants")
    record = installer.install(Wanted("hf:me/plants")).adapter.record
    assert record is not None
    assert (record.source, record.revision) == ("hf:me/plants", COMMIT)
    publish(server, write_adapter(tmp_path / "newer", version="1.1"), "me/plants")
    assert installer.update("plants").candidate.manifest.version == "1.1"
    with pytest.raises(NeedsNetwork):
        installer.update("plants", offline=True)


def test_an_archive_at_an_address_is_installed_by_name(
    server: LoopbackServer, installer: Installer, tmp_path: Path
) -> None:
    data = zipped(write_peft(tmp_path / "peft"), tmp_path / "a.zip").read_bytes()
    server.files["/adapters/oaks.tar.gz"] = data
    digest = hashlib.sha256(data).hexdigest()
    installer.install(Wanted(f"{server.url}/adapters/oaks.tar.gz", sha256=digest))
    assert AdapterStore(tmp_path / "adapters").names() == ("oaks",)


def test_the_folder_of_bundled_adapters_is_the_packages_own() -> None:
    assert adapter_store.BUNDLED.parent == Path(adapters.__file__).parent


# -- folders as training tools and the hub leave them


def test_what_lies_beside_an_adapter_is_named_and_not_opened(target: Path, tmp_path: Path) -> None:
    folder = write_peft(tmp_path / "peft")
    for name in ("tokenizer.json", "optimizer.pt", "adapter_model.bin", ".DS_Store", "trainer_state.json"):
        os.mkfifo(folder / name)  # opening one would wait for ever
    (folder / ".git").mkdir()
    (folder / "checkpoint-5").mkdir()
    fetched = fetch(str(folder), target)
    assert fetched.left_out == (
        *(".DS_Store", ".git/", "adapter_model.bin", "checkpoint-5/"),
        *("optimizer.pt", "tokenizer.json", "trainer_state.json"),
    )
    assert {file.name for file in target.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}


def hub_cache(folder: Path, root: Path) -> Path:
    """The files of a folder as the hub's cache keeps them. Returns the snapshot."""
    blobs, snapshot = root / "blobs", root / "snapshots" / "0123abcd"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(folder.iterdir()):
        (blobs / str(number)).write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    return snapshot


def test_links_of_the_hub_s_cache_are_followed_inside_it(target: Path, tmp_path: Path) -> None:
    folder = write_peft(tmp_path / "peft")
    (folder / "tokenizer.json").write_text("{}")
    snapshot = hub_cache(folder, tmp_path / "models--me--lora")
    (tmp_path / "link").symlink_to(snapshot)
    fetched = fetch(str(tmp_path / "link"), target)
    assert fetched.left_out == ("tokenizer.json",)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (target / name).read_bytes() == (folder / name).read_bytes()
        assert not (target / name).is_symlink()


@pytest.mark.parametrize("leads_to", ["/etc/passwd", "../../../outside", "../0123abcd/../../refs"])
def test_links_that_leave_the_hub_s_cache_are_refused(leads_to: str, target: Path, tmp_path: Path) -> None:
    snapshot = hub_cache(write_peft(tmp_path / "peft"), tmp_path / "models--me--lora")
    (tmp_path / "outside").write_text("{}")
    (tmp_path / "models--me--lora" / "refs").write_text("{}")
    (snapshot / "README.md").symlink_to(leads_to)
    with pytest.raises(UserError, match=r"'README.md', which is a link to a place outside it"):
        fetch(str(snapshot), target)


def test_links_to_blobs_count_in_a_snapshot_only(target: Path, tmp_path: Path) -> None:
    folder = write_peft(tmp_path / "a" / "peft")
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "1").write_text("{}")
    (folder / "README.md").symlink_to("../../blobs/1")
    with pytest.raises(UserError, match="a link to a place outside it"):
        fetch(str(folder), target)
