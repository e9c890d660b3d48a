"""Importing the package changes nothing in the process."""

from __future__ import annotations

from tests.models.compiler.test_compile import run

# models.training and the modules that emit TIR are imported by training and by the compiler's process alone.
IMPORT_ALL = """
import gc, importlib, os, pkgutil, signal, socket, sys, threading, warnings

def state():
    return dict(os.environ), gc.get_threshold(), socket.getdefaulttimeout(), signal.getsignal(signal.SIGINT), \\
        os.getcwd(), sys.getrecursionlimit(), [f[:3] for f in warnings.filters if 'numpy' not in str(f)]

import numpy, PIL.Image  # which add warning filters of their own
before = state()
import models
found = [each.name for each in pkgutil.walk_packages(models.__path__, "models.") if not each.ispkg]
siglip = ("arithmetic", "attention", "float_linear", "functions", "linear", "writer")
emitting = ("models.training", "models.kernels", "models.vision.kernels", "models.vision.projector.projection",
            *("models.vision.siglip." + name for name in siglip))
for name in found:
    if not name.startswith(emitting):
        importlib.import_module(name)
assert len(found) > 40
assert state() == before
print([name for name, module in sys.modules.items() if module is None])
print([name for name in ("tvm", "tvm_ffi", "torch", "onnxruntime", "rapidocr") if name in sys.modules])
print([thread.name for thread in threading.enumerate()])
"""


def test_importing_sets_no_process_wide_state_and_loads_no_heavy_library() -> None:
    assert run(IMPORT_ALL).splitlines() == ["[]", "[]", "['MainThread']"]
