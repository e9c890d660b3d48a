"""Weights on huge pages: where they are to be had, and that they hold what the file holds."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

from models.core import huge_pages
from models.core.huge_pages import huge_page_array, packed_content
from models.core.packed_file import PAGE

SIZE = huge_pages.LEAST_BYTES


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    """A folder in which the kernel says that it gives huge pages, with plenty of memory."""
    (tmp_path / "enabled").write_text("always [madvise] never\n")
    (tmp_path / "hpage_pmd_size").write_text("2097152\n")
    (tmp_path / "meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable: {SIZE // 256} kB\n")
    return tmp_path


@pytest.mark.skipif(not hasattr(huge_pages.mmap, "MADV_HUGEPAGE"), reason="Linux has huge pages")
def test_the_array_is_zero_writeable_and_begins_with_a_huge_page(kernel: Path) -> None:
    array = huge_page_array(SIZE + 5, kernel, kernel / "meminfo")
    if array is None:
        pytest.skip("this kernel gives no huge pages")
    assert array.shape == (SIZE + 5,) and array.dtype == np.uint8 and not array[-4096:].any()
    assert array.ctypes.data % 2**21 == 0
    array[-1] = 7


def test_small_arrays_are_left_to_the_caller(kernel: Path) -> None:
    assert huge_page_array(SIZE - 1, kernel, kernel / "meminfo") is None


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("enabled", "always madvise [never]\n"),
        ("hpage_pmd_size", "536870912\n"),
        ("hpage_pmd_size", "?"),
        ("meminfo", f"MemAvailable: {SIZE // 1024} kB\n"),
        ("meminfo", "MemAvailable:\n"),
        ("meminfo", ""),
    ],
)
def test_no_copy_without_huge_pages_or_memory(kernel: Path, file: str, text: str) -> None:
    (kernel / file).write_text(text)
    assert huge_page_array(SIZE, kernel, kernel / "meminfo") is None


@pytest.mark.parametrize("missing", ["enabled", "hpage_pmd_size", "meminfo"])
def test_no_copy_where_the_kernel_says_nothing(kernel: Path, missing: str) -> None:
    (kernel / missing).unlink()
    assert huge_page_array(SIZE, kernel, kernel / "meminfo") is None


@pytest.mark.parametrize("copied", [True, False])
def test_content_and_its_check_are_those_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copied: bool
) -> None:
    size = PAGE + 5_000_000  # more than one block of the check
    content = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    path = tmp_path / "a.pack"
    path.write_bytes(content.tobytes())
    monkeypatch.setattr(
        huge_pages, "huge_page_array", lambda size: np.zeros(size, np.uint8) if copied else None
    )
    with path.open("rb") as file:
        found, check = packed_content(file, path)
    assert np.array_equal(found, content)
    assert check == zlib.crc32(content[PAGE:].tobytes())
    found[:] = 0
    assert path.read_bytes() == content.tobytes()
