"""The chat in the terminal (Textual): a front end that hands over turns and shows the events that come back.

Knows widgets and keys. Does not know how an answer is computed, routed or saved.
"""

from __future__ import annotations
