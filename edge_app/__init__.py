"""The application: turns, sessions, settings, the command line (cli/) and the chat (tui/).

The core of it (everything but cli/ and tui/) is headless: it never prints and never imports a front end.
"""

from __future__ import annotations

import gc
import os

__version__ = "0.1.0"

# pydantic would look through every installed package for plugins, 50 ms at each start; we use none.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

# Starting makes a hundred thousand objects that stay; looking for garbage among them every 700 new ones would be
# a twentieth of the time.
gc.set_threshold(50_000, 20, 20)
