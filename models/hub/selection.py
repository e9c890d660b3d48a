"""Chooses the files of a repository or folder that make a model: which are needed, and which are never taken.

Three forms are known: a Hugging Face directory (config.json with safetensors), an MLC package
(mlc-chat-config.json with raw shards), and GGUF files (a language model, with a vision encoder as mmproj or without).
Pickled weights run code when they are read, so they are never taken.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from models.core.errors import UserError

Form = Literal["hugging face", "mlc", "gguf"]

CONFIG, INDEX, MLC_CONFIG = "config.json", "model.safetensors.index.json", "mlc-chat-config.json"
MLC_TABLES = ("tensor-cache.json", "ndarray-cache.json")
LANGUAGE_MODEL, MMPROJ = "language_model", "mmproj"  # roles of GGUF files

_BESIDE_WEIGHTS = (
    CONFIG, INDEX, "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "merges.txt", "preprocessor_config.json", "processor_config.json",
    "chat_template.json", "chat_template.jinja",
)  # fmt: skip
_MLC_FILES = (
    MLC_CONFIG, *MLC_TABLES, "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
)  # fmt: skip
_SHARD = re.compile(r"model-\d{5}-of-(\d{5})\.safetensors")
_MLC_SHARD = re.compile(r"params_shard_\d+\.bin")
_SPLIT_GGUF = re.compile(r".*-\d{5}-of-\d{5}\.gguf")
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")

LANGUAGE_TYPES = ("q8_0", "f16", "bf16", "q6_k", "q5_k_m", "q4_k_m", "q4_0", "f32")
"""The types of a language model's weights in a GGUF file's name, in the order in which one is chosen."""

MMPROJ_TYPES = ("q8_0", "f16", "bf16", "f32")


@dataclass(frozen=True)
class Selection:
    """The chosen files. files: path in the repository or folder, by role; the roles of a directory are the names."""

    form: Form
    files: Mapping[str, str]


def select(
    paths: Collection[str], where: str, wanted: Collection[str] = (), mmproj: str | None = None
) -> Selection:
    """The files of a model among these.

    paths: with "/" between folders. where: names them in errors.
    wanted: GGUF files that the user named, by path or file name. mmproj: likewise, the vision encoder.
    Raises UserError, which says what is missing or what there is to choose from.
    """
    named = [_named(paths, each, where) for each in wanted]
    tower = None if mmproj is None else _named(paths, mmproj, where)
    chosen = bool(named or tower)
    if not chosen and MLC_CONFIG in paths:
        return _mlc(paths, where)
    if not chosen and CONFIG in paths and any(path.endswith(".safetensors") for path in paths):
        return _hugging_face(paths, where)
    if any(path.endswith(".gguf") for path in paths):
        return _gguf(paths, named, tower, where)
    if "adapter_config.json" in paths:
        raise UserError(f"{where} is an adapter, not a model; `edge-app adapters install` takes it.")
    pickled = [path for path in paths if path.endswith(_PICKLED)]
    if pickled:
        raise UserError(
            f"{where} has only pickled weights ({pickled[0]}), which run code when they are read and are never "
            "loaded; look for safetensors or GGUF files of this model."
        )
    raise UserError(
        f"{where} holds no model: neither {CONFIG} with safetensors, nor {MLC_CONFIG}, nor GGUF files."
    )


def listing(selection: Selection) -> str | None:
    """The chosen file that names the others with weights: an index of safetensors or an MLC table."""
    return next((name for name in (INDEX, *MLC_TABLES) if name in selection.files), None)


def with_listed(selection: Selection, content: Any, sizes: Mapping[str, int], where: str) -> Selection:
    """The selection with every file of weights that its listing names.

    content: of the listing, as JSON. sizes: bytes by path of all files. where: names them in errors.
    Raises UserError when a named file is not there, or has another size than an MLC table says.
    """
    name, end = listing(selection), ".bin" if selection.form == "mlc" else ".safetensors"
    files = _listed(content, f"{name} of {where}")
    for path, size in files.items():
        if "/" in path or not path.endswith(end) or not sizes.get(path):
            raise UserError(f"{where} lacks {path}, which its {name} names; it is incomplete.")
        if size is not None and size != sizes[path]:
            raise UserError(f"{where} has {path} with {sizes[path]} bytes where its {name} says {size}.")
    return Selection(selection.form, {**selection.files, **{path: path for path in files}})


def _listed(content: Any, what: str) -> dict[str, int | None]:
    """The files that an index or a table names, with their sizes in bytes where it has them."""
    match content:
        case {"weight_map": dict(files)} if files and all(isinstance(name, str) for name in files.values()):
            return dict.fromkeys(sorted(set(files.values())))
        case {"records": list(records)} if records:
            sizes: dict[str, int | None] = {}
            for record in records:
                match record:
                    case {"dataPath": str(name), "nbytes": int(size)}:
                        sizes[name] = size
            if len(sizes) == len(records):
                return sizes
    raise UserError(f"{what} is no list of files with weights; the model is incomplete.")


def _hugging_face(paths: Collection[str], where: str) -> Selection:
    if "tokenizer.json" not in paths:
        raise UserError(f"{where} has no tokenizer.json, without which its texts cannot be read.")
    shards = sorted(path for path in paths if _SHARD.fullmatch(path))
    if INDEX in paths and shards:
        match = _SHARD.fullmatch(shards[0])
        assert match is not None
        if len(shards) != int(match[1]):
            raise UserError(f"{where} has {len(shards)} of {int(match[1])} shards of its weights.")
        weights = shards
    elif "model.safetensors" in paths:
        weights = ["model.safetensors"]
    else:
        raise UserError(f"{where} has no model.safetensors, and no {INDEX} with the shards that it names.")
    beside = [name for name in _BESIDE_WEIGHTS if name in paths and (name != INDEX or weights == shards)]
    return Selection("hugging face", {name: name for name in (*beside, *weights)})


def _mlc(paths: Collection[str], where: str) -> Selection:
    shards = sorted(path for path in paths if _MLC_SHARD.fullmatch(path))
    listings = [name for name in MLC_TABLES if name in paths]
    if not shards or not listings or "tokenizer.json" not in paths:
        raise UserError(
            f"{where} has {MLC_CONFIG}, but not all of tensor-cache.json (or ndarray-cache.json), params_shard_0.bin "
            "and tokenizer.json."
        )
    beside = [name for name in _MLC_FILES if name in paths and name not in listings[1:]]
    return Selection("mlc", {name: name for name in (*beside, *shards)})


def _gguf(paths: Collection[str], named: Collection[str], tower: str | None, where: str) -> Selection:
    """named: language model and mmproj that the user chose. tower: the mmproj, whatever its name is."""
    files = sorted(path for path in paths if path.endswith(".gguf") and path != tower)
    models = [path for path in named if not _is_mmproj(path)]
    towers = [path for path in named if _is_mmproj(path)] + ([tower] if tower else [])
    if len(models) > 1 or len(towers) > 1:
        raise UserError("Give one language model and one mmproj at most.")
    there = [path for path in files if _is_mmproj(path)]
    model = models[0] if models else None
    if model is None:
        others = [path for path in files if not _is_mmproj(path)]
        model = _by_type(others, LANGUAGE_TYPES, where, "language model")
    if _SPLIT_GGUF.fullmatch(model):
        raise UserError(f"{model} of {where} is one part of a split GGUF file; take a file that is whole.")
    roles = {LANGUAGE_MODEL: model}
    if towers or there:
        roles[MMPROJ] = towers[0] if towers else _by_type(there, MMPROJ_TYPES, where, "mmproj")
    return Selection("gguf", roles)


def _by_type(paths: Collection[str], order: tuple[str, ...], where: str, what: str) -> str:
    """The file whose name has the first of these types; the only file, if there is one."""
    whole = [path for path in paths if not _SPLIT_GGUF.fullmatch(path)] or [*paths]
    if len(whole) == 1:
        return whole[0]
    for kind in order:
        found = [path for path in whole if _type_in(path) == kind]
        if len(found) == 1:
            return found[0]
        if found:
            break
    if not whole:
        raise UserError(f"{where} has no {what} among its GGUF files.")
    names = ", ".join(sorted(whole)[:12])
    raise UserError(f"{where} has several files that could be the {what}; choose one by --file: {names}.")


def _type_in(path: str) -> str:
    """The type at the end of a GGUF file's name, as "q8_0" of "Model-Q8_0.gguf"; empty without one."""
    return re.split(r"[-.]", PurePosixPath(path).name.removesuffix(".gguf"))[-1].lower()


def _is_mmproj(path: str) -> bool:
    return "mmproj" in PurePosixPath(path).name.lower()


def _named(paths: Collection[str], name: str, where: str) -> str:
    """The path that the user named, in full or by its last part. Raises UserError."""
    found = [path for path in paths if name in (path, PurePosixPath(path).name)]
    if len(found) != 1:
        there = ", ".join(sorted(path for path in paths if path.endswith(".gguf"))[:12]) or "none"
        raise UserError(f"{where} has no GGUF file {name}; there are: {there}.")
    if not name.endswith(".gguf"):
        raise UserError(f"--file chooses among GGUF files; {name} is none.")
    return found[0]
