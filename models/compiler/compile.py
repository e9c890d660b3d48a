"""Compiles a function that emits TIR to machine code, through a cache on disk.

Compiling happens in a child process (`python -m models.compiler.compile`) for two reasons. The compiler is a library
of 260 MB, which the app never has to load, and LLVM aborts the process when it meets an unsupported instruction. The
object file is kept under the key of models/compiler/code_key.py and linked in memory (models/compiler/tvm_runtime.py).
A warm start never imports `tvm`.
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
from importlib.machinery import PathFinder
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

    name: a word for messages and file names. build: "package.module:function", which the child process calls as
    function(path=path, **arguments) and which returns a tvm.IRModule. arguments: must survive JSON. path: the
    instruction set. progress: called while another process compiles the same code, and while this one does; an
    exception from it stops the compilation.
    Two processes that need the same code compile it once. A damaged file is compiled again. Raises UserError when
    the disk refuses the result, and RuntimeError when the code cannot be compiled.
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
    """Compile in a child process and return the object file.

    alive: called several times a second meanwhile. An exception from it ends the child process and is passed on.
    Raises RuntimeError with the child's error output when it fails, and UserError when the system has no directory
    for temporary files or no room in it.
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
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(_import_path())}
        errors = folder / "errors.txt"
        with errors.open("wb") as stream, _interrupts_blocked():
            child = subprocess.Popen(
                # -P: a folder named models in the working directory must not be imported instead of ours.
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


def _import_path() -> list[str]:
    """The import path of the child: that of this process, and this project first where another's `models` would be."""
    path, ours = [entry for entry in sys.path if entry], Path(__file__).resolve().parents[1]
    found = PathFinder.find_spec(ours.name)
    if found is not None and found.origin is not None and Path(found.origin).resolve().is_relative_to(ours):
        return path
    return [str(ours.parent), *path]


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
    """A child process started in this block ignores Ctrl-C. The app receives it and ends the child process."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait(child: subprocess.Popen[bytes], task: bytes, alive: Callable[[], None]) -> None:
    """Write the task and wait for the child process to end. It is killed when `alive` raises."""
    try:
        assert child.stdin is not None
        # A child process that has ended already has written the reason to stderr.
        with contextlib.suppress(BrokenPipeError), child.stdin:
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
    """Compile in this process, which imports tvm. Returns a tvm_ffi module to be saved, inspected or called."""
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
    """TVM's "tirx" passes without those that change nothing in our code, which halves the time of compiling."""
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
    """The bytes of the object file, or None when the file is missing or damaged."""
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
