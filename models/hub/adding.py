"""Adds models to the catalog that no catalog names: from Hugging Face, or from files on this machine.

What the model is, and whether it can run, is read from its configuration before anything large is downloaded.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models.core.errors import NeedsNetwork, UserError
from models.formats.gguf.gguf_file import GgufFile
from models.formats.model_description import FamilyDescription, describe_config, describe_gguf
from models.formats.safetensors_file import SafetensorsFile
from models.hub.catalog import MODEL_NAME, CatalogEntry, CatalogFile, safe_file_name
from models.hub.catalog_file import as_toml
from models.hub.file_trees import FileTree, open_repository
from models.hub.local_tree import local_files
from models.hub.selection import (
    CONFIG,
    LANGUAGE_MODEL,
    MLC_CONFIG,
    MMPROJ,
    Selection,
    listing,
    select,
    with_listed,
)

IMAGES_AT_ONCE = 4
"""Images in one prompt of a model with a vision tower: its context of 4,096 tokens holds so many, which
are looked at less closely where they would not fit at full detail."""


@dataclass(frozen=True)
class WantedModel:
    """What the user asks for.

    source: "hf:owner/repository[@revision]", or "file:" and a folder or a GGUF file. name: "" takes the source's.
    files: GGUF files of a repository or folder that are chosen by name. mmproj: the GGUF file of the vision encoder,
    in the same repository, or on this machine for a source on this machine.
    """

    source: str
    name: str = ""
    files: tuple[str, ...] = ()
    mmproj: str | None = None


@dataclass(frozen=True)
class ProposedModel:
    """A model that can run. contents: its small files that were read already, by file name."""

    entry: CatalogEntry
    contents: Mapping[str, bytes]


def is_source(text: str) -> bool:
    """Whether this is a source of WantedModel, and not a model's name."""
    return text.startswith(("hf:", "file:"))


def propose(wanted: WantedModel, *, offline: bool = False) -> ProposedModel:
    """The entry for a model, with its files, and the memory that it needs. Nothing large is downloaded.

    Raises UserError when it cannot run, and NeedsNetwork when it is on the hub and that cannot be reached or offline
    is set.
    """
    if wanted.source.startswith("file:"):
        tree = local_files(wanted.source, wanted.mmproj)
        tower = None if wanted.mmproj is None else Path(wanted.mmproj.removeprefix("file:")).name
        return _propose(tree, replace(wanted, mmproj=tower))
    if offline:
        raise NeedsNetwork(
            f"{wanted.source} is on the network and the app is offline; pull it once without --offline."
        )
    with open_repository(wanted.source) as repository:
        return _propose(repository, wanted)


def _propose(tree: FileTree, wanted: WantedModel) -> ProposedModel:
    name = _name(wanted.name, tree)
    paths = [path for path, size in tree.sizes.items() if size]  # an empty file is as good as none
    if tree.sizes and not paths:
        raise UserError(f"{tree.where} is empty.")
    selection = select(paths, tree.where, wanted.files, wanted.mmproj)
    described = _described(tree, selection)
    selection = _whole(tree, selection)
    files = _with_distinct_names([tree.catalog_file(role, path) for role, path in selection.files.items()])
    entry = CatalogEntry(
        name=name,
        description=f"{tree.where}: {_shape(described)}",
        family=described.family,
        licence=tree.licence,
        files=files,
        bundled=None,
        images_at_once=IMAGES_AT_ONCE if described.vision else 1,
        origin=tree.origin,
    )
    entry = replace(entry, memory_given=described.memory(precision=entry.precision or "int8"))
    as_toml(entry)  # raises UserError here, before a download, for what the catalog could not hold
    paths_and_files = zip(selection.files.values(), files, strict=True)
    read = {file.pin.name: tree.contents[path] for path, file in paths_and_files if path in tree.contents}
    return ProposedModel(entry, read)


def _with_distinct_names(files: Sequence[CatalogFile]) -> tuple[CatalogFile, ...]:
    """The files, with the role before the names of those that have one name, as GGUF files of two folders may."""
    count = Counter(file.pin.name for file in files)
    return tuple(
        replace(file, pin=replace(file.pin, name=safe_file_name(f"{file.role}-{file.pin.name}")))
        if count[file.pin.name] > 1
        else file
        for file in files
    )


def _described(tree: FileTree, selection: Selection) -> FamilyDescription:
    """What the model is. Raises UserError when it cannot run."""
    if selection.form != "gguf":
        path = CONFIG if selection.form == "hugging face" else MLC_CONFIG
        return describe_config(_json_object(tree, path), f"{tree.where}/{path}")
    with _headers_of(tree.where) as folder:
        model = tree.header(selection.files[LANGUAGE_MODEL], folder, GgufFile)
        mmproj = selection.files.get(MMPROJ)
        return describe_gguf(model, None if mmproj is None else tree.header(mmproj, folder, GgufFile))


def _whole(tree: FileTree, selection: Selection) -> Selection:
    """The selection with all files of weights that it names. Raises UserError when they are not whole."""
    if (name := listing(selection)) is not None:
        selection = with_listed(selection, _json_object(tree, name), tree.sizes, tree.where)
    for path in selection.files.values():
        if path.endswith(".safetensors"):
            with _headers_of(tree.where) as folder:
                tree.header(path, folder, SafetensorsFile)
    return selection


def _json_object(tree: FileTree, path: str) -> dict[str, Any]:
    try:
        content = json.loads(tree.read(path))
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{path} of {tree.where} is not a JSON object.")
    return content


@contextmanager
def _headers_of(where: str) -> Iterator[Path]:
    """A temporary folder for headers. Errors inside the block name the repository in the folder's place."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            yield Path(folder)
        except NeedsNetwork:
            raise
        except UserError as error:
            raise UserError(str(error).replace(folder, where)) from None


def _name(given: str, tree: FileTree) -> str:
    """The model's name: the given one, or the repository's or file's in small letters. Raises UserError."""
    name = given or re.sub(r"[^a-z0-9._-]+", "-", tree.name.lower()).removesuffix("-gguf").strip("-._")[:64]
    if not MODEL_NAME.fullmatch(name):
        raise UserError(
            f"{name!r} is no name for a model (small letters, digits, . _ -); give one by --name."
        )
    return name


def _shape(described: FamilyDescription) -> str:
    language = described.language
    seen = ", sees images" if described.vision else ", text alone"
    return f"{described.family}, {language.num_layers} layers of width {language.hidden_size}{seen}"
