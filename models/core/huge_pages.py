"""Memory on huge pages for weights and adapters, all of which are read for every token.

The processor looks up the place of each page that it reads. With pages of 4 KB that limits how fast one core reads,
most of all in a virtual machine, where a look-up has two stages. Linux gives pages of 2 MB to private memory that asks
for them. Files of the page cache have them on few file systems, so that weights are copied.
"""

from __future__ import annotations

import mmap
import zlib
from io import BufferedReader
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.core.packed_file import CHECK_BLOCK, PAGE, content_check

LEAST_BYTES = 1 << 21  # smaller arrays do not fill a huge page
_SHARE = 0.5  # of the memory that is available: a mapped file can be dropped by the system, a copy cannot
_HUGE = 1 << 21  # bytes of a huge page
_SETTINGS = Path("/sys/kernel/mm/transparent_hugepage")
_MEMORY = Path("/proc/meminfo")


def huge_page_array(
    size: int, settings: Path = _SETTINGS, memory: Path = _MEMORY
) -> NDArray[np.uint8] | None:
    """A zero array uint8 [size] on huge pages, or None where that is not to be had.

    None is the answer on other systems than Linux, where huge pages are off or of another size than 2 MB, for less than
    LEAST_BYTES, and when the array would take more than half of the memory that is available.

    settings, memory: where the kernel tells about huge pages and about its memory.
    """
    if size < LEAST_BYTES or not hasattr(mmap, "MADV_HUGEPAGE") or not _offered(settings):
        return None
    if size > _SHARE * _available(memory):
        return None
    try:
        pages = mmap.mmap(-1, size + _HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        pages.madvise(mmap.MADV_HUGEPAGE)
    except OSError:  # a limit on the memory of this process, or a kernel without huge pages
        return None
    whole = np.frombuffer(pages, np.uint8)
    first = -whole.ctypes.data % _HUGE
    return whole[first : first + size]


def packed_content(file: BufferedReader, path: Path) -> tuple[NDArray[np.uint8], int]:
    """The bytes of an open packed file, uint8 [size], and its content_check: a copy on huge pages, or else mapped.

    Either may be written to without changing the file.
    """
    copy = huge_page_array(path.stat().st_size)
    if copy is None:
        return np.memmap(path, dtype=np.uint8, mode="c"), content_check(file)
    file.seek(0)
    place, check = 0, 0
    while count := file.readinto(copy.data[place : place + CHECK_BLOCK]):
        check = zlib.crc32(copy.data[max(place, PAGE) : place + count], check)
        place += count
    return copy, check


def _offered(settings: Path) -> bool:
    """Whether the kernel gives huge pages of 2 MB to memory that asks for them."""
    try:
        enabled = (settings / "enabled").read_text()
        size = int((settings / "hpage_pmd_size").read_text())
    except (OSError, ValueError):
        return False
    return "[never]" not in enabled and size == _HUGE


def _available(memory: Path) -> int:
    """Bytes of memory that a new array can take without pushing out another program; 0 when that is unknown."""
    try:
        for line in memory.read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return 0
