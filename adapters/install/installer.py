"""Installs an adapter: fetches it, checks its files, tries it on the model, and then puts it in its place.

fetch.py gets the files, archive.py and verify.py check them, probe.py tries them, and adapters/store/staging.py puts
them in place of an earlier version.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from adapters.install.archive import SUFFIXES
from adapters.install.fetch import Fetched, fetch
from adapters.install.probe import probe
from adapters.install.trust import Publishers, Signer, read_signer
from adapters.install.verify import check_base, check_hashes, check_prototypes, list_files, read_weights
from adapters.prototypes import PROTOTYPES_FILE, make_prototypes, write_prototypes
from adapters.store.adapter_store import AdapterStore, InstalledAdapter
from adapters.store.manifest import (
    MANIFEST_FILE,
    NOT_DECLARED,
    SIGNATURE_FILE,
    AdapterManifest,
    check_name,
    check_prompt_format,
    parse_manifest,
    write_manifest,
)
from adapters.store.record import BY_THE_APP, InstallRecord, write_record
from adapters.store.staging import Staging, changing
from models.core.errors import FileError, UserError
from models.core.files import file_digest
from models.core.types import Progress, no_progress
from models.engine import Engine
from models.hub.store import BaseDigests
from models.lora.peft_config import base_name

UNDECLARED_VERSION = "0"
"""The version of a plain PEFT folder, which has none."""


class NotNewer(UserError):
    """The installed version is the same or newer. --force installs it anyway."""


class Models(Protocol):
    """The operations on this machine's models that installing needs."""

    def base_for(self, published: str) -> str:
        """The model for which an adapter was made that has no manifest.

        published: how its configuration names the base model, by its repository or a path; may be empty. A model of
        that name, else the one that was chosen for general use.
        """
        ...

    def base_of(self, model: str, digest: str) -> str:
        """The model that is to run an adapter: the one of this name, or one of the same weights under another name.

        model, digest: base_model and base_digest of its manifest.
        """
        ...

    def base_digests(self, name: str) -> BaseDigests:
        """See models.hub.store.ModelStore.base_digests. Raises UserError for an unknown model."""
        ...

    def load(self, name: str) -> Engine:
        """A model's engine. Downloads what is missing. Raises UserError, NeedsNetwork. The caller must not close it."""
        ...

    def router_features(self, base: Engine) -> Engine:
        """The engine whose features the router reads, for an adapter of this base. The caller must not close it."""
        ...


@dataclass(frozen=True)
class Wanted:
    """What to install.

    source, sha256: see adapters.install.fetch. name: the name to install under; empty takes the adapter's own.
    force: replace any installed adapter of this name. newer: install only a newer version, as an update does.
    """

    source: str
    name: str = ""
    sha256: str = ""
    force: bool = False
    newer: bool = False
    offline: bool = False


@dataclass(frozen=True)
class CheckedAdapter:
    """An adapter whose files have passed every check. replaces: the installed adapter of the same name."""

    name: str
    manifest: AdapterManifest
    declared: bool
    fetched: Fetched
    signer: Signer | None
    replaces: InstalledAdapter | None

    @property
    def signed_by(self) -> str:
        """See InstallRecord.signed_by."""
        if self.fetched.bundled:
            return BY_THE_APP
        return self.signer.fingerprint if self.signer else ""


@dataclass(frozen=True)
class Outcome:
    """The result of an installation. adapter: as installed. candidate: as it was checked before."""

    adapter: InstalledAdapter
    candidate: CheckedAdapter


