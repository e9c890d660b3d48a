"""The layers hold when they run, not only on paper (`lint-imports` checks what is written)."""

from __future__ import annotations

import subprocess
import sys

import pytest

FRONT_ENDS = (
    "textual",
    "typer",
    "rich",
    "starlette",
    "uvicorn",
    "edge_app.cli",
    "edge_app.tui",
    "edge_app.serve",
)
TRAINING = ("torch", "transformers", "peft")


def loaded_by(module: str) -> set[str]:
    """Every module, by its full name, that importing one loads."""
    script = f"import sys; import {module}; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "edge_app.assistant",
        "edge_app.storage.sessions",
        "edge_app.evaluation.rows",
        "edge_app.storage.session_export",
    ],
)
def test_the_core_is_reachable_without_a_front_end_the_compiler_or_training(module: str) -> None:
    unwanted = {*FRONT_ENDS, *TRAINING, "tvm", "tvm_ffi"}
    assert loaded_by(module) & unwanted == set()


def test_the_engine_loads_no_compiler_and_nothing_of_the_app() -> None:
    loaded = loaded_by("models.engine")
    assert loaded & {"tvm", *TRAINING} == set()
    assert not {
        name
        for name in loaded
        if name.split(".")[0] in ("adapters", "router", "edge_app", "textual", "typer")
    }


def test_help_loads_neither_settings_nor_sessions_nor_the_engine() -> None:
    loaded = loaded_by("edge_app.cli.main")
    heavy = {
        "textual",
        "pydantic",
        "sqlite_utils",
        "numpy",
        "PIL",
        "tvm",
        "tvm_ffi",
        "models.engine",
        "httpx",
        "psutil",
        "starlette",
        "uvicorn",
    }
    assert loaded & heavy == set()
