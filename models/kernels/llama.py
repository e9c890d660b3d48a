"""A whole Llama model as two functions: llama_prefill (many rows) and llama_decode (one row).

Each is one call of the thread pool, inside which the layers run one after another, their phases separated by barriers.
Position, context length, number of threads and LoRA rank are arguments, so that one compilation serves all of them.
Both functions write the same bits to the same KV cache: a prompt can be computed in any division between them.
"""

from __future__ import annotations

from typing import Any

from tvm import IRModule

from models.compiler.cpu import KernelPath
from models.kernels.arguments import DECODE_SCALARS, PREFILL_SCALARS, buffer_types
from models.kernels.decode import Decode
from models.kernels.emit import function, launch
from models.kernels.isa import MACHINES
from models.kernels.prefill import Prefill
from models.packing.llama_shape import LlamaShape


def build(path: KernelPath, **shape: Any) -> IRModule:
    """Both functions for one kernel path. shape: the fields of a LlamaShape."""
    machine, llama = MACHINES[path], LlamaShape(**shape)
    buffers = list(buffer_types(llama).items())
    functions = {}
    for name, scalars, writer in (
        ("llama_prefill", PREFILL_SCALARS, Prefill),
        ("llama_decode", DECODE_SCALARS, Decode),
    ):
        opened = function(name, scalars, buffers)
        with opened as arguments, launch():
            writer(machine, llama, arguments).write()
        functions[name] = opened.result
    return IRModule(functions)
