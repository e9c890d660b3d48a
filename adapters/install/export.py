"""Packs an installed adapter into an archive for `adapters install`, and signs it on request.

Files that the app added when it installed the adapter are left out. The same adapter always gives the same bytes,
except for the signature.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from pathlib import Path

from adapters.install.trust import Signer, read_signer, write_signature
from adapters.install.verify import check_hashes
from adapters.store.adapter_store import InstalledAdapter
from adapters.store.manifest import MANIFEST_FILE, SIGNATURE_FILE
from models.core.errors import UserError
from models.core.files import replacing_document, written_to

_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip archive can store


def export(
    adapter: InstalledAdapter,
    archive: Path,
    *,
    key: Path | None = None,
    publisher: str = "",
    force: bool = False,
) -> Signer | None:
    """Write the archive, in which one folder has the adapter's files. Returns its signer, None without a signature.

    key: a private key to sign with, in the name of publisher; None keeps the signature that the adapter came with.
    force: replace an archive that exists. Raises UserError when the adapter's files do not match its manifest, and
    when the archive exists or cannot be written.
    """
    if archive.suffix.lower() != ".zip":
        raise UserError(f"{archive} does not end in .zip; adapters are exported as .zip.")
    if not archive.parent.is_dir():
        raise UserError(f"There is no folder {archive.parent} to write {archive.name} to; make it first.")
    if archive.exists() and not (force and archive.is_file()):
        raise UserError(f"{archive} exists already; choose another name, or replace it with --force.")
    if adapter.manifest is None:
        raise UserError(
            adapter.problem
            or f"{adapter.name} was put there by hand and has no {MANIFEST_FILE}; install it first."
        )
    made = adapter.record.made if adapter.record else {}
    check_hashes(adapter.folder, adapter.manifest, made)
    names = [MANIFEST_FILE, *sorted(set(adapter.manifest.files) - set(made))]
    with written_to(archive, "choose another place"), tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        shutil.copyfile(adapter.folder / MANIFEST_FILE, folder / MANIFEST_FILE)
        if key is not None:
            write_signature(folder, publisher or key.stem, key)
        elif (adapter.folder / SIGNATURE_FILE).exists():
            shutil.copyfile(adapter.folder / SIGNATURE_FILE, folder / SIGNATURE_FILE)
        signer = read_signer(folder)
        sources = {name: adapter.folder / name for name in names}
        sources |= {file.name: file for file in folder.iterdir()}
        _pack(archive, adapter.manifest.name, sources)
    return signer


def _pack(archive: Path, folder: str, sources: dict[str, Path]) -> None:
    """Write a zip archive, whole or not at all. sources: the files by name. Raises OSError."""
    with replacing_document(archive) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, source in sorted(sources.items()):
            entry = zipfile.ZipInfo(f"{folder}/{name}", _LONG_AGO)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            with source.open("rb") as read, packed.open(entry, "w") as written:
                shutil.copyfileobj(read, written, 1 << 20)
