"""The type in which a training computes on this processor."""

from __future__ import annotations

import torch

CAPABILITIES = ("AVX512", "AVX10", "AMX")
"""Of `torch.backends.cpu.get_cpu_capability`, as prefixes: with these bfloat16 is at least as fast as float32.

Others emulate it one number at a time. On a Zen 3 (AVX2), one thread, y = W x takes 171 ms in bfloat16 and 29 ms in
float32 with x [653, 576] and W [1536, 576], and its backward pass 722 and 26 ms.
"""


def compute_dtype() -> torch.dtype:
    """bfloat16 where the processor multiplies it fast, else float32, which takes twice the memory."""
    fast = torch.backends.cpu.get_cpu_capability().startswith(CAPABILITIES)
    return torch.bfloat16 if fast else torch.float32
