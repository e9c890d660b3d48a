"""Reads the battery of the machine."""

from __future__ import annotations

from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Battery:
    """State of the battery. percent: its charge, 0..100. plugged: on mains power; also True when that is unknown."""

    percent: int
    plugged: bool


def battery() -> Battery | None:
    """The battery; None without one or when the system does not report it. Reads system files, which may block."""
    read = getattr(psutil, "sensors_battery", None)  # missing on systems without battery support
    found = read() if read is not None else None
    if found is None:
        return None
    return Battery(min(100, max(0, round(found.percent))), found.power_plugged is not False)
