"""The one place that imports sqlite_utils.

It imports pandas whenever that is installed, for types of columns that we do not have: half a second at every
start, on the machine of anybody who has the [train] extra.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.imports import import_without

if TYPE_CHECKING:
    from sqlite_utils import Database
else:
    Database = import_without("sqlite_utils", "pandas").Database

__all__ = ["Database"]
