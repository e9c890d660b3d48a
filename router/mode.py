"""What a user can say matters most. A module of its own, so that showing `--help` loads nothing else."""

from __future__ import annotations

from typing import Literal

Mode = Literal["auto", "fast", "quality", "eco"]
