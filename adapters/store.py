"""The adapters on this machine: a folder each, as the peft library saves them.

Knows names and files. What is in a folder is models.peft_format's business; which adapter suits a question is
the router's.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from models.errors import UserError
from models.lora import LoraWeights
from models.peft_format import CONFIG_FILE, WEIGHTS_FILE, read_peft

MOST_LOADED = 4
"""How many adapters' tensors stay in memory, those used last: tens of MB each, and read again in no time."""

RESERVED = ("auto", "none")  # what the command line means something else by
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Signature = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class _Loaded:
    signature: Signature
    weights: LoraWeights


class AdapterStore:
    """directory: holds one folder an adapter. The methods may be called from any thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._loaded: OrderedDict[str, _Loaded] = OrderedDict()

    def names(self) -> tuple[str, ...]:
        """Sorted. A folder counts once it has a configuration; its content is checked when it is loaded."""
        if not self._directory.is_dir():
            return ()
        return tuple(
            sorted(
                entry.name
                for entry in self._directory.iterdir()
                if _NAME.fullmatch(entry.name)
                and entry.name not in RESERVED
                and (entry / CONFIG_FILE).is_file()
            )
        )

    def load(self, name: str) -> LoraWeights:
        """The adapter's tensors; read again when its files have changed, or after others. Raises UserError."""
        if name not in self.names():
            raise UserError(f"There is no adapter {name!r} in {self._directory}.")
        folder = self._directory / name
        signature = _signature(folder)
        with self._lock:
            loaded = self._loaded.get(name)
            if loaded is None or loaded.signature != signature:
                loaded = self._loaded[name] = _Loaded(signature, read_peft(folder, name))
            self._loaded.move_to_end(name)
            while len(self._loaded) > MOST_LOADED:
                self._loaded.popitem(last=False)
            return loaded.weights


def _signature(folder: Path) -> Signature:
    """Changes when a file is replaced or rewritten: (inode, size, modification time in ns) of each."""
    stats = [(folder / name).stat() for name in (CONFIG_FILE, WEIGHTS_FILE) if (folder / name).exists()]
    return tuple((stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats)
