"""What the routers are called in settings, on the command line and in tables. Cheap to import."""

from __future__ import annotations

from typing import Literal, get_args

RouterName = Literal["prototypes", "model", "heads", "cascade"]
ROUTERS: tuple[RouterName, ...] = get_args(RouterName)
