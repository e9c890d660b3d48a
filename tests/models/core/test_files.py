"""Waiting for another process's lock, and paths in URLs."""

from __future__ import annotations

from pathlib import Path

import filelock
import pytest

from models.core.files import alone, path_in_url


class StoppedError(Exception):
    pass


def test_waiting_for_a_lock_is_reported_until_it_is_free(tmp_path: Path) -> None:
    other = filelock.FileLock(tmp_path / "a.lock", thread_local=False)
    other.acquire()
    told = []

    def waiting() -> None:
        told.append(True)
        if len(told) == 2:
            other.release()

    with alone(tmp_path / "a.lock", waiting):
        assert len(told) == 2


def test_a_wait_can_be_cancelled(tmp_path: Path) -> None:
    other = filelock.FileLock(tmp_path / "a.lock")

    def waiting() -> None:
        raise StoppedError

    with other, pytest.raises(StoppedError), alone(tmp_path / "a.lock", waiting):
        pass


def test_the_lock_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoppedError), alone(tmp_path / "a.lock", lambda: None):
        raise StoppedError
    with alone(tmp_path / "a.lock", pytest.fail):
        pass


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///a/my%20scans/b.pdf#3", "/a/my scans/b.pdf#3"),
        ("FILE://localhost/a.png", "/a.png"),
        ("file:/a.png", "/a.png"),
        ("file://other/a.png", None),
        ("file://[/a.png", None),
        ("https://example.org/a.png", None),
        ("a.png", None),
        ("file:a.png", None),
    ],
)
def test_a_file_url_of_this_machine_has_a_path(url: str, path: str | None) -> None:
    assert path_in_url(url) == (None if path is None else Path(path))
