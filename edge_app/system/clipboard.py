"""An image in the system's clipboard: by wl-paste (Wayland) or xclip (X11), and by Pillow on macOS and Windows."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

from models.core.errors import UserError

SECONDS = 5.0
"""How long a clipboard program may take. One whose owner has gone away never answers."""

_MOST_BYTES = 256 * 2**20
_TYPES = ("image/png", "image/jpeg", "image/webp", "image/bmp", "image/tiff", "image/gif")


def clipboard_images() -> bytes | tuple[Path, ...] | None:
    """The image in the clipboard as the bytes of a file, or the files that were copied there; None without either.

    Takes up to SECONDS: call it on a worker thread. Raises UserError when there is no program that reads the clipboard,
    or it fails.
    """
    if sys.platform in ("darwin", "win32"):
        return _by_pillow()
    if os.environ.get("WAYLAND_DISPLAY") and shutil.which("wl-paste"):
        return _offered(["wl-paste", "--list-types"], ["wl-paste", "--no-newline", "--type"])
    if os.environ.get("DISPLAY") and shutil.which("xclip"):
        command = ["xclip", "-selection", "clipboard", "-o", "-t"]
        return _offered([*command, "TARGETS"], command)
    if not os.environ.get("WAYLAND_DISPLAY") and not os.environ.get("DISPLAY"):
        raise UserError(
            "This terminal has no clipboard that can be read here; give the image's path instead."
        )
    raise UserError("The clipboard is read by wl-paste (wl-clipboard) or xclip, and neither is installed.")


def _offered(list_types: list[str], paste: list[str]) -> bytes | None:
    """The image in the first of our types that the clipboard offers. paste: the command before the type."""
    offered = _output(list_types).decode("ascii", "replace").split()
    wanted = next((kind for kind in _TYPES if kind in offered), None)
    return None if wanted is None else _output([*paste, wanted]) or None


def _output(command: list[str]) -> bytes:
    """What a clipboard program prints; empty when it fails, as each does on an empty clipboard."""
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, timeout=SECONDS, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{command[0]} did not answer within {SECONDS:.0f} seconds.") from error
    except OSError as error:
        raise UserError(f"Cannot run {command[0]}: {error.strerror}.") from error
    if len(done.stdout) > _MOST_BYTES:
        raise UserError("The image in the clipboard is too large.")
    return done.stdout if done.returncode == 0 else b""


def _by_pillow() -> bytes | tuple[Path, ...] | None:
    import PIL.ImageGrab

    try:
        found = PIL.ImageGrab.grabclipboard()
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot read the clipboard: {error}.") from error
    if isinstance(found, list):
        return tuple(map(Path, found)) or None
    if found is None:
        return None
    buffer = io.BytesIO()
    found.convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()
