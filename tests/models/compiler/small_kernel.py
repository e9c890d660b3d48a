"""A kernel that takes no time to compile: y = factor * x."""

from __future__ import annotations

from tvm import IRModule

from models.compiler.cpu import KernelPath
from models.kernels.emit import bind, f32, function, i64, launch, load, phase, share, splat, store


def build(path: KernelPath, factor: float) -> IRModule:  # noqa: ARG001  # the same on every path
    """`scale(count, threads, x, y)` for count groups of 16 values."""
    if factor == 0:
        raise ValueError("a factor of zero makes no sense")
    opened = function("scale", ["count", "threads"], [("x", "float32"), ("y", "float32")])
    with (
        opened as a,
        launch(),
        phase(a["threads"]) as thread,
        share(a["count"], thread, a["threads"]) as index,
    ):
        place = bind(index * i64(16))
        store(a["y"], place, load(a["x"], place) * splat(f32(factor)))
    return IRModule({"scale": opened.result})
