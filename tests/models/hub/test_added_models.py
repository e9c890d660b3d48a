"""Models that were added: what the catalog cannot hold is refused at once, and a bad entry stops no other model."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.core.errors import UserError
from models.hub.adding import WantedModel, propose
from models.hub.catalog_file import BUILT_IN
from models.hub.store import ModelFiles, ModelStore
from tests.models.hub.loopback import LoopbackServer
from tests.models.hub.loopback_hub import publish_repository
from tests.models.hub.test_adding import DIRECTORY, GGUF, REPOSITORY, contents, pull, server, store, write

__all__ = ["server", "store"]  # fixtures

MODEL, TOWER = GGUF["Small-Q8_0.gguf"], GGUF["mmproj-Small-Q8_0.gguf"]


def added(store: ModelStore, name: str) -> Path:
    return store.root / ".added" / f"{name}.toml"


def pulled(tmp_path: Path, store: ModelStore, name: str) -> ModelFiles:
    """A model that was added and pulled."""
    folder = write(tmp_path / "sources" / name, {"model.gguf": MODEL})
    return pull(store, propose(WantedModel(f"file:{folder / 'model.gguf'}", name)))


@pytest.mark.parametrize(
    ("file_name", "kept"),
    [
        ("my model (1).gguf", "my-model-1-.gguf"),
        ("größe.gguf", "gr-e.gguf"),
        ("_x.gguf", "x.gguf"),
        ("x" * 230 + ".gguf", "x" * 195 + ".gguf"),
    ],
)
def test_a_file_of_any_name_is_kept_under_one_that_the_catalog_allows(
    tmp_path: Path, store: ModelStore, file_name: str, kept: str
) -> None:
    folder = write(tmp_path / "m", {file_name: MODEL})
    files = pull(store, propose(WantedModel(f"file:{folder / file_name}", "sp")))
    assert contents(files) == {kept: MODEL}
    assert ModelStore(store.root).find("sp") == files


def test_an_empty_file_of_a_folder_is_left_out(tmp_path: Path, store: ModelStore) -> None:
    folder = write(tmp_path / "m", DIRECTORY | {"merges.txt": b""})
    pull(store, propose(WantedModel(f"file:{folder}", "empt")))
    files = ModelStore(store.root).find("empt")
    assert files is not None
    assert "merges.txt" not in files.files
    assert store.remove("empt") > 0


def test_an_empty_file_is_no_model(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", {"x.gguf": b""})
    for source in (folder, folder / "x.gguf"):
        with pytest.raises(UserError, match=r"(m|x\.gguf) is empty"):
            propose(WantedModel(f"file:{source}"))


def test_files_of_one_name_from_two_folders_are_kept_under_their_roles(
    server: LoopbackServer, store: ModelStore
) -> None:
    publish_repository(server, REPOSITORY, {"a/x.gguf": MODEL, "b/x.gguf": TOWER})
    files = pull(store, propose(WantedModel(f"hf:{REPOSITORY}", "two", ("a/x.gguf",), "b/x.gguf")))
    assert contents(files) == {"language_model-x.gguf": MODEL, "mmproj-x.gguf": TOWER}
    assert ModelStore(store.root).find("two") == files


def test_the_name_of_the_users_catalog_is_no_name_for_a_model(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", DIRECTORY)
    with pytest.raises(UserError, match="no name for a model"):
        propose(WantedModel(f"file:{folder}", "catalog.toml"))


@pytest.mark.parametrize(
    "content", [b"[models.bad", b"[models.bad]\nfamily = 1\n", b"\xff", BUILT_IN.read_bytes()]
)
def test_a_bad_entry_stops_no_other_model_and_can_be_removed(
    tmp_path: Path, store: ModelStore, content: bytes
) -> None:
    good = pulled(tmp_path, store, "good")
    pulled(tmp_path, store, "bad")
    added(store, "bad").write_bytes(content)
    again = ModelStore(store.root)
    assert again.find("good") == good
    assert {status.entry.name for status in again.list()} >= {"good", again.catalog.default}
    with pytest.raises(UserError, match=r"bad\.toml.*`edge-app models remove bad` removes"):
        again.find("bad")
    assert again.remove("bad") >= len(MODEL)
    assert not added(store, "bad").exists()
    assert not (store.root / "bad").exists()
    with pytest.raises(UserError, match="no model named 'bad'"):
        again.find("bad")


def test_a_name_that_the_app_takes_later_is_the_apps(tmp_path: Path, store: ModelStore) -> None:
    pulled(tmp_path, store, "mine")
    entry = added(store, "mine")
    entry.with_stem("smolvlm-256m").write_text(
        entry.read_text().replace("models.mine", "models.smolvlm-256m")
    )
    again = ModelStore(store.root)
    assert again.catalog.entry("smolvlm-256m").origin == ""
    assert "redefines smolvlm-256m" in again.catalog.skipped["smolvlm-256m"]
    again.remove("smolvlm-256m")
    assert again.catalog.skipped == {}
    assert "smolvlm-256m" in again.catalog.entries


def test_a_file_whose_name_leaves_the_folder_removes_nothing(tmp_path: Path, store: ModelStore) -> None:
    good = pulled(tmp_path, store, "good")
    (store.root / ".added" / "...toml").write_text("[")
    with pytest.raises(UserError):
        ModelStore(store.root).remove("..")
    assert ModelStore(store.root).find("good") == good


def test_only_a_model_that_can_be_removed_is_said_to_be_in_the_way(tmp_path: Path, store: ModelStore) -> None:
    pulled(tmp_path, store, "mine")
    folder = write(tmp_path / "m", DIRECTORY)
    with pytest.raises(
        UserError, match=r"by --name, or remove that one first: `edge-app models remove mine`"
    ):
        pull(store, propose(WantedModel(f"file:{folder}", "mine")))
    with pytest.raises(UserError, match=r"named smolvlm-500m; give this one a name by --name\.$"):
        pull(store, propose(WantedModel(f"file:{folder}", "smolvlm-500m")))


def test_the_memory_of_a_model_that_an_earlier_version_added_is_that_of_this_one(
    tmp_path: Path, store: ModelStore
) -> None:
    pulled(tmp_path, store, "mine")
    told = store.show("mine").entry.memory
    entry = added(store, "mine")
    recorded = entry.read_text()
    assert f"memory = {told}\n" in recorded
    entry.write_text(recorded.replace(f"memory = {told}\n", "memory = 1\n"))
    assert ModelStore(store.root).show("mine").entry.memory == told
    model = store.root / "mine" / "model.gguf"
    model.write_bytes(b"x" * model.stat().st_size)  # damaged: the recorded figure is all there is
    assert ModelStore(store.root).show("mine").entry.memory == 1
