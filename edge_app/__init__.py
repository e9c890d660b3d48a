"""The application: turns, sessions, settings, the command line (cli/) and the chat (tui/).

The core of it (everything but cli/ and tui/) is headless: it never prints and never imports a front end.
"""

from __future__ import annotations

__version__ = "0.1.0"
