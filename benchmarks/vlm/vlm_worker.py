"""Our vision-language model in a process of its own: the runtime of RuntimeWorker, and a probe of the memory.

    python -m benchmarks.vlm.vlm_worker

The protocol is that of benchmarks/workers.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.speed.runtime_worker import RuntimeWorker
from benchmarks.vlm.memory_probe import MemoryProbe
from benchmarks.workers import serve
from models.compiler.cpu import choose_path, detect


class VlmWorker(RuntimeWorker):
    """The public methods are the requests."""

    def load(self, weights: str, digest: str, cache: str, threads: int, length: int) -> dict[str, Any]:
        """As RuntimeWorker. Replies the bytes that decoding reads for each token, and for each position before it."""
        super().load(weights, digest, cache, threads, length)
        self.probe: MemoryProbe | None = None
        self._place = Path(cache), threads
        read = {name: size for name, size in self.packed_bytes.items() if name != "embedding"}
        tied = 0 if "head" in read else self.packed_bytes["embedding"]
        shape = self.runtime.shape
        position = shape.layers * 2 * shape.kv_width * 2  # a key and a value in float16
        return {"token_bytes": sum(read.values()) + tied, "position_bytes": position}

    def bandwidth(self) -> dict[str, Any]:
        """Read a large array with all threads. Replies the bytes per second."""
        if self.probe is None:
            cache, threads = self._place
            self.probe = MemoryProbe(choose_path(detect(cache)), threads, cache / "compiled")
        return {"bytes_per_second": self.probe.read()}


if __name__ == "__main__":
    serve(VlmWorker())
