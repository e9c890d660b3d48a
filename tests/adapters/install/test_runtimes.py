"""Installed adapters are written for other runtimes, and nothing that is there is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adapters.install.runtimes import export_for
from adapters.store.adapter_store import InstalledAdapter
from adapters.store.manifest import MANIFEST_FILE, parse_manifest
from models.core.errors import UserError
from models.formats.gguf.gguf_file import GgufFile
from models.hub.store import ModelFiles
from models.language.copying.policy import CopyPolicy
from models.lora.peft_format import read_peft
from tests.adapters.making import write_adapter
from tests.models.tiny_directory import model_files, write_directory


@pytest.fixture
def base(tmp_path: Path) -> ModelFiles:
    return model_files(write_directory(tmp_path / "base"))


@pytest.fixture
def adapter(tmp_path: Path) -> InstalledAdapter:
    folder = write_adapter(tmp_path / "plants")
    manifest = parse_manifest((folder / MANIFEST_FILE).read_bytes(), folder / MANIFEST_FILE)
    return InstalledAdapter("plants", folder, manifest)


def test_a_file_for_llama_cpp(adapter: InstalledAdapter, base: ModelFiles, tmp_path: Path) -> None:
    target = tmp_path / "out.gguf"
    written = export_for("llama.cpp", adapter, target, base)
    file = GgufFile(target)
    assert file.metadata["general.name"] == "plants"
    assert len(file.tensors) == len(read_peft(adapter.folder, "plants").tensors)
    assert (written.path, written.command.endswith(f"--lora {target} --alias plants")) == (target, True)
    assert target.stat().st_mode & 0o777 == 0o644


def test_a_folder_for_vllm(adapter: InstalledAdapter, base: ModelFiles, tmp_path: Path) -> None:
    target = tmp_path / "out"
    written = export_for("vllm", adapter, target, base)
    assert sorted(file.name for file in target.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert read_peft(target, "x").rank == read_peft(adapter.folder, "x").rank
    assert "--max-lora-rank 16 " in written.command
    assert written.command.endswith(f"--lora-modules plants={target}")
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


def test_the_path_of_the_layers_is_that_of_the_base(
    adapter: InstalledAdapter, base: ModelFiles, tmp_path: Path
) -> None:
    from safetensors.numpy import load_file

    export_for("vllm", adapter, tmp_path / "out", replace(base, family="idefics3"))
    stored = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert all(name.startswith("base_model.model.model.text_model.layers.") for name in stored)


def test_what_only_this_app_has_is_named(adapter: InstalledAdapter, base: ModelFiles, tmp_path: Path) -> None:
    (adapter.folder / "projector.safetensors").write_bytes(b"x")
    written = export_for("llama.cpp", adapter, tmp_path / "out.gguf", base)
    assert any(part.startswith("projector.safetensors") for part in written.left_out)
    assert not any("passages" in part for part in written.left_out)
    assert adapter.manifest is not None
    copying = replace(adapter, manifest=replace(adapter.manifest, copies=CopyPolicy()))
    written = export_for("llama.cpp", copying, tmp_path / "copying.gguf", base)
    assert any("passages of the page" in part for part in written.left_out)


@pytest.mark.parametrize("runtime", ["llama.cpp", "vllm"])
def test_what_is_there_stays_unless_forced(
    adapter: InstalledAdapter, base: ModelFiles, tmp_path: Path, runtime: str
) -> None:
    target = tmp_path / "out.gguf"
    export_for(runtime, adapter, target, base)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="exists already"):
        export_for(runtime, adapter, target, base)  # type: ignore[arg-type]
    export_for(runtime, adapter, target, base, force=True)  # type: ignore[arg-type]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["base", "out.gguf", "plants"]


def test_a_folder_with_other_files_is_not_replaced_even_when_forced(
    adapter: InstalledAdapter, base: ModelFiles, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="exists already"):
        export_for("vllm", adapter, tmp_path / "mine", base, force=True)
    assert (tmp_path / "mine" / "thesis.tex").exists()


@pytest.mark.parametrize(
    ("name", "says"), [("out.bin", "does not end in .gguf"), ("no/out.gguf", "There is no folder")]
)
def test_a_wrong_place_is_refused(
    adapter: InstalledAdapter, base: ModelFiles, tmp_path: Path, name: str, says: str
) -> None:
    with pytest.raises(UserError, match=says):
        export_for("llama.cpp", adapter, tmp_path / name, base)
