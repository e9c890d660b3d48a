"""Our language model in a process of its own, the counterpart of llama_cpp_worker.

    python -m benchmarks.speed.runtime_worker

It runs models.language.runtime.LlamaRuntime directly and without sampling, as llama_cpp_worker runs llama.cpp. The
protocol is that of benchmarks/workers.py.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from adapters.bank import AdapterBank
from adapters.store.adapter_store import AdapterStore
from benchmarks.speed import workload
from benchmarks.workers import serve
from models.compiled_adapters import CompiledAdapterPacker, as_compiled
from models.compiler.cpu import choose_path, detect
from models.formats.llama_sources import load_llama
from models.language.runtime import LlamaRuntime, compile_llama
from models.lora.packed_files import forget
from models.lora.weights import PackedLora, pack_lora
from models.packing.packed_model import load_or_pack


class RuntimeWorker:
    """One runtime and its adapters. The public methods are the requests."""

    def load(self, weights: str, digest: str, cache: str, threads: int, length: int) -> dict[str, Any]:
        """Load the weights, packed and compiled through the app's cache, with a context of this length."""
        folder = Path(cache)
        packed = load_or_pack(digest, lambda: load_llama(Path(weights), digest), folder / "packed")
        library = compile_llama(packed.shape, choose_path(detect(folder)), folder / "compiled")
        self.runtime = LlamaRuntime(packed, library, threads, length)
        self.packed_bytes = {name: section.nbytes for name, section in packed.sections.items()}
        self.adapters: dict[str | None, PackedLora | None] = {None: None}
        return {}

    def prefill(self, tokens: list[int], adapter: str | None = None) -> dict[str, Any]:
        """Compute the prompt with an empty KV cache. Replies the seconds."""
        array, lora = np.array(tokens, np.int32), self.adapters[adapter]
        started = time.perf_counter()
        logits = self.runtime.prefill(array, None, 0, lora)
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "best": int(logits.argmax())}

    def decode(self, tokens: list[int], position: int, adapter: str | None = None) -> dict[str, Any]:
        """Decode the tokens one at a time from this position. Replies the seconds of all."""
        lora, runtime = self.adapters[adapter], self.runtime
        started = time.perf_counter()
        for place, token in enumerate(tokens, position):
            logits = runtime.decode(token, place, lora)
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "best": int(logits.argmax())}

    def adapt(self, name: str, rank: int) -> dict[str, Any]:
        """Make a random adapter of this rank, which prefill and decode find by its name."""
        self.adapters[name] = pack_lora(
            self.runtime.shape, workload.adapter(self.runtime.shape, name, rank, rank)
        )
        return {}

    def switch(
        self, directory: str, packed: str, names: list[str], token: int, position: int, count: int
    ) -> dict[str, Any]:
        """Replies the seconds that a step takes longer when its adapter differs from that of the step before.

        Steps with the same and with another adapter alternate. The difference includes the request to the bank, the
        change of the tensor argument, and reads from memory instead of the processor's cache.
        """
        bank = self._bank(directory, packed)
        times: dict[bool, list[float]] = {False: [], True: []}
        for name in reversed(names):
            self._step(bank, name, token, position)
        for number in range(2 * count):
            changed = number % 2 == 1
            current = names[(number + 1) // 2 % len(names)]
            times[changed].append(self._step(bank, current, token, position))
        bank.close()
        return {"seconds": float(np.median(times[True]) - np.median(times[False]))}

    def load_adapter(
        self, directory: str, packed: str, name: str, first: bool, token: int, position: int
    ) -> dict[str, Any]:
        """Load an adapter and decode one token with it. Replies the seconds. first: without its packed file."""
        if first:
            forget(Path(packed), name)
        bank = self._bank(directory, packed)
        seconds = self._step(bank, name, token, position)
        bank.close()
        return {"seconds": seconds}

    def memory(self, directory: str, packed: str, names: list[str]) -> dict[str, Any]:
        """Replies the growth of resident memory in bytes for each of these adapters, once used."""
        bank = self._bank(directory, packed)
        for name in names:
            self._step(bank, name, 1, 0)
        bank.close()
        again, process = self._bank(directory, packed), psutil.Process()
        before = process.memory_info().rss
        for name in names:
            self._step(again, name, 1, 0)
        size = process.memory_info().rss - before
        again.close()
        return {"bytes": size / len(names)}

    def _bank(self, directory: str, packed: str) -> AdapterBank:
        return AdapterBank(
            AdapterStore(Path(directory)), 2**30, CompiledAdapterPacker(self.runtime.shape, Path(packed))
        )

    def _step(self, bank: AdapterBank, name: str, token: int, position: int) -> float:
        """Seconds of acquiring an adapter from the bank and decoding one token with it."""
        started = time.perf_counter()
        with bank.acquire(name) as lease:
            lora = as_compiled(lease.weights).lora if lease.weights else None
            self.runtime.decode(token, position, lora)
        return time.perf_counter() - started


if __name__ == "__main__":
    serve(RuntimeWorker())
