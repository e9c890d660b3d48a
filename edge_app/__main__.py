"""The process `edge-app`, also as `python -m edge_app`: tunes the interpreter, then runs the command line."""

from __future__ import annotations

import gc
import os


def tune_interpreter() -> None:
    """Settings of a process that belongs to the app. The library never calls this. Call before pydantic is imported.

    - pydantic looks through every installed package for plugins, 50 ms at each start. The app has none.
    - A start makes about 100,000 objects that stay. With the default threshold of 700 new objects, garbage
      collection takes a twentieth of the start.
    """
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    gc.set_threshold(50_000, 20, 20)


def main() -> None:
    """The entry point of the `edge-app` command."""
    tune_interpreter()
    from edge_app.cli.main import main as command_line

    command_line()


if __name__ == "__main__":
    main()
