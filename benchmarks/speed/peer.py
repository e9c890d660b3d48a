"""The peer that figures are compared with: llama.cpp, through llama-cpp-python.

It runs the same weights as we do. Beside our default model (Q4_1) that is also a Q4_0 file that llama.cpp makes of it.
Each file is tried with and without flash attention, and a figure is compared with the best variant. Adapters are passed
to it as GGUF files.
"""

from __future__ import annotations

import importlib.util
import os
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.speed import workload
from benchmarks.workers import Worker, WorkerError
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
nothing. On processors with AMX, GCC 12 miscompiles llama.cpp's AMX code, which then crashes at its first
matrix product: use a newer GCC or clang, or build without AMX by adding to CMAKE_ARGS
-DCMAKE_C_FLAGS=-mno-amx-int8 -DCMAKE_CXX_FLAGS=-mno-amx-int8"""

# GGUF version 3 (docs/gguf.md in the ggml repository): numbers of value types and tensor types, alignment of the data.
_STRING, _FLOAT32 = 8, 6
_F16 = 1
_ALIGNMENT = 32
_GGUF_NAMES = {
    "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output",
    "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down",
}  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """A file and a kind of attention that the peer runs with.

    flash: flash attention. mmproj: the file of the vision encoder, None for text alone.
    """

    name: str
    path: Path
    flash: bool
    mmproj: Path | None = None


class Peer:
    """A process of llama_cpp_worker with one variant loaded at a time."""

    def __init__(self, python: str, folder: Path, threads: int, length: int) -> None:
        """Starts the process without a model. python: an interpreter that has llama-cpp-python. folder: for the log."""
        script = Path(__file__).with_name("llama_cpp_worker.py")
        self.worker = Worker([python, str(script)], folder / "llama_cpp.log")
        self.about = {key: str(value) for key, value in self.worker.ask("about").items()}
        self.variants: list[Variant] = []
        self._threads, self._length = threads, length
        self._loaded: Variant | None = None

    def run_default_model(self, weights: Path, folder: Path) -> None:
        """Let the variants be a Q4_1 file and a Q4_0 file that is made of it. folder: where the latter is kept."""
        smaller = folder / "q4_0.gguf"
        if not smaller.exists():
            partial = folder / "q4_0.partial"
            self.worker.ask("quantise", source=str(weights), target=str(partial))
            partial.replace(smaller)
        self.variants = [*variants("Q4_0", smaller), *variants("Q4_1", weights)]

    def use(self, variant: Variant) -> None:
        """Load a variant unless it is loaded."""
        if variant != self._loaded:
            self.worker.ask(
                "load",
                path=str(variant.path),
                threads=self._threads,
                length=self._length,
                flash=variant.flash,
                mmproj=None if variant.mmproj is None else str(variant.mmproj),
            )
            self._loaded = variant

    def fastest(self, rounds: int) -> dict[str, Variant]:
        """The variant with the shortest of `rounds` times, for "prefill" and for "decode"."""
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
        """Run with this adapter, or with none, from now on. Returns the seconds of reading its file."""
        path = None
        if weights is not None:
            path = folder / f"{weights.name}.gguf"
            write_lora_gguf(path, weights)
        return float(self.worker.ask("lora", path=str(path) if path else None)["seconds"])


def python() -> str | None:
    """The interpreter that has llama-cpp-python: EDGE_APP_BENCH_PEER, else our own if it has it, else None."""
    named = os.environ.get(PEER, "")
    if named and not Path(named).exists():
        raise UserError(f"{PEER}={named} does not exist; set it to the Python that has llama-cpp-python.")
    if named:
        return named
    return sys.executable if importlib.util.find_spec("llama_cpp") else None


def variants(name: str, path: Path, mmproj: Path | None = None) -> list[Variant]:
    """A file without and with flash attention."""
    return [
        Variant(f"llama.cpp {name}{' flash' if flash else ''}", path, flash, mmproj)
        for flash in (False, True)
    ]


def find(folder: Path, threads: int, length: int) -> Peer | None:
    """The running peer, or None when it is not installed. Raises UserError when it is installed but fails."""
    interpreter = python()
    if interpreter is None:
        return None
    try:
        return Peer(interpreter, folder, threads, length)
    except WorkerError as error:
        raise UserError(f"llama-cpp-python in {interpreter} does not run: {error}.") from error


def write_lora_gguf(path: Path, weights: LoraWeights) -> None:
    """Write the adapter as a GGUF file in float16 with scale 1, with the metadata that llama.cpp needs alone.

    The rows of q and k stay in our order of the rotary halves, whereas llama.cpp expects its own. The file is therefore
    right for measuring speed and wrong for text.
    """
    metadata = _text_value("general.type", "adapter") + _text_value("general.architecture", "llama")
    metadata += _text_value("adapter.type", "lora")
    metadata += _text("adapter.lora.alpha") + struct.pack("<If", _FLOAT32, weights.rank)
    descriptions, data, offset = [], [], 0
    for name, tensor in weights.tensors.items():
        _, layer, module, part = name.split(".")
        half = np.ascontiguousarray(tensor.astype("<f2"))
        descriptions.append(_text(f"blk.{layer}.{_GGUF_NAMES[module]}.weight.lora_{part.lower()}"))
        # dimensions (innermost first), type, offset from the start of the data
        descriptions.append(struct.pack("<IQQIQ", 2, half.shape[1], half.shape[0], _F16, offset))
        data.append(_padded(half.tobytes()))
        offset += len(data[-1])
    header = b"GGUF" + struct.pack("<IQQ", 3, len(weights.tensors), 4)
    path.write_bytes(_padded(header + metadata + b"".join(descriptions)) + b"".join(data))


def _text(value: str) -> bytes:
    encoded = value.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _text_value(key: str, value: str) -> bytes:
    return _text(key) + struct.pack("<I", _STRING) + _text(value)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % _ALIGNMENT)
