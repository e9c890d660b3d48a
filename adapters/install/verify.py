"""Checks an adapter's folder against its manifest, and that its weights can be used."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from adapters.install.archive import check_file_name
from adapters.install.trust import read_signer
from adapters.prototypes import PROTOTYPES_FILE, check_sizes, read_prototypes
from adapters.store.adapter_store import InstalledAdapter
from adapters.store.manifest import (
    ALLOWED_FILES,
    MANIFEST_FILE,
    NOT_DECLARED,
    REQUIRED_FILES,
    SIGNATURE_FILE,
    AdapterManifest,
    check_prompt_format,
)
from adapters.store.record import RECORD_FILE
from models.adapter_weights import AdapterWeights, read_adapter
from models.core.errors import FileError, UserError
from models.core.files import file_digest
from models.engine import FeatureSizes
from models.hub.store import BaseDigests


def list_files(folder: Path) -> tuple[str, ...]:
    """The adapter's files in a folder, without the store's own record. Raises FileError for any other entry."""
    names = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name == RECORD_FILE:
            continue
        if entry.is_symlink() or not entry.is_file():
            raise FileError(folder, f" holds {entry.name!r}, which is no ordinary file; take it out.")
        name = check_file_name(entry.name, folder)
        if entry.stat().st_size > ALLOWED_FILES[name]:
            raise FileError(
                folder / name, f" is larger than the {ALLOWED_FILES[name]} bytes that it may have."
            )
        names.append(name)
    for name in REQUIRED_FILES:
        if name not in names:
            raise FileError(folder, f" has no {name}, as every PEFT adapter does.")
    return tuple(names)


def check_hashes(folder: Path, manifest: AdapterManifest, made: Mapping[str, str]) -> None:
    """Compare the sha256 of every file with the manifest's. made: sha256 of the files that the install added.

    Raises FileError for a file that differs, is missing, or is not listed.
    """
    expected = {**made, **manifest.files}
    present = set(list_files(folder)) - {MANIFEST_FILE, SIGNATURE_FILE}
    if unlisted := sorted(present - set(expected)):
        raise FileError(
            folder,
            f" holds {unlisted[0]}, of which {MANIFEST_FILE} has no sha256; add it or leave the file out.",
        )
    for name, digest in expected.items():
        if name not in present:
            raise FileError(folder, f" lacks {name}, which {MANIFEST_FILE} lists; get a fresh copy.")
        if file_digest(folder / name) != digest:
            raise FileError(
                folder / name, f" is not what {MANIFEST_FILE} says: its sha256 differs; get a fresh copy."
            )


def check_base(manifest: AdapterManifest, base: BaseDigests) -> None:
    """Raises UserError when the adapter was trained on other weights. base: of the installed base model."""
    if manifest.base_digest != NOT_DECLARED and manifest.base_digest not in base.accepted:
        raise UserError(
            f"The adapter {manifest.name} was made for other weights of {manifest.base_model} (digest "
            f"{manifest.base_digest[:12]}…) than this app has ({base.current[:12]}…); get a version for these."
        )


def check_prototypes(folder: Path, sizes: FeatureSizes) -> None:
    """Raises UserError when the adapter has prototypes of a model with other features."""
    path = folder / PROTOTYPES_FILE
    if path.exists():
        check_sizes(path, read_prototypes(path), sizes)


def read_weights(folder: Path, name: str) -> AdapterWeights:
    """The adapter's tensors. Raises UserError when they, or the prototypes if there are any, cannot be used."""
    weights = read_adapter(folder, name)
    if (folder / PROTOTYPES_FILE).exists():
        read_prototypes(folder / PROTOTYPES_FILE)
    return weights


def verify_installed(adapter: InstalledAdapter, base_digests: Callable[[str], BaseDigests]) -> str | None:
    """The problem of an installed adapter as a sentence; None when it has none.

    base_digests: of a model by name, see check_base.
    """
    folder, manifest, record = adapter.folder, adapter.manifest, adapter.record
    try:
        if adapter.problem:
            raise UserError(adapter.problem)
        list_files(folder)
        if manifest is not None:
            check_hashes(folder, manifest, record.made if record else {})
            read_signer(folder)
            check_prompt_format(manifest)
            check_base(manifest, base_digests(manifest.base_model))
        read_weights(folder, adapter.name)
        if manifest is None:
            raise FileError(
                folder,
                f" was put there by hand, without {MANIFEST_FILE}: its weights can be read, the rest cannot "
                "be verified.",
            )
    except UserError as error:
        return str(error)
    return None
