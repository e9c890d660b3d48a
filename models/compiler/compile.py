"""From a function that emits TIR to machine code that is ready to call, through a cache on disk.

Compiling happens in a child process (`python -m models.compiler.compile`): the compiler is a 260 MB library that the
app then never loads, and an unsupported instruction, which makes LLVM abort, cannot take the app with it. The
object file is kept under everything that it depends on and linked in memory by ORC, so users need no C
compiler. A warm start imports tvm_ffi, TVM's small runtime library and ORC, never `tvm`. Knows nothing of
what the functions compute.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from models.compiler.code_key import Arguments, cache_key
from models.compiler.cpu import CodeTarget, KernelPath, code_target, host_architecture
from models.compiler.tvm_runtime import Library, link
from models.core.cache import mark_used
from models.core.errors import UserError
from models.core.files import alone, replacing, written_to
from models.core.types import Progress, no_progress

_MAGIC = b"EDGEOBJ1"
_DIGEST_BYTES = 32
HEARTBEAT_SECONDS = 0.2


def compile_or_load(
    name: str,
    build: str,
    arguments: Arguments,
    path: KernelPath,
    cache_dir: Path,
    progress: Progress = no_progress,
) -> Library:
    """The library that `build` makes, from the cache or compiled now.

    name: a word for messages and file names. build: "package.module:function", which is called in the child
    process as function(path=path, **arguments) and returns a tvm.IRModule; arguments must survive JSON.
    Two processes that want the same thing compile it once; a damaged file is compiled again. Raises UserError
    when the disk refuses the result.
    """
    key = cache_key(name, build, arguments, path, cache_dir)
    kept = cache_dir / f"{name}-{path}-{key[:24]}.bin"
    code = read_object(kept)
    if code is None:
        with written_to(cache_dir, "make room there, or set EDGE_APP_HOME to another disk"):
            cache_dir.mkdir(parents=True, exist_ok=True)
            with alone(
                kept.with_suffix(".lock"),
                partial(progress, "compile", f"waiting for another process to compile {name}", 0, None),
            ):
                code = read_object(kept)
                if code is None:
                    alive = partial(progress, "compile", f"compiling {name} for {path}", 0, None)
                    alive()
                    code = compile_object(
                        build, arguments, path, code_target(path, host_architecture()), alive
                    )
                    write_object(kept, code)
                    progress("compile", f"compiled {name} for {path}", 1, 1)
    mark_used(kept)
    return link(code)


def compile_object(
    build: str,
    arguments: Arguments,
    path: KernelPath,
    target: CodeTarget,
    alive: Callable[[], None] = lambda: None,
) -> bytes:
    """Compile in a child process and return the object file. RuntimeError with its words if it fails.

    alive: called several times a second meanwhile; what it raises ends the child and is passed on.
    Raises UserError when the system has no directory for temporary files or no room in it.
    """
    with _temporary_folder() as folder:
        output = folder / "code.o"
        task = {
            "build": build,
            "arguments": dict(arguments),
            "path": path,
            "target": {"cpu": target.cpu, "attributes": target.attributes, "triple": target.triple},
            "output": str(output),
        }
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
        errors = folder / "errors.txt"
        with errors.open("wb") as stream, _interrupts_blocked():
            child = subprocess.Popen(
                # -P: a folder named models where the user happens to be must not be taken for ours.
                [sys.executable, "-P", "-m", "models.compiler.compile"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=stream,
                env=environment,
            )
        _wait(child, json.dumps(task).encode(), alive)
        if child.returncode != 0 or not output.is_file():
            words = errors.read_text(errors="replace")[-4000:]
            if os.strerror(errno.ENOSPC) in words or not shutil.disk_usage(folder).free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise RuntimeError(f"compiling {build} for {path} failed ({child.returncode}): {words}")
        return output.read_bytes()


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    remedy = "make room there, or set TMPDIR to another directory"
    try:
        place = Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise UserError(f"{error.strerror}; {remedy}.") from None
    with written_to(place, remedy), tempfile.TemporaryDirectory(prefix="edge-app-") as folder:
        yield Path(folder)


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """A child started meanwhile never sees Ctrl-C: that is for the app, which then ends the child."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait(child: subprocess.Popen[bytes], task: bytes, alive: Callable[[], None]) -> None:
    """Hand over the task and wait for the end; the child never outlives this call."""
    try:
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError), child.stdin:  # a child that died says why itself
            child.stdin.write(task)
        while True:
            try:
                child.wait(HEARTBEAT_SECONDS)
                return
            except subprocess.TimeoutExpired:
                alive()
    finally:
        child.kill()
        child.wait()


def build_module(build: str, arguments: Arguments, path: KernelPath, target: CodeTarget) -> Any:
    """Compile in this process (which imports tvm); the tvm_ffi module can be saved, inspected or called."""
    import tvm
    from tvm.target import Target
    from tvm.tirx.compilation_pipeline import register_tir_pipeline

    module_name, _, function_name = build.partition(":")
    ir_module = getattr(importlib.import_module(module_name), function_name)(path=path, **arguments)
    description: dict[str, Any] = {"kind": "llvm", "mcpu": target.cpu, "mattr": list(target.attributes)}
    if target.triple is not None:
        description["mtriple"] = target.triple
    register_tir_pipeline("edge_app", _lowering)
    return tvm.tirx.build(ir_module, target=Target(description), pipeline="edge_app")


def _lowering() -> tuple[Any, Any, Any]:
    """TVM's "tirx" passes without those that find nothing in our code (half of the time of compiling)."""
    from tvm.ir.transform import Sequential
    from tvm.tirx import transform
    from tvm.tirx.compilation_pipeline import finalize_device_passes, finalize_host_passes

    passes = [
        transform.LowerTIRx(),
        transform.StmtSimplify(),
        transform.LowerTIRxOpaque(),
        transform.FlattenBuffer(),
        transform.NarrowDataType(32),
        transform.VectorizeLoop(True),
        transform.UnrollLoop(),
        transform.StmtSimplify(),
        transform.VerifyMemory(),
        transform.AnnotateEntryFunc(),
        transform.SplitHostDevice(),
        transform.MakePackedAPI(),
    ]
    return Sequential(passes), finalize_host_passes, finalize_device_passes


def read_object(path: Path) -> bytes | None:
    """The object file's bytes, or None when it is missing or damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    start = len(_MAGIC) + _DIGEST_BYTES
    digest, code = content[len(_MAGIC) : start], content[start:]
    intact = content.startswith(_MAGIC) and hashlib.sha256(code).digest() == digest
    return code if intact else None


def write_object(path: Path, code: bytes) -> None:
    """Keep an object file, so that readers see all of it or nothing. Raises OSError."""
    with replacing(path) as file:
        file.write(_MAGIC + hashlib.sha256(code).digest() + code)


def _main() -> None:
    """The child process: one task as JSON on standard input."""
    task = json.load(sys.stdin)
    given = task["target"]
    target = CodeTarget(given["cpu"], tuple(given["attributes"]), given["triple"])
    built = build_module(task["build"], task["arguments"], task["path"], target)
    built.write_to_file(task["output"])


if __name__ == "__main__":
    _main()
