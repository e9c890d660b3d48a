"""Other distributions for the tests: a module and the metadata that pip would install for it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

TOY_MODULE = Path(__file__).parent / "fixtures" / "toy_engine" / "toy_engine.py"


def install(site: Path, name: str, entry_points: Mapping[str, Mapping[str, str]]) -> Path:
    """Write the metadata of a distribution into `site`, which is to be on sys.path. entry_points: by group, by name."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    groups = [
        f"[{group}]\n" + "".join(f"{each} = {value}\n" for each, value in own.items())
        for group, own in entry_points.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups))
    return site


def install_toy(site: Path) -> Path:
    """The distribution "toy-engine", which brings an engine and a family."""
    install(
        site,
        "toy-engine",
        {
            "edge_app.engines": {"toy": "toy_engine:load"},
            "edge_app.families": {"toy-llama": "toy_engine:load_family"},
        },
    )
    shutil.copy(TOY_MODULE, site)
    return site
