"""Errors that a user can cause or correct. The message is one sentence: what is wrong, where, and what to do.

Every other exception is a defect of the program and ends it with a traceback.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self


class UserError(Exception):
    """Bad input, a missing file, an unsupported format. Shown without a traceback; exit code 1."""

    exit_code = 1


class FileError(UserError):
    """Something is wrong with a file or folder.

    The message is `before`, the path and `after`, which begins with its own space or colon.
    """

    def __init__(self, path: str | Path, after: str, before: str = "") -> None:
        super().__init__(f"{before}{path}{after}")
        self.path = path
        self.after = after
        self.before = before

    def at(self, path: str | Path) -> Self:
        """The same error about another path, such as the one that a temporary copy was made from."""
        return type(self)(path, self.after, self.before)


class QuestionTooLongError(UserError):
    """The last question alone has more tokens than the model reads at once."""


class NeedsNetwork(UserError):
    """Something must be downloaded, and the network is switched off or cannot be reached; exit code 3."""

    exit_code = 3
