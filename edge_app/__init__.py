"""The public API: `from edge_app import Assistant, Turn, ask, load`.

Names are imported at their first use (PEP 562). Importing this package loads no other module of it and changes
nothing in the process: no environment variable, no signal handler, no logging, no garbage collection settings.
docs/python-api.md shows how the API is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_app.answer import Answer
    from edge_app.api import ask, load
    from edge_app.assistant import Assistant
    from edge_app.events import Turn
    from models.core.errors import UserError

__version__ = "0.2.0.dev0"

__all__ = ["Answer", "Assistant", "Turn", "UserError", "__version__", "ask", "load"]

_MODULES = {
    "Answer": "edge_app.answer",
    "Assistant": "edge_app.assistant",
    "Turn": "edge_app.events",
    "UserError": "models.core.errors",
    "ask": "edge_app.api",
    "load": "edge_app.api",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
