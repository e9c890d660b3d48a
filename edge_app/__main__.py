"""The entry point of `edge-app` and `python -m edge_app`: tunes the interpreter, then runs the command line."""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path

PACKAGES = ("models", "adapters", "router", "benchmarks")
"""The packages beside edge_app, whose names other projects use as well: Django's layout has a models.py."""


def tune_interpreter() -> None:
    """Applies process-wide settings. Call it before pydantic is imported, and only in a process of the app itself.

    - pydantic searches every installed package for plugins, which takes 50 ms at each start. The app has none.
    - A start creates about 100,000 objects that live until the end. With the default threshold of 700 new objects,
      garbage collection takes 5% of the start.
    """
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    gc.set_threshold(50_000, 20, 20)


def in_the_way() -> dict[str, str]:
    """By the name of a package of ours, the file or folder of another project that would be imported in its place."""
    ours = Path(__file__).resolve().parent.parent
    found = {}
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is not None and name not in sys.modules and not _is_below(ours, spec.origin):
            found[name] = spec.origin or str(next(iter(spec.submodule_search_locations or [""])))
    return found


def import_own_packages() -> None:
    """Imports the packages that others are in the way of, from where edge_app is. Later imports find them there."""
    for name in in_the_way():
        spec = PathFinder.find_spec(name, [str(Path(__file__).resolve().parent.parent)])
        if spec is not None and spec.loader is not None:
            module = sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)


def _is_below(folder: Path, file: str | None) -> bool:
    return file is not None and Path(file).resolve().is_relative_to(folder)


def main() -> None:
    """The entry point of the `edge-app` command. Ctrl-C ends it with 130, also while modules are imported."""
    try:
        tune_interpreter()
        import_own_packages()
        from edge_app.cli.main import main as command_line

        command_line()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    # `python -m` puts the working folder before everything else, so that any file there may be in the way.
    for name, file in in_the_way().items():
        print(
            f"edge-app: {file} is in the way of the package {name!r} of edge-app; use the command `edge-app`, or call "
            "`python -m edge_app` from another folder.",
            file=sys.stderr,
        )
        sys.exit(1)
    main()
