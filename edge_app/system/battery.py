"""The battery, where there is one: how full it is, and whether the machine runs on it."""

from __future__ import annotations

from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Battery:
    """percent: how full, 0..100. plugged: on mains power, or the system does not say."""

    percent: int
    plugged: bool


def battery() -> Battery | None:
    """None where there is none, or the system does not tell of it. Takes a moment: it reads files of the system."""
    read = getattr(psutil, "sensors_battery", None)  # psutil has it only where the system can have one
    found = read() if read is not None else None
    if found is None:
        return None
    return Battery(min(100, max(0, round(found.percent))), found.power_plugged is not False)
