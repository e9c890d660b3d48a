"""Cache of adapters in memory, packed for the engine. Beyond a budget in bytes the least recently used are dropped.

An answer that uses an adapter holds a Lease. Leased weights do not change and stay in memory, even if the files, the
name or the budget change. The next lease has the files as they are then. Loading can begin early, on the bank's own
thread. The engine packs the weights, so that it switches adapters without further work.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from adapters.spec import AdapterSpec, parse_spec
from adapters.store.adapter_store import AdapterStore, Signature, read_policies
from adapters.store.manifest import PromptPolicy, combine_policies, policy_digest
from models.core.errors import UserError
from models.engine import AdapterPacker, PackedAdapter
from models.language.copying.policy import CopyPolicy


@dataclass(eq=False)
class _LoadedAdapter:
    """One adapter or one sum in memory.

    signatures: the state of each adapter's files when they were read. size: bytes in memory.
    """

    weights: PackedAdapter
    reads: PromptPolicy
    signatures: tuple[Signature, ...]
    copies: CopyPolicy | None = None
    leases: int = 0
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = self.weights.size


@dataclass(frozen=True)
class ResidentAdapter:
    """An entry of AdapterBank.residents. size: bytes in memory. leases: answers that use it now."""

    spec: str
    size: int
    leases: int


class Lease:
    """The use of an adapter until it is released.

    weights: for the engine; None for no adapter. reads: what the adapter needs in its prompts. copies: how its answers
    are copied from pages; None for no adapter, for a sum, and for one that answers in its own words.
    """

    def __init__(
        self,
        weights: PackedAdapter | None,
        reads: PromptPolicy,
        release: Callable[[], None],
        copies: CopyPolicy | None = None,
    ) -> None:
        self.weights = weights
        self.reads = reads
        self.copies = copies
        self._release = release
        self._held = True

    @property
    def policy(self) -> str | None:
        """See adapters.store.manifest.policy_digest; None for no adapter."""
        return None if self.weights is None else policy_digest(self.reads, self.copies)

    def release(self) -> None:
        """May be called from any thread. A second call does nothing."""
        if self._held:
            self._held = False
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class AdapterBank:
    """The adapters in memory. The methods may be called from any thread.

    budget: bytes that adapters may take. Leased ones, and the one used last, stay in memory beyond it.
    packer: packs adapters for the engine that runs them.
    """

    def __init__(self, store: AdapterStore, budget: int, packer: AdapterPacker) -> None:
        self._store = store
        self._budget = budget
        self._packer = packer
        self._lock = threading.Lock()
        self._resident: OrderedDict[AdapterSpec, _LoadedAdapter] = OrderedDict()
        self._leased: dict[_LoadedAdapter, AdapterSpec] = {}
        self._loading: dict[AdapterSpec, Future[_LoadedAdapter]] = {}
        self._worker = ThreadPoolExecutor(1, "adapters")

    def prefetch(self, spec: str | None) -> None:
        """Begin to load an adapter on the bank's thread, so that acquire need not wait for it.

        Errors of the loading are ignored here and raised by acquire. Raises UserError when spec is not a
        specification of an adapter.
        """
        if spec is not None:
            parsed = parse_spec(spec)
            with suppress(RuntimeError):  # the bank is closed
                self._worker.submit(self._current, parsed)

    def acquire(self, spec: str | None) -> Lease:
        """A lease of the adapter as its files are now, loaded if necessary.

        spec: as adapters.spec has it; None is no adapter. Raises UserError when there is no such adapter, when it is
        damaged or does not fit the model, and when the ranks of a sum are too many.
        """
        if spec is None:
            return Lease(None, PromptPolicy(), lambda: None)
        parsed = parse_spec(spec)
        entry = self._current(parsed)
        with self._lock:
            entry.leases += 1
            self._leased[entry] = parsed
            self._make_room()
        return Lease(entry.weights, entry.reads, lambda: self._release(entry), entry.copies)

    def residents(self) -> tuple[ResidentAdapter, ...]:
        """Adapters in memory, least recently used first, then leased ones that were replaced or removed on disk."""
        with self._lock:
            here = {entry: spec for spec, entry in self._resident.items()} | self._leased
            return tuple(ResidentAdapter(str(s), entry.size, entry.leases) for entry, s in here.items())

    def close(self) -> None:
        """Wait for loading and writing to end. Leases stay valid."""
        self._worker.shutdown()

    def _release(self, entry: _LoadedAdapter) -> None:
        with self._lock:
            entry.leases -= 1
            if not entry.leases:
                del self._leased[entry]
            self._make_room()

    def _make_room(self) -> None:
        """Drop entries until the budget is met. The caller holds the lock."""
        used = sum(entry.size for entry in {*self._resident.values(), *self._leased})
        for spec, entry in list(self._resident.items())[:-1]:
            if used <= self._budget:
                return
            if not entry.leases:
                del self._resident[spec]
                used -= entry.size

    def _current(self, spec: AdapterSpec) -> _LoadedAdapter:
        """The up-to-date entry, loaded on this thread unless another thread is loading it already."""
        while True:
            signatures = self._signatures(spec)
            with self._lock:
                entry = self._resident.get(spec)
                if entry is not None and entry.signatures == signatures:
                    self._resident.move_to_end(spec)
                    return entry
                under_way = self._loading.get(spec)
                if under_way is None:
                    mine = self._loading[spec] = Future()
            if under_way is None:
                return self._load_for_all(spec, mine)
            under_way.result()  # then look again: the files may have changed since the loading began

    def _signatures(self, spec: AdapterSpec) -> tuple[Signature, ...]:
        try:
            return tuple(self._store.signature(name) for name in spec.names)
        except UserError:
            with self._lock:
                self._resident.pop(spec, None)
            raise

    def _load_for_all(self, spec: AdapterSpec, result: Future[_LoadedAdapter]) -> _LoadedAdapter:
        """Load, and give the entry or the exception to the threads that wait for the result."""
        try:
            entry = self._load(spec)
        except BaseException as error:
            with self._lock:
                del self._loading[spec]
            result.set_exception(error)
            raise
        with self._lock:
            del self._loading[spec]
            self._resident[spec] = entry
            self._resident.move_to_end(spec)
            self._make_room()
        result.set_result(entry)
        return entry

    def _load(self, spec: AdapterSpec) -> _LoadedAdapter:
        if spec.is_plain:
            return self._read(spec.names[0])
        plain = [self._current(AdapterSpec(((name, 1.0),))) for name in spec.names]
        scales = [scale for _, scale in spec.parts]
        parts = list(zip((entry.weights for entry in plain), scales, strict=True))
        identity = repr([(each.name, each.generation, scale) for each, scale in parts])
        generation = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8], "big") >> 1
        return _LoadedAdapter(
            self._packer.add(str(spec), generation, parts),
            combine_policies(entry.reads for entry in plain),
            tuple(entry.signatures[0] for entry in plain),
        )

    def _read(self, name: str) -> _LoadedAdapter:
        """Load from the packed file, or from the installed files, which writes the packed file."""
        cached = self._open_packed(name)
        if cached is not None:
            return cached
        loaded = self._store.load(name)
        packed = self._packer.pack(loaded.weights)
        self._write_packed(packed, loaded.signature)
        return _LoadedAdapter(packed, loaded.reads, (loaded.signature,), loaded.copies)

    def _write_packed(self, packed: PackedAdapter, signature: Signature) -> None:
        """Write the packed file on the bank's thread."""
        try:
            self._worker.submit(self._packer.keep, packed, signature)
        except RuntimeError:  # the bank was closed while this was loading
            self._packer.keep(packed, signature)

    def _open_packed(self, name: str) -> _LoadedAdapter | None:
        """The entry from the packed file; None when there is none of this version, or the files change meanwhile."""
        signature = self._store.signature(name)
        folder = self._store.folder(name)
        packed = self._packer.open(folder, name, signature)
        if packed is None:
            return None
        try:
            reads, copies = read_policies(folder)
        except UserError:  # reading the installed files raises it again, if it persists
            return None
        if self._store.signature(name) != signature:
            return None
        return _LoadedAdapter(packed, reads, (signature,), copies)
