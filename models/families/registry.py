"""The families of models by the name that a catalog entry gives in its key `family`.

Other distributions add families by entry points in the group "edge_app.families" (docs/extending.md).
"""

from __future__ import annotations

from models.core.errors import UserError
from models.core.extension_points import ExtensionPoint
from models.core.types import Progress
from models.families.parts import Family, LoadOptions, Parts
from models.hub.store import ModelFiles

FAMILIES: ExtensionPoint[Family] = ExtensionPoint(
    "edge_app.families",
    {
        "efficientnet-llama": "models.families.efficientnet_llama:load",
        "idefics3": "models.families.idefics3:load",
        "llama": "models.families.llama:load",
    },
)


def load_parts(files: ModelFiles, options: LoadOptions, progress: Progress) -> Parts:
    """The model's parts, made by its family. Raises UserError when that is unknown or the files do not fit."""
    if not files.family:
        raise UserError(
            f"The model {files.name} names no family, which the compiled engine and training need; it can only be "
            f"used with its engine {files.engine!r}."
        )
    family = FAMILIES.load(files.family)
    if family is None:
        raise UserError(
            f"The model {files.name} is of the family {files.family!r}, which this version cannot run; "
            f"it runs {', '.join(FAMILIES.names())}."
        )
    return family(files, options, progress)
