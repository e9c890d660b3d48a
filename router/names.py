"""Names that settings, the command line and tables share: routers and modes. Imports nothing, so that
`--help` is fast."""

from __future__ import annotations

from typing import Literal, get_args

RouterName = Literal["prototypes", "model", "heads", "cascade"]
ROUTERS: tuple[RouterName, ...] = get_args(RouterName)

Mode = Literal["auto", "fast", "quality", "eco"]
"""What a user can say matters most (papers: ECVL-ROUTER's scenarios)."""
