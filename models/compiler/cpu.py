"""The features of this processor, and the set of kernels that it can run.

Features are detected and never assumed, since an instruction that the processor lacks would kill the process. Linux
lists them in /proc/cpuinfo, macOS through sysctl. Elsewhere (Windows), LLVM detects them once in a child process, and
the answer is kept in the cache.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import os
import platform
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from models.core.errors import UserError
from models.core.files import write_whole

KernelPath = Literal["avx512vnni", "avxvnni", "avx2", "neon", "generic"]
Architecture = Literal["x86_64", "aarch64", "other"]

_V3 = frozenset({"avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "popcnt", "sse4.2"})
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}

# The features that each path's machine code may use, in LLVM's names.
REQUIRED: dict[KernelPath, frozenset[str]] = {
    "avx512vnni": _V4 | {"avx512vnni"},
    "avxvnni": _V3 | {"avxvnni"},
    "avx2": _V3,
    "neon": frozenset({"neon", "dotprod"}),
    "generic": frozenset(),
}
_PREFERENCE: dict[Architecture, tuple[KernelPath, ...]] = {
    "x86_64": ("avx512vnni", "avxvnni", "avx2", "generic"),
    "aarch64": ("neon", "generic"),
    "other": ("generic",),
}
# /proc/cpuinfo's names where they differ from LLVM's.
_LINUX_NAMES = {
    "bmi1": "bmi",
    "abm": "lzcnt",
    "sse4_1": "sse4.1",
    "sse4_2": "sse4.2",
    "avx512_vnni": "avx512vnni",
    "avx_vnni": "avxvnni",
    "asimd": "neon",
    "asimddp": "dotprod",
}


@dataclass(frozen=True)
class CpuFeatures:
    """One processor: its architecture, its marketing name, and its features in LLVM's names."""

    architecture: Architecture
    name: str
    features: frozenset[str]

    def supports(self, path: KernelPath) -> bool:
        """Whether the processor has every feature that the path needs."""
        return path in _PREFERENCE[self.architecture] and self.features >= REQUIRED[path]


@dataclass(frozen=True)
class CodeTarget:
    """LLVM's cpu name, features beyond it, and for cross-compiling a target triple."""

    cpu: str
    attributes: tuple[str, ...]
    triple: str | None = None


def code_target(path: KernelPath, architecture: Architecture, triple: str | None = None) -> CodeTarget:
    """The fixed instruction set of a path: the same on every machine that takes the path.

    It is a named baseline plus at most one feature, and not LLVM's name for the host, which can imply features that
    a hypervisor has switched off.
    """
    if architecture == "x86_64":
        baseline = {"avx512vnni": "x86-64-v4", "avxvnni": "x86-64-v3", "avx2": "x86-64-v3"}
        extra = {"avx512vnni": ("+avx512vnni",), "avxvnni": ("+avxvnni",)}
        return CodeTarget(baseline.get(path, "x86-64"), extra.get(path, ()), triple)
    return CodeTarget("generic", ("+neon", "+dotprod") if path == "neon" else (), triple)


def host_architecture() -> Architecture:
    """The architecture of this machine."""
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64"):
        return "x86_64"
    return "aarch64" if machine in ("aarch64", "arm64") else "other"


def detect(cache_dir: Path | None = None) -> CpuFeatures:
    """This machine's processor. cache_dir: keeps LLVM's answer on systems where only LLVM detects features."""
    if sys.platform == "linux":
        return parse_cpuinfo(Path("/proc/cpuinfo").read_text(), host_architecture())
    if sys.platform == "darwin":
        return _detect_macos()
    return ask_llvm(cache_dir)


def available_paths(cpu: CpuFeatures) -> tuple[KernelPath, ...]:
    """The kernel paths that this processor can run, fastest first. The last one is always "generic"."""
    return tuple(path for path in _PREFERENCE[cpu.architecture] if cpu.supports(path))


