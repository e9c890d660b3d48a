"""Names that settings, the command line and tables share: routers, modes and places.

Imports nothing, so that `--help` is fast.
"""

from __future__ import annotations

from typing import Literal, get_args

RouterName = Literal["prototypes", "model", "heads", "cascade"]
ROUTERS: tuple[RouterName, ...] = get_args(RouterName)

Mode = Literal["auto", "fast", "quality", "eco"]
"""What matters most to the user (papers: ECVL-ROUTER's scenarios)."""

Place = Literal["local", "cloud"]
"""Where an answer is computed. "cloud" is any endpoint, also one on this machine."""
