"""`make torture`, `python -m benchmarks.torture`: kills, damaged inputs and load. Run again, it goes on where it was.

Example:
    python -m benchmarks.torture --only kills --kills 200 --seed 7
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from benchmarks.torture.commands import commands, draw_pages
from benchmarks.torture.endurance import MemoryCurve, chat_under_load, serve_under_load
from benchmarks.torture.fuzzing import BATCH, run_batch
from benchmarks.torture.kills import KillLoop
from benchmarks.torture.progress import RunState, StateFile
from benchmarks.torture.targets import TARGETS

PARTS = ("kills", "inputs", "load")


class TortureRun:
    """One run. folder: of its state, its home and the inputs that were faults."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._file = StateFile(folder / "state.json")
        self.state: RunState = self._file.load(seed)

    def kill(self, kills: int) -> None:
        home, pages = self._folder / "home", self._folder / "pages"
        draw_pages(pages)
        model, adapter = self._prepare(home)
        all_commands = commands(home, pages, adapter, model)
        loop = KillLoop(home, self.state.seed + sum(self.state.done.get("kills", {}).values()))
        for number in range(kills):
            command = all_commands[number % len(all_commands)]
            if number < sum(self.state.done.get("kills", {}).values()):
                continue
            for sentence in loop.round(command):
                self._fault(part="kills", name=command.name, error=sentence)
            self._counted("kills", command.name, 1)

    def feed(self, inputs: int) -> None:
        found = self._folder / "inputs"
        found.mkdir(parents=True, exist_ok=True)
        each = -(-inputs // len(TARGETS))
        for target in TARGETS:
            while (tried := self.state.count("inputs", target.name)) < each:
                seed = self.state.seed * 1_000_003 + tried
                result = run_batch(target.name, seed, min(BATCH, each - tried), found)
                if result.fault is not None:
                    self._fault(part="inputs", **asdict(result.fault))
                self.state.add("refused", target.name, result.refused)
                self._counted("inputs", target.name, min(BATCH, each - tried))

    def load(self, minutes: float) -> None:
        home, pages = self._folder / "home", self._folder / "pages"
        draw_pages(pages)
        self._prepare(home)
        if self.state.count("load", "chat"):
            return
        with ThreadPoolExecutor() as both:
            running = [
                both.submit(load, home, pages, minutes * 60, self.state.seed)
                for load in (serve_under_load, chat_under_load)
            ]
            for curve in (each.result() for each in running):
                print(_curve_line(curve), flush=True)
                if not curve.is_flat or curve.errors:
                    self._fault(part="load", name=curve.name, error=_curve_line(curve))
                self._counted("load", curve.name, 1)

    def _prepare(self, home: Path) -> tuple[Path, Path]:
        """A home with the default model and its adapters. Returns its GGUF file, and an adapter's archive."""
        import subprocess

        os.environ["EDGE_APP_HOME"] = str(home)
        archive = self._folder / "torture.zip"

        def run(*arguments: str) -> None:
            subprocess.run(
                [sys.executable, "-m", "edge_app", *arguments], check=True, stdin=subprocess.DEVNULL
            )

        run("ask", "Hello")
        if not archive.exists():
            run("adapters", "export", "shapes", str(archive))
        files = sorted((home / "data" / "models").rglob("*.gguf"), key=lambda path: path.stat().st_size)
        return files[-1], archive

    def _fault(self, **what: object) -> None:
        print(f"FAULT {what}", file=sys.stderr, flush=True)
        self.state.faults.append(dict(what))

    def _counted(self, part: str, name: str, count: int) -> None:
        self.state.add(part, name, count)
        self._file.save(self.state)
        print(f"{part} {name}: {self.state.count(part, name)}", file=sys.stderr, flush=True)


def _curve_line(curve: MemoryCurve) -> str:
    flat = "flat" if curve.is_flat else "NOT FLAT"
    return (
        f"{curve.name}: {curve.questions} questions, {curve.errors} errors; {curve.settled:.0f} MB after the first "
        f"sixth, {curve.last:.0f} MB at the end: {flat}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="these parts alone")
    parser.add_argument("--kills", type=int, default=1000, help="commands that are killed (default 1000)")
    parser.add_argument("--inputs", type=int, default=10_000, help="damaged inputs (default 10000)")
    parser.add_argument(
        "--minutes", type=float, default=60, help="of load, on a server and a chat at once (default 60)"
    )
    parser.add_argument("--seed", type=int, default=0, help="a run with another seed begins anew (default 0)")
    parser.add_argument("--folder", type=Path, default=Path(".torture"), help="of the run's state and faults")
    given = parser.parse_args(arguments)
    run = TortureRun(given.folder.absolute(), given.seed)
    if "inputs" in given.only:
        run.feed(given.inputs)
    if "kills" in given.only:
        run.kill(given.kills)
    if "load" in given.only:
        run.load(given.minutes)
    print(f"{'PART':<8}{'NAME':<20}{'COUNT':>7}{'REFUSED':>9}")
    for part in PARTS:
        for name, count in run.state.done.get(part, {}).items():
            refused = run.state.count("refused", name) if part == "inputs" else ""
            print(f"{part:<8}{name:<20}{count:>7}{refused:>9}")
    print(f"{len(run.state.faults)} faults")
    return 1 if run.state.faults else 0


if __name__ == "__main__":
    sys.exit(main())
