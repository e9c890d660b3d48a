"""What an answer costs in energy, on this machine: measured where the system lets us, else estimated and marked.

Intel and AMD processors count the energy of their package, and Linux shows it under /sys/class/powercap (RAPL), as
a rule to root alone. The package's counter includes whatever else ran meanwhile. Elsewhere the estimate is the
processor time that this process took, and the time that passed, each at a stated power. Knows nothing of what a
cloud uses.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
MICRO = 1e-6


@dataclass(frozen=True)
class Energy:
    """measured: by the processor; False is an estimate from times."""

    joules: float
    measured: bool

    def __str__(self) -> str:
        return f"{self.joules:.1f} J" if self.measured else f"about {self.joules:.1f} J (estimated)"


@dataclass(frozen=True)
class Power:
    """What the estimate is made with, in watts. busy: of a processor core at work. waiting: of the rest that is
    awake for an answer, the radio while a cloud is asked."""

    busy: float
    waiting: float


@dataclass(frozen=True)
class Reading:
    """A moment. counters: microjoules by zone; empty where they cannot be read."""

    seconds: float
    processor_seconds: float
    counters: Mapping[Path, int]


class EnergyMeter:
    """`now` before and `since` after; readings may overlap. Safe to use from several threads."""

    def __init__(self, power: Power, powercap: Path = POWERCAP) -> None:
        self._power = power
        self._ranges = _zones(powercap)

    @property
    def measures(self) -> bool:
        return bool(self._ranges)

    def now(self) -> Reading:
        counters = {zone: _number(zone / "energy_uj") for zone in self._ranges}
        return Reading(
            time.perf_counter(),
            time.process_time(),
            {zone: value for zone, value in counters.items() if value is not None},
        )

    def since(self, before: Reading) -> Energy:
        """Of the whole package when every zone could be read both times; a counter that ran over is seen."""
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
    """The processor packages whose counters can be read, each with the value at which it starts again at 0.

    Only whole packages: their parts (core, uncore, dram) lie inside them, and would count twice.
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
    """Empty for a file that is not there, or not for us."""
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
