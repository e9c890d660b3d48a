"""Collects facts and problems of the machine and the installation, for `doctor`. Changes nothing."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

import edge_app
from adapters.store.adapter_store import AdapterStore
from edge_app import settings
from edge_app.system import paths
from models.compiler.cpu import REQUIRED, choose_path, detect
from models.compiler.threads import available_cpus, default_threads
from models.core.errors import UserError
from models.hub.store import ModelStore
from router.confidence.rule import why_ignored

PACKAGES = (
    "apache-tvm", "apache-tvm-ffi", "apache-tvm-ffi-orcjit", "numpy", "pillow", "tokenizers", "jinja2",
    "safetensors",
    "textual", "textual-image", "typer", "pydantic-settings", "sqlite-utils",
)  # fmt: skip


@dataclass(frozen=True)
class Diagnosis:
    """What `doctor` shows.

    facts: by section, JSON values; sizes are in bytes. problems: sentences; empty when all is well.
    """

    facts: dict[str, Any]
    problems: tuple[str, ...]


def diagnose() -> Diagnosis:
    """Collects the facts. A part that cannot be read becomes a problem."""
    problems: list[str] = []
    chosen = _settings(problems)
    facts = {
        "versions": _versions(),
        "processor": _processor(chosen.get("threads"), problems),
        "memory": _memory(),
        "settings": chosen,
        "models": _models(problems),
        "adapters": list(AdapterStore(paths.adapters_directory()).names()),
        "cache": {name: _usage(paths.cache_directory() / name) for name in ("compiled", "packed")},
        "places": {
            name: {"path": str(place), "exists": place.exists()} for name, place in paths.locations().items()
        },
    }
    if ignored := why_ignored(paths.confidence_file()):
        problems.append(ignored)
    return Diagnosis(facts, tuple(problems))


def _versions() -> dict[str, str]:
    found = {"edge-app": edge_app.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    return {
        **found,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "prefix": sys.prefix,
    }


def _processor(threads: int | None, problems: list[str]) -> dict[str, Any]:
    """Facts of the processor. threads: the setting; None takes the default of the app."""
    cpu = detect(paths.cache_directory())
    known = frozenset[str]().union(*REQUIRED.values())
    facts: dict[str, Any] = {
        "name": cpu.name,
        "architecture": cpu.architecture,
        "features": sorted(cpu.features & known),
        "kernels": None,
        "cpus": available_cpus(),
        "threads": None,
    }
    try:
        facts["kernels"] = choose_path(cpu)
        facts["threads"] = threads or default_threads()
    except UserError as error:
        problems.append(str(error))
    return facts


def _memory() -> dict[str, int]:
    memory = psutil.virtual_memory()
    return {"total": memory.total, "available": memory.available}


def _settings(problems: list[str]) -> dict[str, Any]:
    try:
        return settings.load(paths.config_file()).model_dump()
    except UserError as error:
        problems.append(str(error))
        return {}


def _usage(directory: Path) -> dict[str, int]:
    """The number of files below a directory and their total size in bytes."""
    sizes = [file.stat().st_size for file in directory.rglob("*") if file.is_file()]
    return {"files": len(sizes), "bytes": sum(sizes)}


def _models(problems: list[str]) -> dict[str, Any]:
    try:
        statuses = ModelStore(paths.models_directory()).list()
    except UserError as error:
        problems.append(str(error))
        return {}
    return {
        status.entry.name: {
            "pulled": status.pulled,
            "bytes": status.entry.size,
            "default": status.default,
            "memory": status.entry.memory,
            "precision": status.entry.precision,
        }
        for status in statuses
    }
