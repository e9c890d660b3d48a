"""What a user can say matters most. A module of its own, so that showing `--help` loads nothing else."""

from __future__ import annotations

from router.scenario import Mode

__all__ = ["Mode"]
