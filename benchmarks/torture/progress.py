"""What a run has done so far, on disk, so that the same command goes on where it was."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from models.core.files import write_whole


@dataclass
class RunState:
    """seed: of the run. done: counts by part and name. faults: what went wrong, as they are printed."""

    seed: int
    done: dict[str, dict[str, int]] = field(default_factory=dict)
    faults: list[dict[str, Any]] = field(default_factory=list)

    def count(self, part: str, name: str) -> int:
        return self.done.get(part, {}).get(name, 0)

    def add(self, part: str, name: str, count: int) -> None:
        self.done.setdefault(part, {})[name] = self.count(part, name) + count


class StateFile:
    """The file of a run. Each change is written whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self, seed: int) -> RunState:
        """The state of the run with this seed; a new one where the file has none or another seed's."""
        try:
            content = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return RunState(seed)
        return RunState(**content) if content.get("seed") == seed else RunState(seed)

    def save(self, state: RunState) -> None:
        write_whole(self._path, json.dumps(asdict(state), indent=1).encode())
