"""Models from repositories and folders: what they are is known before the download, and they are pulled whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from models.core.errors import NeedsNetwork, UserError
from models.hub import download
from models.hub.adding import ProposedModel, WantedModel, propose
from models.hub.catalog import HubSource
from models.hub.store import ModelFiles, ModelStore
from tests.models.formats.gguf.gguf_files import gguf_bytes
from tests.models.formats.llama_files import METADATA, SETTINGS, as_gguf, random_model
from tests.models.formats.mlc.mlc_files import mlc_settings, mlc_tensors, write_mlc
from tests.models.formats.siglip_files import mmproj_metadata, mmproj_tensors, random_tower, siglip
from tests.models.formats.test_model_description import SMOLVLM_500M
from tests.models.hub.loopback import LoopbackServer
from tests.models.hub.loopback_hub import COMMIT, publish_repository

REPOSITORY = "Owner/Small.Model-Instruct"
DIRECTORY = {
    "config.json": json.dumps(SMOLVLM_500M).encode(),
    "tokenizer.json": b'{"model": {}}' * 1000,
    "chat_template.jinja": b"{{ messages }}",
    "model.safetensors": safetensors.numpy.save({"x": np.arange(512_000, dtype=np.uint8)}),
    "pytorch_model.bin": b"pickle",
    "README.md": b"# A model",
}
OTHER_WEIGHTS = safetensors.numpy.save({"x": np.zeros(8, np.uint8)})
TAKEN = {"config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors"}
TOWER = siglip()
GGUF = {
    "Small-Q8_0.gguf": gguf_bytes(METADATA, as_gguf(random_model())),
    "Small-Q4_K_M.gguf": gguf_bytes(METADATA | {"general.name": "4"}, as_gguf(random_model())),
    "mmproj-Small-Q8_0.gguf": gguf_bytes(mmproj_metadata(TOWER), mmproj_tensors(TOWER, random_tower(TOWER))),
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackServer]:
    monkeypatch.setattr(download, "FIRST_PAUSE", 0.01)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with LoopbackServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def pull(store: ModelStore, proposal: ProposedModel) -> ModelFiles:
    store.add(proposal.entry, proposal.contents)
    return store.pull(proposal.entry.name)


def contents(files: ModelFiles) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in files.files.values()}


def test_a_repository_is_pulled_at_the_commit_of_its_branch(
    server: LoopbackServer, store: ModelStore
) -> None:
    publish_repository(server, REPOSITORY, DIRECTORY)
    proposal = propose(WantedModel(f"hf:{REPOSITORY}"))
    entry = proposal.entry
    assert (entry.name, entry.family, entry.licence) == ("small.model-instruct", "idefics3", "apache-2.0")
    assert entry.origin == f"hf:{REPOSITORY}@main"
    assert all(isinstance(file.source, HubSource) and file.source.revision == COMMIT for file in entry.files)
    assert entry.commit == COMMIT
    files = pull(store, proposal)
    assert contents(files) == {name: DIRECTORY[name] for name in TAKEN}
    assert "language_model" not in files.files
    again = ModelStore(store.root)
    assert again.find(entry.name) == files
    assert again.catalog.entry(entry.name) == entry
    assert again.pulled_from(entry.origin) == files
    assert again.pulled_from(entry.origin, "other") is None


def test_nothing_large_is_downloaded_before_it_is_wanted_and_small_files_once(
    server: LoopbackServer, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.hub.file_trees.HEADERS", (1000,))
    publish_repository(server, REPOSITORY, DIRECTORY)
    assert propose(WantedModel(f"hf:{REPOSITORY}")).entry.memory > 1200e6  # in float, as its files are small
    monkeypatch.setattr("models.formats.model_description.SMALL_MODEL", 0)
    server.requests.clear()
    proposal = propose(WantedModel(f"hf:{REPOSITORY}"))
    assert [wanted for path, wanted in server.requests if path.startswith("/cdn")] == ["bytes=0-999"]
    assert 800e6 < proposal.entry.memory < 900e6
    assert proposal.entry.download_size == sum(len(DIRECTORY[name]) for name in TAKEN)
    server.requests.clear()
    pull(store, proposal)
    digest = hashlib.sha256(DIRECTORY["model.safetensors"]).hexdigest()
    assert [path for path, _ in server.requests] == [
        f"/{REPOSITORY}/resolve/{COMMIT}/model.safetensors",
        f"/cdn/{digest}",
    ]


def test_a_branch_with_a_slash_and_a_commit_can_be_named(server: LoopbackServer) -> None:
    publish_repository(server, REPOSITORY, DIRECTORY, revision="refs/pr/3")
    for revision in ("refs/pr/3", COMMIT):
        entry = propose(WantedModel(f"hf:{REPOSITORY}@{revision}", name="mine")).entry
        assert (entry.name, entry.origin) == ("mine", f"hf:{REPOSITORY}@{revision}")


def test_a_revision_that_is_not_there_is_named(server: LoopbackServer) -> None:
    publish_repository(server, REPOSITORY, DIRECTORY)
    with pytest.raises(UserError, match=f"does not give {REPOSITORY} at v9 "):
        propose(WantedModel(f"hf:{REPOSITORY}@v9"))


def test_what_cannot_run_is_said_before_anything_is_downloaded(server: LoopbackServer) -> None:
    publish_repository(
        server, REPOSITORY, DIRECTORY | {"config.json": json.dumps({"model_type": "qwen3_vl"}).encode()}
    )
    with pytest.raises(
        UserError, match=r"Owner.*model_type qwen3_vl is not supported; these are: llama, idefics3"
    ):
        propose(WantedModel(f"hf:{REPOSITORY}"))
    assert [path for path, _ in server.requests if "/resolve/" in path] == [
        f"/{REPOSITORY}/resolve/{COMMIT}/config.json"
    ]


def test_gguf_files_are_described_by_their_headers_and_pulled_by_role(
    server: LoopbackServer, store: ModelStore
) -> None:
    publish_repository(server, REPOSITORY, GGUF)
    proposal = propose(WantedModel(f"hf:{REPOSITORY}", name="g"))
    assert proposal.entry.family == "idefics3"
    assert all(wanted.startswith("bytes=0-") for path, wanted in server.requests if path.startswith("/cdn"))
    files = pull(store, proposal)
    assert files.files["language_model"].read_bytes() == GGUF["Small-Q8_0.gguf"]
    assert files.files["mmproj"].read_bytes() == GGUF["mmproj-Small-Q8_0.gguf"]
    other = propose(WantedModel(f"hf:{REPOSITORY}", files=("Small-Q4_K_M.gguf",)))
    assert {file.pin.name for file in other.entry.files} == {"Small-Q4_K_M.gguf", "mmproj-Small-Q8_0.gguf"}


def test_a_header_that_is_longer_than_the_first_part_is_read_on(
    server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.hub.file_trees.HEADERS", (100, 1 << 20))
    publish_repository(server, REPOSITORY, {"a.gguf": GGUF["Small-Q8_0.gguf"]})
    assert propose(WantedModel(f"hf:{REPOSITORY}")).entry.family == "llama"
    assert [wanted for path, wanted in server.requests if path.startswith("/cdn")] == [
        "bytes=0-99",
        f"bytes=0-{len(GGUF['Small-Q8_0.gguf']) - 1}",
    ]


def test_a_gguf_file_of_another_architecture_is_refused_by_its_header(server: LoopbackServer) -> None:
    other = gguf_bytes(METADATA | {"general.architecture": "qwen3vl"}, as_gguf(random_model()))
    publish_repository(server, REPOSITORY, {"a.gguf": other})
    with pytest.raises(UserError, match=f"^{REPOSITORY}/a.gguf .*qwen3vl"):
        propose(WantedModel(f"hf:{REPOSITORY}"))


@pytest.mark.parametrize(
    ("changed", "says"),
    [("tokenizer.json", "not the file that the hub lists"), ("model.safetensors", "sha256 differs")],
)
def test_a_file_that_is_not_the_listed_one_is_refused(
    server: LoopbackServer, store: ModelStore, changed: str, says: str
) -> None:
    publish_repository(server, REPOSITORY, DIRECTORY)
    for path, content in server.files.items():
        if content == DIRECTORY[changed]:
            server.files[path] = content[:-1] + b"x"
    with pytest.raises(UserError, match=says):
        pull(store, propose(WantedModel(f"hf:{REPOSITORY}")))
    assert store.list()[0].pulled is False


def test_an_interrupted_download_is_continued(
    server: LoopbackServer, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    publish_repository(server, REPOSITORY, DIRECTORY)
    proposal = propose(WantedModel(f"hf:{REPOSITORY}"))
    server.cuts = [100_000]
    with pytest.raises(NeedsNetwork, match="is kept"):
        pull(store, proposal)
    assert store.find(proposal.entry.name) is None
    server.requests.clear()
    files = ModelStore(store.root).pull(proposal.entry.name)  # by name: the entry was kept
    assert [wanted for _, wanted in server.requests] == ["bytes=100000-"] * 2
    assert contents(files)["model.safetensors"] == DIRECTORY["model.safetensors"]


def test_a_branch_that_moved_since_an_unfinished_pull_is_pulled_where_it_is_now(
    server: LoopbackServer, store: ModelStore
) -> None:
    publish_repository(server, REPOSITORY, DIRECTORY)
    old = propose(WantedModel(f"hf:{REPOSITORY}"))
    store.add(old.entry, old.contents)
    moved = DIRECTORY | {"model.safetensors": OTHER_WEIGHTS}
    publish_repository(server, REPOSITORY, moved, commit="e" * 40)
    files = pull(store, propose(WantedModel(f"hf:{REPOSITORY}")))
    assert contents(files) == {name: moved[name] for name in TAKEN}
    assert ModelStore(store.root).find(files.name) == files


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_repository_that_is_not_given_is_one_sentence_with_what_helps(
    server: LoopbackServer, status: int
) -> None:
    server.statuses = [status]
    with pytest.raises(UserError, match=rf"{REPOSITORY} \({status}\).*HF_TOKEN"):
        propose(WantedModel(f"hf:{REPOSITORY}"))


def test_the_users_token_is_sent(server: LoopbackServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    publish_repository(server, REPOSITORY, DIRECTORY)
    propose(WantedModel(f"hf:{REPOSITORY}"))
    assert all(headers["Authorization"] == "Bearer secret" for headers in server.headers)


def test_a_hub_that_answers_something_else_is_refused(server: LoopbackServer) -> None:
    server.add_json(f"/api/models/{REPOSITORY}/revision/main", {"sha": "main"})
    with pytest.raises(UserError, match="did not answer as Hugging Face does"):
        propose(WantedModel(f"hf:{REPOSITORY}"))
    publish_repository(server, REPOSITORY, {"../config.json": b"{}"})
    with pytest.raises(UserError, match="did not answer as Hugging Face does"):
        propose(WantedModel(f"hf:{REPOSITORY}"))


def test_offline_nothing_is_asked(server: LoopbackServer) -> None:
    with pytest.raises(NeedsNetwork, match="offline"):
        propose(WantedModel(f"hf:{REPOSITORY}"), offline=True)
    assert server.requests == []


def test_another_model_of_the_same_name_is_not_replaced(server: LoopbackServer, store: ModelStore) -> None:
    publish_repository(server, REPOSITORY, DIRECTORY)
    first = propose(WantedModel(f"hf:{REPOSITORY}", name="mine"))
    pull(store, first)
    publish_repository(server, REPOSITORY, DIRECTORY | {"model.safetensors": OTHER_WEIGHTS}, commit="e" * 40)
    with pytest.raises(UserError, match="another model named mine"):
        pull(store, propose(WantedModel(f"hf:{REPOSITORY}", name="mine")))
    with pytest.raises(UserError, match="another model named smolvlm-500m"):
        pull(store, propose(WantedModel(f"hf:{REPOSITORY}", name="smolvlm-500m")))
    assert contents(store.pull("mine"))["model.safetensors"] == DIRECTORY["model.safetensors"]
    pull(store, first)  # the same once more


def mlc_package(tmp_path: Path) -> dict[str, bytes]:
    tensors = mlc_tensors(random_model(), "q4f16_1")
    folder = write_mlc(tmp_path / "package", mlc_settings(SETTINGS, "q4f16_1"), tensors)
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    return files | {"tokenizer.json": b"{}", "logs.txt": b"made by mlc"}


def test_an_mlc_package_is_pulled_with_its_shards(
    server: LoopbackServer, store: ModelStore, tmp_path: Path
) -> None:
    files = mlc_package(tmp_path)
    publish_repository(server, REPOSITORY, files)
    proposal = propose(WantedModel(f"hf:{REPOSITORY}"))
    assert proposal.entry.family == "llama"
    found = pull(store, proposal)
    assert contents(found) == {name: content for name, content in files.items() if name != "logs.txt"}


def test_an_mlc_package_of_a_quantisation_that_is_not_read_is_refused(
    server: LoopbackServer, tmp_path: Path
) -> None:
    files = mlc_package(tmp_path)
    settings = json.loads(files["mlc-chat-config.json"]) | {"quantization": "q3f16_1"}
    publish_repository(server, REPOSITORY, files | {"mlc-chat-config.json": json.dumps(settings).encode()})
    with pytest.raises(UserError, match="q3f16_1"):
        propose(WantedModel(f"hf:{REPOSITORY}"))


SHARDS = {f"model-0000{number}-of-00002.safetensors": DIRECTORY["model.safetensors"] for number in (1, 2)}


def sharded(*more: str) -> dict[str, bytes]:
    """A repository with two shards. more: files that the index names too."""
    index = {"weight_map": {str(number): name for number, name in enumerate([*SHARDS, *more])}}
    files = {name: content for name, content in DIRECTORY.items() if name != "model.safetensors"}
    return files | SHARDS | {"model.safetensors.index.json": json.dumps(index).encode()}


def test_every_file_that_an_index_names_is_taken(server: LoopbackServer) -> None:
    publish_repository(
        server, REPOSITORY, sharded("extra.safetensors") | {"extra.safetensors": OTHER_WEIGHTS}
    )
    entry = propose(WantedModel(f"hf:{REPOSITORY}")).entry
    assert {*SHARDS, "extra.safetensors"} < {file.pin.name for file in entry.files}


@pytest.mark.parametrize("name", ["extra.safetensors", "../extra.safetensors", "pytorch_model.bin"])
def test_an_index_that_names_what_is_not_there_is_refused(server: LoopbackServer, name: str) -> None:
    publish_repository(server, REPOSITORY, sharded(name))
    with pytest.raises(UserError, match=f"{REPOSITORY} .*{name}"):
        propose(WantedModel(f"hf:{REPOSITORY}"))
    assert not any(path.startswith("/cdn") for path, _ in server.requests)


@pytest.mark.parametrize("index", [b"5", b"{}", b'{"weight_map": 1}', b'{"weight_map": {"a": 1}}', b"{"])
def test_an_index_that_cannot_be_read_is_refused(server: LoopbackServer, index: bytes) -> None:
    publish_repository(server, REPOSITORY, sharded() | {"model.safetensors.index.json": index})
    with pytest.raises(UserError, match=r"index\.json"):
        propose(WantedModel(f"hf:{REPOSITORY}"))


def test_an_mlc_package_without_all_shards_is_refused(server: LoopbackServer, tmp_path: Path) -> None:
    files = mlc_package(tmp_path)
    cut = files | {"params_shard_1.bin": files["params_shard_1.bin"][:-1]}
    del files["params_shard_1.bin"]
    for incomplete in (files, cut):
        publish_repository(server, REPOSITORY, incomplete)
        with pytest.raises(UserError, match=f"{REPOSITORY} .*params_shard_1.bin"):
            propose(WantedModel(f"hf:{REPOSITORY}"))


# -- this machine -----------------------------------------------------------------------------------------


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def test_a_folder_is_copied_and_stays_when_the_model_is_removed(tmp_path: Path, store: ModelStore) -> None:
    folder = write(tmp_path / "My Model", DIRECTORY)
    proposal = propose(WantedModel(f"file:{folder}"), offline=True)
    assert (proposal.entry.name, proposal.entry.download_size) == ("my-model", 0)
    files = pull(store, proposal)
    assert contents(files) == {name: DIRECTORY[name] for name in TAKEN}
    assert store.remove("my-model") > 0
    assert "my-model" not in store.catalog.entries
    assert "my-model" not in ModelStore(store.root).catalog.entries
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == DIRECTORY


def test_a_gguf_file_and_its_mmproj_may_be_in_two_places(tmp_path: Path, store: ModelStore) -> None:
    model = write(tmp_path / "a", {"Model.gguf": GGUF["Small-Q8_0.gguf"]}) / "Model.gguf"
    tower = write(tmp_path / "b", {"tower.gguf": GGUF["mmproj-Small-Q8_0.gguf"]}) / "tower.gguf"
    files = pull(store, propose(WantedModel(f"file:{model}", "mine", mmproj=f"file:{tower}")))
    assert files.family == "idefics3"
    assert files.files["language_model"].read_bytes() == model.read_bytes()
    assert files.files["mmproj"].read_bytes() == tower.read_bytes()
    alone = propose(WantedModel(f"file:{model}"))
    assert (alone.entry.name, alone.entry.family) == ("model", "llama")


def test_weights_that_were_cut_are_refused_before_the_download(
    server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.hub.file_trees.HEADERS", (20, 1000))
    files = DIRECTORY | {"model.safetensors": DIRECTORY["model.safetensors"][:200_000]}
    with pytest.raises(UserError, match="outside of the file"):
        propose(WantedModel(f"file:{write(tmp_path / 'm', files)}"))
    publish_repository(server, REPOSITORY, files)
    with pytest.raises(UserError, match=rf"{REPOSITORY}/model\.safetensors .*outside of the file"):
        propose(WantedModel(f"hf:{REPOSITORY}"))
    read = [wanted for path, wanted in server.requests if path.startswith("/cdn")]
    assert read == ["bytes=0-19", "bytes=0-999"]


def test_a_source_that_changed_since_is_not_copied(tmp_path: Path, store: ModelStore) -> None:
    folder = write(tmp_path / "m", DIRECTORY)
    proposal = propose(WantedModel(f"file:{folder}"))
    (folder / "model.safetensors").write_bytes(b"another")
    with pytest.raises(UserError, match="size or sha256 differs"):
        pull(store, proposal)
    assert store.find("m") is None


def test_a_path_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere does not exist"):
        propose(WantedModel(f"file:{tmp_path / 'nowhere'}"))
    folder = write(tmp_path / "m", DIRECTORY)
    with pytest.raises(UserError, match="--mmproj"):
        propose(WantedModel(f"file:{folder}", mmproj="file:none.gguf"))
    with pytest.raises(UserError, match="no name for a model"):
        propose(WantedModel(f"file:{folder}", name="A b"))