class Installer:
    """Changes the store of adapters.

    confirm: called for an adapter that no trusted publisher signed; False refuses it. changed: called with the name of
    every adapter that was installed or removed.
    """

    def __init__(
        self,
        store: AdapterStore,
        models: Models,
        publishers: Publishers,
        confirm: Callable[[CheckedAdapter], bool],
        progress: Progress = no_progress,
        changed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._models = models
        self._publishers = publishers
        self._confirm = confirm
        self._progress = progress
        self._changed = changed

    def install(self, wanted: Wanted) -> Outcome:
        """Install an adapter. Raises UserError or NeedsNetwork, and then leaves the store unchanged."""
        if wanted.name:
            check_name(wanted.name)
        with changing(self._store.directory, self._progress) as staging:
            candidate = self._install(wanted, staging)
            self._changed(candidate.name)
        return Outcome(self._store.get(candidate.name), candidate)

    def update(self, name: str, *, offline: bool = False) -> Outcome:
        """Install the newest version from an adapter's source. Raises NotNewer when that is not newer."""
        record = self._store.get(name).record
        if record is None or not record.source:
            raise UserError(f"It is not known where {name} came from; install it from its source once.")
        if record.sha256:
            raise NotNewer(
                f"{name} was pinned by --sha256 and stays as it is; install another version by hand."
            )
        return self.install(Wanted(record.source, name, newer=True, offline=offline))

    def remove(self, name: str) -> None:
        """Remove an adapter. Raises UserError when there is none."""
        self._store.folder(name)
        with changing(self._store.directory, self._progress) as staging:
            self._store.folder(name)  # raises when another process has removed it
            staging.discard(name)
            self._changed(name)

    def _install(self, wanted: Wanted, staging: Staging) -> CheckedAdapter:
        folder = staging.new_folder()
        fetched = fetch(
            wanted.source, folder, sha256=wanted.sha256, offline=wanted.offline, progress=self._progress
        )
        with _named_by_source(folder, fetched.source):
            candidate = self._check(wanted, folder, fetched)
            weights = read_weights(folder, candidate.name)
        manifest, name = candidate.manifest, candidate.name
        base_model = self._models.base_of(manifest.base_model, manifest.base_digest)
        base = self._models.base_digests(base_model)
        check_prompt_format(manifest)
        check_base(manifest, base)
        self._check_trust(candidate)
        model = self._models.load(base_model)
        reader = self._models.router_features(model)
        check_prototypes(folder, reader.feature_sizes)
        self._progress("load", f"Trying {name}", 0, 1)
        questions = tuple(example.question for example in manifest.examples)
        probe(model, weights, questions, use_words=manifest.reads.words)
        made = {}
        if questions and not (folder / PROTOTYPES_FILE).exists():
            path = write_prototypes(folder, make_prototypes(reader, (), questions))
            made[PROTOTYPES_FILE] = file_digest(path)
        write_record(
            folder,
            InstallRecord(
                source=fetched.source,
                date=datetime.now(UTC).isoformat(timespec="seconds"),
                base_digest=base.current,
                revision=fetched.revision,
                sha256=wanted.sha256.lower(),
                signed_by=candidate.signed_by,
                declared=candidate.declared,
                made=made,
            ),
        )
        staging.settle(folder, name)
        return candidate

    def _check(self, wanted: Wanted, folder: Path, fetched: Fetched) -> CheckedAdapter:
        """Run all checks that need no model. Raises UserError."""
        self._progress("load", "Checking the files", 0, 1)
        files = list_files(folder)
        path = folder / MANIFEST_FILE
        declared = MANIFEST_FILE in files
        if declared:
            manifest = parse_manifest(path.read_bytes(), path)
        elif SIGNATURE_FILE in files:
            raise UserError(
                f"{fetched.source} has a {SIGNATURE_FILE} but no {MANIFEST_FILE} that it could sign."
            )
        else:
            base = self._models.base_for(base_name(folder))
            manifest = _made_manifest(folder, files, wanted, fetched, base)
            path.write_bytes(write_manifest(manifest))
        check_hashes(folder, manifest, {})
        name = wanted.name or manifest.name
        signer = read_signer(folder)
        candidate = CheckedAdapter(name, manifest, declared, fetched, signer, self._replaced(name))
        _check_replacing(candidate, wanted)
        return candidate

    def _replaced(self, name: str) -> InstalledAdapter | None:
        """The installed adapter of this name. Raises UserError when the name cannot be used on this disk."""
        names = self._store.names()
        for other in names:
            if other != name and other.casefold() == name.casefold():
                raise UserError(
                    f"{name!r} differs from the installed {other!r} in capital letters only; choose another --name."
                )
        if name in names:
            return self._store.get(name)
        place = self._store.directory / name
        if place.exists() or place.is_symlink():
            raise UserError(f"{place} is in the way and is no adapter; move it elsewhere.")
        return None

    def _check_trust(self, candidate: CheckedAdapter) -> None:
        """Ask for consent unless a trusted publisher signed the adapter. Raises UserError when it is refused."""
        signer = candidate.signer
        if candidate.fetched.bundled or (signer and self._publishers.name_of(signer.fingerprint)):
            return
        if not self._confirm(candidate):
            raise UserError(f"{candidate.name} was not installed: no publisher that you trust signed it.")


@contextmanager
def _named_by_source(folder: Path, source: str) -> Iterator[None]:
    """Make errors about the temporary folder name the source, which the user knows."""
    try:
        yield
    except FileError as error:
        path = Path(error.path)
        if not path.is_relative_to(folder):
            raise
        raise error.at(
            source if path == folder else f"{source}/{path.relative_to(folder).as_posix()}"
        ) from None


def _check_replacing(candidate: CheckedAdapter, wanted: Wanted) -> None:
    """Raises NotNewer or UserError when the installed adapter of that name should stay."""
    old, new, name = candidate.replaces, candidate.manifest, candidate.name
    if old is None or wanted.force or old.problem:
        return
    if old.manifest is None:
        raise UserError(f"There is an adapter {name} that was put there by hand; replace it with --force.")
    if old.record is not None and old.record.signed_by != candidate.signed_by:
        raise UserError(
            f"The installed {name} is not from the same publisher; install this one under another "
            "--name, or replace it with --force."
        )
    if not candidate.declared:
        if old.manifest.files == new.files:
            raise NotNewer(f"{name} is installed already, with these very files.")
        if not wanted.newer:
            raise UserError(
                f"There is an adapter {name} already; choose another --name, or replace it with --force."
            )
    elif not new.is_newer_than(old.manifest):
        relation = "newer than" if old.manifest.is_newer_than(new) else "the same version as"
        raise NotNewer(
            f"{name} {old.manifest.version} is installed, which is {relation} this {new.version}; --force "
            "replaces it anyway."
        )


def _made_manifest(
    folder: Path, files: tuple[str, ...], wanted: Wanted, fetched: Fetched, base_model: str
) -> AdapterManifest:
    """A manifest for a folder that the peft library saved, which has none."""
    name = check_name(wanted.name or _name_in(fetched.source))
    return AdapterManifest(
        name=name,
        version=UNDECLARED_VERSION,
        description=f"A PEFT adapter without a description: {name}",
        base_model=base_model,
        base_digest=NOT_DECLARED,
        files={file: file_digest(folder / file) for file in files},
    )


def _name_in(source: str) -> str:
    """The last part of a path, an address or a repository, without an archive's ending."""
    plain = re.sub(r"[?#].*$", "", source) if "://" in source else source
    if plain.startswith("hf:"):
        plain = plain.partition("@")[0]
    last = re.split(r"[/\\]", plain.rstrip("/\\"))[-1]
    for suffix in SUFFIXES:
        last = last.removesuffix(suffix)
    return last
