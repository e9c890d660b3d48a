"""Our language model in a process of its own, the counterpart of llama_cpp_worker: prefill, decode, adapters.

    python -m benchmarks.speed.runtime_worker

Drives models.language.runtime.LlamaRuntime directly, without sampling, as the peer is driven. Requests are the methods
of RuntimeWorker (see serving.py).
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
from benchmarks.speed.serving import serve
from models.compiler.cpu import choose_path, detect
from models.formats.llama_sources import load_llama
from models.language.runtime import LlamaRuntime, compile_llama
from models.lora.packed_files import forget
from models.lora.weights import PackedLora, pack_lora
from models.packing.packed_model import load_or_pack


class RuntimeWorker:
    """One runtime, and the adapters that it was told to make."""

    def load(self, weights: str, digest: str, cache: str, threads: int, length: int) -> dict[str, Any]:
        folder = Path(cache)
        packed = load_or_pack(digest, lambda: load_llama(Path(weights), digest), folder / "packed")
        library = compile_llama(packed.shape, choose_path(detect(folder)), folder / "compiled")
        self.runtime = LlamaRuntime(packed, library, threads, length)
        self.adapters: dict[str | None, PackedLora | None] = {None: None}
        return {}

    def prefill(self, tokens: list[int], adapter: str | None = None) -> dict[str, Any]:
        """Compute the prompt from an empty cache; replies the seconds."""
        array, lora = np.array(tokens, np.int32), self.adapters[adapter]
        started = time.perf_counter()
        logits = self.runtime.prefill(array, None, 0, lora)
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "best": int(logits.argmax())}

    def decode(self, tokens: list[int], position: int, adapter: str | None = None) -> dict[str, Any]:
        """Feed the tokens one at a time; replies the seconds for all of them."""
        lora, runtime = self.adapters[adapter], self.runtime
        started = time.perf_counter()
        for place, token in enumerate(tokens, position):
            logits = runtime.decode(token, place, lora)
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "best": int(logits.argmax())}

    def adapt(self, name: str, rank: int) -> dict[str, Any]:
        """Make a random adapter of this rank, to be named in prefill and decode."""
        self.adapters[name] = pack_lora(
            self.runtime.shape, workload.adapter(self.runtime.shape, name, rank, rank)
        )
        return {}

    def switch(
        self, directory: str, packed: str, names: list[str], token: int, position: int, count: int
    ) -> dict[str, Any]:
        """What a step costs more when its adapter is another one than at the step before, seconds.

        The two kinds of step alternate: same, other, same, other. The difference holds everything: asking the
        bank, passing the other tensor, and reading it from memory rather than from the processor's cache.
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
        """From an adapter's files to the first step under it; replies the seconds. first: nothing is cached."""
        if first:
            forget(Path(packed), name)
        bank = self._bank(directory, packed)
        seconds = self._step(bank, name, token, position)
        bank.close()
        return {"seconds": seconds}

    def memory(self, directory: str, packed: str, names: list[str]) -> dict[str, Any]:
        """What each of these adapters takes in memory once it was used; replies the bytes."""
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
        return AdapterBank(AdapterStore(Path(directory)), 2**30, self.runtime.shape, Path(packed))

    def _step(self, bank: AdapterBank, name: str, token: int, position: int) -> float:
        """Seconds of asking the bank for an adapter and decoding one token with it."""
        started = time.perf_counter()
        with bank.acquire(name) as lease:
            self.runtime.decode(token, position, lease.weights.lora if lease.weights else None)
        return time.perf_counter() - started


if __name__ == "__main__":
    serve(RuntimeWorker())
