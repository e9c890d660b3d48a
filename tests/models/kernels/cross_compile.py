"""Compiles the Llama kernels for some machine and prints what their assembly calls and uses, as JSON.

python -m tests.models.kernels.cross_compile PATH ARCHITECTURE TRIPLE [FUNCTION]
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict
from typing import Any

from tvm import IRModule

from models.compiler.compile import build_module
from models.compiler.cpu import KernelPath, code_target
from models.kernels import llama
from models.packing.llama_shape import LlamaShape

SHAPE = LlamaShape(96, 160, 3, 6, 2, 16, 333, 1e-5, 4, 4, 4, 4, 4, 8, 8, 4)


def build(path: KernelPath, function: str, **shape: Any) -> IRModule:
    """As models.kernels.llama.build, with one function alone where it is named."""
    module = llama.build(path, **shape)
    return IRModule({function: module[function]}) if function else module


def inspect(path: str, architecture: str, triple: str, function: str = "") -> dict[str, object]:
    target = code_target(path, architecture, triple)  # type: ignore[arg-type]
    arguments = {"function": function, **asdict(SHAPE)}
    module = build_module(f"{__name__}:build", arguments, path, target)  # type: ignore[arg-type]
    assembly = module.inspect_source("asm")
    calls = re.findall(r"^\s+(?:callq?|jmpq?|bl|b)\s+([A-Za-z_][\w$]*)", assembly, re.MULTILINE)
    words = re.findall(r"^\s+([a-z][\w.]+)\s", assembly, re.MULTILINE)
    return {
        "calls": sorted({call for call in calls if not call.startswith(("LBB", "L"))}),
        "instructions": {word: words.count(word) for word in set(words)},
        "registers": sorted(set(re.findall(r"%([xyz]mm)\d", assembly))),
    }


if __name__ == "__main__":
    print(json.dumps(inspect(*sys.argv[1:])))
