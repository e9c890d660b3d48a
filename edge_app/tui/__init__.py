"""The chat in the terminal, made with Textual: a front end that starts turns and shows their events."""

from __future__ import annotations
