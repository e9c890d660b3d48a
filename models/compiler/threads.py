"""The number of threads that compute, and the way they wait for work.

TVM keeps a thread pool for each Python thread that calls a kernel. By default it takes half of the CPUs on x86 and
its threads spin for 0.15 s after every call. Both are set here.
"""

from __future__ import annotations

import os
import threading

from models.core.errors import UserError

# Polls of an idle pool thread before it sleeps, about 1 ms in all, which is the pause between two tokens. Sleeping at
# once costs 4% of decode speed in wake-ups. TVM's default of 300000 keeps a CPU busy for 0.15 s after each call.
SPIN_COUNT = 2000

_configured = threading.local()


def available_cpus() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_threads() -> int:
    """EDGE_APP_THREADS, or one thread for each physical core that the process may use.

    Raises UserError when EDGE_APP_THREADS is not a number from 1 to 256.
    """
    wanted = os.environ.get("EDGE_APP_THREADS", "")
    if wanted:
        if not wanted.isdigit() or not 1 <= int(wanted) <= 256:
            raise UserError(f"EDGE_APP_THREADS={wanted} is not a number of threads from 1 to 256.")
        return int(wanted)
    import psutil  # imported here, since it takes longer than everything else in this module

    return max(1, min(available_cpus(), psutil.cpu_count(logical=False) or available_cpus()))


def prepare_environment() -> None:
    """Set what TVM's runtime reads from the environment whenever a pool is made, unless the user has set it.

    Called when the first compiled code is loaded, before TVM's runtime library, and never at an import. TVM takes
    the largest size of a pool, the binding of threads to CPUs and the polls before they sleep from no other place.
    """
    os.environ.setdefault("TVM_THREAD_POOL_SPIN_COUNT", str(SPIN_COUNT))
    os.environ.setdefault("TVM_NUM_THREADS", str(max(available_cpus(), 1)))
    os.environ.setdefault("TVM_BIND_THREADS", "0")


def use_threads(count: int) -> None:
    """Let the calling Python thread's pool use this many threads. Does nothing when it does already."""
    if getattr(_configured, "count", None) == count:
        return
    import tvm_ffi

    tvm_ffi.get_global_func("runtime.config_threadpool")(1, count)
    _configured.count = count
