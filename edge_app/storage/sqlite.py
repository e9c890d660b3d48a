"""The one place that imports sqlite_utils, when the first database is opened.

It imports pandas whenever that is installed, for types of columns that we do not have: half a second at every
start, on the machine of anybody who has the [train] extra.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.core.imports import import_without

if TYPE_CHECKING:
    import sqlite3

    from sqlite_utils import Database


def database(connection: sqlite3.Connection) -> Database:
    """sqlite_utils' view of a connection, without its plugins."""
    made: Database = import_without("sqlite_utils", "pandas").Database(connection, execute_plugins=False)
    return made
