"""How fast this machine reads memory: the bound of decoding, which reads every weight once a token."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from models.compiler import threads as thread_pool
from models.compiler.compile import compile_or_load
from models.compiler.cpu import KernelPath
from models.compiler.tvm_runtime import aligned_zeros, as_tensor
from models.core.huge_pages import huge_page_array

PROBE_BYTES = 512 * 2**20  # beyond every cache of a processor
_BLOCK = 4096  # bytes that a loop's body reads: four accumulators of 16 words
_PASSES = 8  # about 0.1 s in all
_AHEAD = 8192  # the distance of the kernels' own prefetches


def build(path: KernelPath) -> Any:
    """A function that reads "memory" once, shared by "threads", and stores a sum of each thread in "sums"."""
    from tvm import IRModule
    from tvm.tirx.script import builder as tir

    from models.kernels.emit import Register, function, i64, launch, load, phase, prefetch, share, store

    del path
    opened = function("probe", ("blocks", "threads"), (("memory", "int32"), ("sums", "int32")))
    with opened as a, launch(), phase(a["threads"]) as thread:
        sums = [Register("int32") for _ in range(4)]
        for register in sums:
            register.clear()
        with share(a["blocks"], thread, a["threads"]) as block, tir.serial(i64(_BLOCK // 256)) as step:
            first = tir.Bind(block * (_BLOCK // 4) + step * 64)
            for number, register in enumerate(sums):
                prefetch(a["memory"], first + (16 * number + _AHEAD // 4))
                register.value = register.value + load(a["memory"], first + 16 * number)
        store(a["sums"], thread * 16, sums[0].value + sums[1].value + sums[2].value + sums[3].value)
    return IRModule({"probe": opened.result})


class MemoryProbe:
    """Reads a large array with the threads of the kernels. read() returns the bytes per second."""

    def __init__(self, path: KernelPath, threads: int, cache: Path) -> None:
        """cache: the folder of compiled code."""
        self._probe = compile_or_load("probe", "benchmarks.vlm.memory_probe:build", {}, path, cache)["probe"]
        self._threads = threads
        # The pages are as large as those of the weights.
        pages = huge_page_array(PROBE_BYTES)
        memory = aligned_zeros(PROBE_BYTES // 4, "int32") if pages is None else pages.view(np.int32)
        memory += 1  # memory that was never written has no pages of its own
        self._arguments = (as_tensor(memory), as_tensor(aligned_zeros(16 * threads, "int32")))

    def read(self) -> float:
        """Bytes per second of the fastest pass: a bound is what the memory can do, not what it did once."""
        thread_pool.use_threads(self._threads)
        return PROBE_BYTES / min(self._seconds() for _ in range(_PASSES))

    def _seconds(self) -> float:
        started = time.perf_counter()
        self._probe(PROBE_BYTES // _BLOCK, self._threads, *self._arguments)
        return time.perf_counter() - started
