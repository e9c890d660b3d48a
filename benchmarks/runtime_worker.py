"""Our language model in a process of its own, the counterpart of llama_cpp_worker: prefill, decode, adapters.

    python -m benchmarks.runtime_worker

Drives models.runtime.LlamaRuntime directly, without sampling, as the peer is driven. Requests are the methods
of RuntimeWorker (see serving.py).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import workload
from benchmarks.serving import serve
from models.cpu import choose_path, detect
from models.llama_sources import load_llama
from models.lora import PackedLora, pack_lora
from models.packing import load_or_pack
from models.peft_format import read_peft
from models.runtime import LlamaRuntime, compile_llama


class RuntimeWorker:
    """One runtime, and the adapters "a" and "b" in memory."""

    def load(self, weights: str, digest: str, cache: str, threads: int, length: int) -> dict[str, Any]:
        folder = Path(cache)
        packed = load_or_pack(digest, lambda: load_llama(Path(weights), digest), folder / "packed")
        library = compile_llama(packed.shape, choose_path(detect(folder)), folder / "compiled")
        self.runtime = LlamaRuntime(packed, library, threads, length)
        self.adapters: dict[str | None, PackedLora | None] = {None: None}
        for seed, name in enumerate(("a", "b")):
            self.adapters[name] = pack_lora(packed.shape, workload.adapter(packed.shape, name, seed))
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

    def switch(self, token: int, position: int, count: int) -> dict[str, Any]:
        """What a step costs more when the adapter is another one than at the step before, seconds.

        The two kinds of step alternate: same, other, same, other. The difference holds everything: passing
        the other tensor, and reading it from memory rather than from the processor's cache.
        """
        times: dict[bool, list[float]] = {False: [], True: []}
        current = "a"
        self.runtime.decode(token, position, self.adapters[current])
        for number in range(2 * count):
            changed = number % 2 == 1
            if changed:
                current = "b" if current == "a" else "a"
            started = time.perf_counter()
            self.runtime.decode(token, position, self.adapters[current])
            times[changed].append(time.perf_counter() - started)
        return {"seconds": float(np.median(times[True]) - np.median(times[False]))}

    def cold_load(self, folder: str, token: int, position: int) -> dict[str, Any]:
        """From an adapter's files to the first step under it; replies the seconds."""
        started = time.perf_counter()
        lora = pack_lora(self.runtime.shape, read_peft(Path(folder), "cold"))
        self.runtime.decode(token, position, lora)
        return {"seconds": time.perf_counter() - started}


if __name__ == "__main__":
    serve(RuntimeWorker())
