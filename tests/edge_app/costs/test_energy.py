"""Energy is measured from the processor's counters, else estimated and marked as an estimate."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from edge_app.costs import energy
from edge_app.costs.energy import EnergyMeter, Power

POWER = Power(busy=10.0, waiting=2.0)


def zone(powercap: Path, number: str, name: str, used: int, limit: int = 1_000_000_000) -> Path:
    """A RAPL zone as Linux shows it."""
    folder = powercap / f"intel-rapl:{number}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text(f"{limit}\n")
    (folder / "energy_uj").write_text(f"{used}\n")
    return folder


def test_whole_packages_are_added_up_and_their_parts_are_not(tmp_path: Path) -> None:
    zone(tmp_path, "0", "package-0", 1_000_000)
    zone(tmp_path, "1", "package-1", 5_000_000)
    zone(tmp_path, "0:0", "core", 0)
    zone(tmp_path, "2", "psys", 0)
    meter = EnergyMeter(POWER, tmp_path)
    before = meter.now()
    zone(tmp_path, "0", "package-0", 3_000_000)
    zone(tmp_path, "1", "package-1", 5_500_000)
    zone(tmp_path, "0:0", "core", 9_000_000)
    zone(tmp_path, "2", "psys", 9_000_000)
    used = meter.since(before)
    assert (used.joules, used.measured) == (pytest.approx(2.5), True)


def test_a_counter_that_ran_over_is_seen(tmp_path: Path) -> None:
    zone(tmp_path, "0", "package-0", 9_000_000, limit=9_999_999)
    meter = EnergyMeter(POWER, tmp_path)
    before = meter.now()
    zone(tmp_path, "0", "package-0", 500_000, limit=9_999_999)
    assert meter.since(before).joules == pytest.approx(1.5)


def test_without_counters_it_is_an_estimate_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed, busy = iter((100.0, 104.0)), iter((7.0, 8.5))
    clocks = SimpleNamespace(perf_counter=lambda: next(passed), process_time=lambda: next(busy))
    monkeypatch.setattr(energy, "time", clocks)
    meter = EnergyMeter(POWER, tmp_path / "absent")
    used = meter.since(meter.now())
    assert not used.measured
    assert used.joules == pytest.approx(1.5 * 10 + 4 * 2)
    assert "estimated" in str(used)


def test_counters_that_may_not_be_read_are_as_good_as_none(tmp_path: Path) -> None:
    folder = zone(tmp_path, "0", "package-0", 0)
    (folder / "energy_uj").unlink()
    (folder / "energy_uj").mkdir()  # a folder in place of the file cannot be read
    meter = EnergyMeter(POWER, tmp_path)
    assert not meter.since(meter.now()).measured


def test_a_counter_that_stops_being_readable_ends_in_an_estimate(tmp_path: Path) -> None:
    folder = zone(tmp_path, "0", "package-0", 0)
    meter = EnergyMeter(POWER, tmp_path)
    before = meter.now()
    (folder / "energy_uj").unlink()
    assert not meter.since(before).measured


def test_the_estimate_is_of_the_times_at_their_powers() -> None:
    assert EnergyMeter(POWER).estimate(3.0, 2.0).joules == pytest.approx(3 * 10 + 2 * 2)