def choose_path(cpu: CpuFeatures, override: str | None = None) -> KernelPath:
    """The fastest path that the processor supports, or the one that override names.

    override: None takes EDGE_APP_KERNELS from the environment; empty means no override.
    Raises UserError when the override is unknown or needs features that the processor lacks.
    """
    wanted = override if override is not None else os.environ.get("EDGE_APP_KERNELS", "")
    if not wanted:
        return available_paths(cpu)[0]
    known: tuple[KernelPath, ...] = get_args(KernelPath)
    for path in known:
        if path == wanted:
            if cpu.supports(path):
                return path
            missing = sorted(REQUIRED[path] - cpu.features) or [
                f"another architecture than {cpu.architecture}"
            ]
            raise UserError(
                f"EDGE_APP_KERNELS={wanted} cannot run on this processor ({cpu.name}): it lacks "
                f"{', '.join(missing)}; unset it to let the app choose."
            )
    raise UserError(f"EDGE_APP_KERNELS={wanted} is unknown; choose one of {', '.join(get_args(KernelPath))}.")


def parse_cpuinfo(text: str, architecture: Architecture) -> CpuFeatures:
    """The processor in the text of /proc/cpuinfo. Cores may differ (big.LITTLE), so only common features count."""
    name, common = "unknown processor", None
    for line in text.splitlines():
        field, _, value = (part.strip() for part in line.partition(":"))
        if field in ("flags", "Features"):
            flags = frozenset(_LINUX_NAMES.get(flag, flag) for flag in value.split())
            common = flags if common is None else common & flags
        elif field in ("model name", "Hardware") and value:
            name = value
    return CpuFeatures(architecture, name, common or frozenset())


def _detect_macos() -> CpuFeatures:
    name = _sysctl_text("machdep.cpu.brand_string") or "Apple processor"
    architecture = host_architecture()
    if architecture == "aarch64":
        features = {"neon"}
        if _sysctl_flag("hw.optional.arm.FEAT_DotProd"):
            features.add("dotprod")
        return CpuFeatures(architecture, name, frozenset(features))
    words = " ".join(
        _sysctl_text(key)
        for key in ("machdep.cpu.features", "machdep.cpu.leaf7_features", "machdep.cpu.extfeatures")
    )
    return CpuFeatures(architecture, name, macos_x86_features(words))


def macos_x86_features(words: str) -> frozenset[str]:
    """The upper-case feature words of sysctl on an Intel Mac, in LLVM's names."""
    renamed = {"avx1.0": "avx", "bmi1": "bmi"}
    return frozenset(renamed.get(word, word) for word in words.lower().split())


def _sysctl(name: str, size: int) -> bytes:
    libc = ctypes.CDLL(ctypes.util.find_library("c"))
    value, length = ctypes.create_string_buffer(size), ctypes.c_size_t(size)
    failed = libc.sysctlbyname(name.encode(), value, ctypes.byref(length), None, ctypes.c_size_t(0))
    return b"" if failed else value.raw[: length.value]


def _sysctl_text(name: str) -> str:
    return _sysctl(name, 4096).split(b"\0")[0].decode(errors="replace")


def _sysctl_flag(name: str) -> bool:
    return any(_sysctl(name, 8))


def ask_llvm(cache_dir: Path | None) -> CpuFeatures:
    """The features that LLVM detects, through the compiler in a child process, which takes half a second.

    cache_dir: keeps the answer together with the processor's identifier; another processor is detected anew.
    """
    identifier = f"{platform.machine()} {platform.processor()}"
    kept = cache_dir / "cpu.json" if cache_dir else None
    if kept is not None and kept.is_file():
        try:
            answer = json.loads(kept.read_text())
            if answer["identifier"] == identifier:
                return CpuFeatures(host_architecture(), answer["name"], frozenset(answer["features"]))
        except (ValueError, KeyError, TypeError):
            kept.unlink(missing_ok=True)
    script = (
        "import json, tvm; from tvm_ffi import get_global_func as f; "
        "print(json.dumps([k for k, v in f('tvm.codegen.llvm.GetHostCPUFeatures')().items() if v]))"
    )
    listing = subprocess.run(
        [sys.executable, "-P", "-c", script], check=True, capture_output=True, text=True
    ).stdout
    features = json.loads(listing.splitlines()[-1])
    name = platform.processor() or "unknown processor"
    if kept is not None:
        answer = {"identifier": identifier, "name": name, "features": features}
        with suppress(OSError, UserError):  # without the file, the next start asks again
            write_whole(kept, json.dumps(answer).encode())
    return CpuFeatures(host_architecture(), name, frozenset(features))
