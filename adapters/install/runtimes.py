"""Exports an installed adapter for another runtime, llama.cpp or vLLM, which runs it on the same base model."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from adapters.store.adapter_store import InstalledAdapter
from models.adapter_weights import PROJECTOR_FILE
from models.core.errors import UserError
from models.core.files import sync_directory, written_to
from models.formats.llama_sources import read_llama_config
from models.hub.store import ModelFiles
from models.lora.export import write_gguf_lora, write_plain_peft
from models.lora.peft_config import CONFIG_FILE, base_name
from models.lora.peft_format import WEIGHTS_FILE, PeftLora, check_layers, read_peft

Runtime = Literal["llama.cpp", "vllm"]
READABLE = 0o644
"""Mode of the written files: another user, or a container, may run the server."""
VLLM_RANKS = (16, 32, 64, 128)
"""Values of vLLM's --max-lora-rank; 16 is its default."""
TEXT_PREFIX = {"idefics3": "model.text_model."}
"""The path to the language model's layers in Hugging Face's model of a family; "model." for others."""


@dataclass(frozen=True)
class ExportedAdapter:
    """What was written.

    command: the shell command that serves it. left_out: what of the adapter the runtime does not have, as sentence
    parts.
    """

    path: Path
    command: str
    left_out: tuple[str, ...]


def export_for(
    runtime: Runtime, adapter: InstalledAdapter, target: Path, base: ModelFiles, *, force: bool = False
) -> ExportedAdapter:
    """Write the adapter for a runtime: a .gguf file for llama.cpp, a PEFT folder for vLLM.

    base: the model that the adapter runs on. force: replace what is at target. Raises UserError when the adapter has
    something that the runtime cannot run, and when target exists or cannot be written.
    """
    if adapter.manifest is None:
        raise UserError(adapter.problem or f"{adapter.name} was put there by hand; install it first.")
    lora = read_peft(adapter.folder, adapter.name)
    config = read_llama_config(base.files.get("language_model", base.directory))
    check_layers(lora, config.num_layers)
    _check_target(target, runtime, force=force)
    published = base_name(adapter.folder) or base.name
    left_out = _left_out(adapter)
    if runtime == "llama.cpp":
        with written_to(target, "choose another place"):
            write_gguf_lora(
                target, lora, heads=config.num_heads, kv_heads=config.num_kv_heads, base=published
            )
            target.chmod(READABLE)
        model = base.files.get("language_model", Path("BASE.gguf"))
        command = f"llama-server -m {model} --lora {target} --alias {adapter.name}"
        return ExportedAdapter(target, command, left_out)
    prefix = TEXT_PREFIX.get(base.family, "model.")
    _write_folder(target, lambda folder: write_plain_peft(folder, lora, base=published, prefix=prefix))
    return ExportedAdapter(target, _vllm_command(adapter.name, lora, published, target), left_out)


def _vllm_command(name: str, lora: PeftLora, base: str, target: Path) -> str:
    rank = next(rank for rank in VLLM_RANKS if rank >= lora.rank)
    return f"vllm serve {base} --enable-lora --max-lora-rank {rank} --lora-modules {name}={target}"


def _left_out(adapter: InstalledAdapter) -> tuple[str, ...]:
    manifest = adapter.manifest
    assert manifest is not None, "checked by export_for"
    parts = []
    if (adapter.folder / PROJECTOR_FILE).exists():
        parts.append(f"{PROJECTOR_FILE}, which belongs to the vision encoder of {manifest.base_model}")
    if manifest.reads.ocr != "never" or manifest.reads.words:
        parts.append("what edge-app reads in an image and writes into the prompt for it")
    if manifest.copies is not None:
        parts.append("that its answers are passages of the page, which edge-app sees to in decoding")
    return tuple(parts)


def _check_target(target: Path, runtime: Runtime, *, force: bool) -> None:
    """Raises UserError unless something may be written there."""
    if runtime == "llama.cpp" and target.suffix.lower() != ".gguf":
        raise UserError(f"{target} does not end in .gguf; llama.cpp reads an adapter from such a file.")
    if not target.parent.is_dir():
        raise UserError(f"There is no folder {target.parent} to write {target.name} to; make it first.")
    fits = _is_exported_folder(target) if runtime == "vllm" else target.is_file()
    if (target.exists() or target.is_symlink()) and not (force and fits):
        raise UserError(f"{target} exists already; choose another name, or replace it with --force.")


def _is_exported_folder(target: Path) -> bool:
    """Whether a folder has files of an export alone, so that nothing else is lost when it is replaced."""
    return target.is_dir() and {file.name for file in target.iterdir()} <= {CONFIG_FILE, WEIGHTS_FILE}


def _write_folder(target: Path, write: Callable[[Path], None]) -> None:
    """Write a folder under a temporary name and rename it; one that is there is replaced."""
    with written_to(target, "choose another place"):
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            (new := temporary / "new").mkdir()
            write(new)
            for file in new.iterdir():
                file.chmod(READABLE)
            if target.exists():
                target.rename(temporary / "old")
            new.rename(target)
            sync_directory(target.parent)
        finally:
            shutil.rmtree(temporary)
