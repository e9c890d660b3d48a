"""llama.cpp as the peer: where its Python is, which files it runs, and its fastest way of running them.

The peer runs the same weights: our GGUF file (Q4_1), and a Q4_0 file that llama.cpp itself makes of it. Each
is tried with and without flash attention, and every figure is compared with the best of the four.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed import workload
from benchmarks.speed.lora_gguf import write_lora_gguf
from benchmarks.speed.processes import Worker, WorkerError
from models.core.errors import UserError
from models.lora.weights import LoraWeights

PEER = "EDGE_APP_BENCH_PEER"
HELP = f"""\
The peer is llama.cpp through llama-cpp-python, built for this machine. In a virtual environment of its own:

    python -m venv ../peer
    export CMAKE_ARGS="-DGGML_NATIVE=ON"
    ../peer/bin/pip install --no-binary llama-cpp-python llama-cpp-python==0.3.36
    {PEER}=../peer/bin/python make bench

It is used too when it is installed beside edge_app. Without it the same rows are measured and compared with
nothing. On processors with AMX, GCC 12 miscompiles llama.cpp's AMX code, which then dies at its first matrix
product: use a newer GCC or clang, or build without AMX by adding to CMAKE_ARGS
-DCMAKE_C_FLAGS=-mno-amx-int8 -DCMAKE_CXX_FLAGS=-mno-amx-int8"""


@dataclass(frozen=True)
class Variant:
    """One way of running the peer."""

    name: str
    path: Path
    flash: bool


class Peer:
    """llama_cpp_worker, with one variant loaded at a time."""

    def __init__(self, python: str, weights: Path, folder: Path, threads: int, length: int) -> None:
        """folder: where the Q4_0 file and the worker's log go; the Q4_0 file is kept for the next run."""
        script = Path(__file__).with_name("llama_cpp_worker.py")
        self.worker = Worker([python, str(script)], folder / "llama_cpp.log")
        self.about = {key: str(value) for key, value in self.worker.ask("about").items()}
        self._threads, self._length = threads, length
        self._loaded: Variant | None = None
        smaller = folder / "q4_0.gguf"
        if not smaller.exists():
            partial = folder / "q4_0.partial"
            self.worker.ask("quantise", source=str(weights), target=str(partial))
            partial.replace(smaller)
        self.variants = [
            Variant(f"llama.cpp {kind}{' flash' if flash else ''}", path, flash)
            for kind, path in (("Q4_0", smaller), ("Q4_1", weights))
            for flash in (False, True)
        ]

    def use(self, variant: Variant) -> None:
        if variant != self._loaded:
            path = str(variant.path)
            self.worker.ask(
                "load", path=path, threads=self._threads, length=self._length, flash=variant.flash
            )
            self._loaded = variant

    def fastest(self, rounds: int) -> dict[str, Variant]:
        """The best variant for "prefill" and for "decode": the one with the shortest of `rounds` times."""
        best: dict[str, tuple[float, Variant]] = {}
        tokens = workload.tokens()
        prompt, new = tokens[: workload.PROMPT_TOKENS], tokens[workload.PROMPT_TOKENS :]
        for variant in self.variants:
            self.use(variant)
            for _ in range(rounds):
                for figure, given in (("prefill", prompt), ("decode", new)):
                    seconds = float(self.worker.ask(figure, tokens=given)["seconds"])
                    if figure not in best or seconds < best[figure][0]:
                        best[figure] = seconds, variant
        return {figure: variant for figure, (_, variant) in best.items()}

    def adapt(self, weights: LoraWeights | None, folder: Path) -> float:
        """Run with this adapter from now on, or with none. Returns the seconds that reading its file took."""
        path = None
        if weights is not None:
            path = folder / f"{weights.name}.gguf"
            write_lora_gguf(path, weights)
        return float(self.worker.ask("lora", path=str(path) if path else None)["seconds"])


def python() -> str | None:
    """The Python that has llama-cpp-python: EDGE_APP_BENCH_PEER, ours when it is installed here, or None."""
    named = os.environ.get(PEER, "")
    if named and not Path(named).exists():
        raise UserError(f"{PEER}={named} does not exist; set it to the Python that has llama-cpp-python.")
    if named:
        return named
    return sys.executable if importlib.util.find_spec("llama_cpp") else None


def find(weights: Path, folder: Path, threads: int, length: int) -> Peer | None:
    """The peer, ready; None when it is not installed. Raises UserError when it is and cannot be used."""
    interpreter = python()
    if interpreter is None:
        return None
    try:
        return Peer(interpreter, weights, folder, threads, length)
    except WorkerError as error:
        raise UserError(f"llama-cpp-python in {interpreter} does not run: {error}.") from error
