"""Memory that was freed in pieces goes back to the system."""

from __future__ import annotations

import ctypes
import gc
import sys
import weakref

import psutil
import pytest

from models.core.freed_memory import free_garbage, give_back_freed_memory


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"),
    reason="not the allocator of glibc",
)
def test_freed_blocks_between_held_ones_are_given_back() -> None:
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = (
        ctypes.c_void_p,
        [ctypes.c_size_t],
        [ctypes.c_void_p],
    )
    size, count = 64 << 10, 1024  # 64 MB in blocks that glibc takes from its heap
    blocks = [libc.malloc(size) for _ in range(count)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    held = blocks[::16]
    for block in set(blocks) - set(held):
        libc.free(block)
    before = psutil.Process().memory_info().rss
    give_back_freed_memory()
    freed = before - psutil.Process().memory_info().rss
    for block in held:
        libc.free(block)
    assert freed > size * count // 2


def test_it_may_be_called_on_every_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    give_back_freed_memory()


def test_objects_that_only_refer_to_one_another_are_freed() -> None:
    class Node:
        other: object = None

    first, second = Node(), Node()
    first.other, second.other = second, first
    kept = weakref.ref(first)
    gc.disable()
    try:
        del first, second
        assert kept() is not None
        free_garbage()
        assert kept() is None
    finally:
        gc.enable()
