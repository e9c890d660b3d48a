"""Energy used on this machine: measured where the system allows it, else estimated from times and marked as such.

Intel and AMD processors count the energy of their package. Linux shows the counters under /sys/class/powercap (RAPL),
usually to root only. They include the energy that other programs use. The estimate is the processor time of this
process and the time that passed, each times a power from the settings.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
MICRO = 1e-6
"""Joules in a unit of the counters (microjoules)."""


@dataclass(frozen=True)
class Energy:
    """An amount of energy.

    measured: by the processor's counters; False for an estimate.
    """

    joules: float
    measured: bool

    def __str__(self) -> str:
        return f"{self.joules:.1f} J" if self.measured else f"about {self.joules:.1f} J (estimated)"


@dataclass(frozen=True)
class Power:
    """Watts for the estimate.

    busy: of a processor core at work. waiting: of the rest of the machine during an answer, such as the radio while the
    cloud is asked.
    """

    busy: float
    waiting: float


@dataclass(frozen=True)
class Reading:
    """Times and counters at one moment. counters: microjoules by zone; empty when they cannot be read."""

    seconds: float
    processor_seconds: float
    counters: Mapping[Path, int]


class EnergyMeter:
    """Measures from a reading (`now`) to a later moment (`since`). Safe to use from several threads."""

    def __init__(self, power: Power, powercap: Path = POWERCAP) -> None:
        self._power = power
        self._ranges = _zones(powercap)

    def now(self) -> Reading:
        counters = {zone: _number(zone / "energy_uj") for zone in self._ranges}
        return Reading(
            time.perf_counter(),
            time.process_time(),
            {zone: value for zone, value in counters.items() if value is not None},
        )

    def since(self, before: Reading) -> Energy:
        """The energy since a reading, measured when every zone was read both times. Counters may wrap around once."""
        after = self.now()
        if self._ranges and before.counters.keys() == after.counters.keys() == self._ranges.keys():
            used = sum(
                (after.counters[zone] - before.counters[zone]) % self._ranges[zone] for zone in self._ranges
            )
            return Energy(used * MICRO, measured=True)
        busy = after.processor_seconds - before.processor_seconds
        return self.estimate(busy, after.seconds - before.seconds)

    def estimate(self, processor_seconds: float, seconds: float) -> Energy:
        return Energy(self._power.busy * processor_seconds + self._power.waiting * seconds, measured=False)


def _zones(powercap: Path) -> dict[Path, int]:
    """The processor packages whose counters can be read, each with the value at which its counter wraps to 0.

    Their parts (core, uncore, dram) are left out, because the package's counter includes them.
    """
    found = {}
    for zone in sorted(powercap.glob("*-rapl:*")):
        if zone.name.count(":") != 1 or not _text(zone / "name").startswith("package"):
            continue
        limit = _number(zone / "max_energy_range_uj")
        if limit and _number(zone / "energy_uj") is not None:
            found[zone] = limit + 1
    return found


def _number(file: Path) -> int | None:
    text = _text(file)
    return int(text) if text.isdecimal() else None


def _text(file: Path) -> str:
    """Empty for a file that is missing or must not be read."""
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
