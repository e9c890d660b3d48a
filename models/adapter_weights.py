"""An adapter's weights as read from its files: a LoRA, and what it changes of the vision encoder.

What an adapter needs in its prompts (text read in images, a line of words) is not a weight. It belongs to the package
`adapters`, which this module must not import (layer contract).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models.lora.peft_format import read_peft, read_peft_vision
from models.lora.vision_lora import VisionLora
from models.lora.weights import LoraWeights
from models.vision.projector.heads import ProjectorPart
from models.vision.projector.projector_file import read_projector_part

PROJECTOR_FILE = "projector.safetensors"


@dataclass(frozen=True, eq=False)
class AdapterWeights:
    """An adapter as read from its files.

    projector: what it changes of the image tokens; None for nothing. vision: what it changes of a SigLIP tower and
    connector; None for nothing.
    """

    lora: LoraWeights
    projector: ProjectorPart | None = None
    vision: VisionLora | None = None

    @property
    def name(self) -> str:
        return self.lora.name

    @property
    def generation(self) -> int:
        """Identifies the content of all files, the projector part's included."""
        return self.lora.generation


def read_adapter(folder: Path, name: str) -> AdapterWeights:
    """The LoRA in a folder in PEFT's format, and the projector part beside it if there is one.

    Raises UserError, naming the file, when something is missing, damaged, not finite or not supported.
    """
    lora = read_peft(folder, name, identified_by=(PROJECTOR_FILE,))
    return AdapterWeights(lora, read_adapter_projector(folder), lora.vision)


def read_adapter_vision(folder: Path) -> VisionLora | None:
    """What the adapter in a folder changes of a SigLIP tower. Raises UserError as `read_adapter` does."""
    return read_peft_vision(folder)


def read_adapter_projector(folder: Path) -> ProjectorPart | None:
    """The projector part in an adapter's folder. Raises UserError when it is damaged or not supported."""
    file = folder / PROJECTOR_FILE
    return read_projector_part(file) if file.is_file() else None
