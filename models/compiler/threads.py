"""How many threads compute, and how they wait.

TVM's pool belongs to the Python thread that calls a kernel; by default it takes half of the CPUs on x86 and
spins for 0.15 s after every call. Both are set here, explicitly. Knows nothing of kernels.
"""

from __future__ import annotations

import os
import threading

from models.compiler.ffi import ffi
from models.core.errors import UserError

# How often an idle pool thread polls before it sleeps: about a millisecond, the pause between two tokens. Sleeping
# at once costs 4% of decode in wake-ups; TVM's own 300000 would keep a processor busy for 0.15 s after each call.
SPIN_COUNT = 2000

_configured = threading.local()


def available_cpus() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_threads() -> int:
    """EDGE_APP_THREADS, or one thread for each physical core that the process may use."""
    wanted = os.environ.get("EDGE_APP_THREADS", "")
    if wanted:
        if not wanted.isdigit() or not 1 <= int(wanted) <= 256:
            raise UserError(f"EDGE_APP_THREADS={wanted} is not a number of threads from 1 to 256.")
        return int(wanted)
    import psutil  # here: its import takes longer than everything else in this module

    return max(1, min(available_cpus(), psutil.cpu_count(logical=False) or available_cpus()))


def prepare_environment() -> None:
    """What TVM's runtime reads when it makes a pool; call before the runtime library is loaded."""
    os.environ.setdefault("TVM_THREAD_POOL_SPIN_COUNT", str(SPIN_COUNT))
    os.environ.setdefault("TVM_NUM_THREADS", str(max(available_cpus(), 1)))
    os.environ.setdefault("TVM_BIND_THREADS", "0")


def use_threads(count: int) -> None:
    """Let the calling Python thread's pool use count threads; cheap when nothing changes."""
    if getattr(_configured, "count", None) == count:
        return
    ffi().get_global_func("runtime.config_threadpool")(1, count)
    _configured.count = count
