"""The family "efficientnet-llama": EfficientNet-Lite2 as vision tower, a projector of word heads, and a Llama.

Beside the language model the catalog entry needs a file of the role "vision_tower", a PyTorch checkpoint, and a
bundled config.json that names the projector's file.
"""

from __future__ import annotations

from dataclasses import replace

from models.compiler.cpu import choose_path, detect
from models.core.cache import COMPILED, PACKED
from models.core.errors import UserError
from models.core.types import Progress
from models.families.llama import load_language
from models.families.parts import LoadOptions, Parts
from models.hub.store import ModelFiles
from models.model_config import read_model_config
from models.vision.projector.projector import Projector, packed_embedding
from models.vision.projector.projector_file import read_projector
from models.vision.tower import VisionTower
from models.vision.tower_file import load_or_pack_tower
from models.vision.vision_encoder import VisionEncoder


def load(files: ModelFiles, options: LoadOptions, progress: Progress) -> Parts:
    """See models.families.parts.Family. The vision encoder itself is loaded with the first image."""
    config = read_model_config(files.bundled)
    projector = config.projector
    if "vision_tower" not in files.files or projector is None:
        lacking = "vision_tower among its files" if projector else "projector in its config.json"
        raise UserError(
            f"The model {files.name} has no {lacking}, which its family {files.family} needs; "
            'complete its entry in catalog.toml, or give it the family "llama" to use it for text alone.'
        )
    parts, packed = load_language(files, config, options, progress)

    def load_vision(progress: Progress) -> tuple[VisionTower, Projector]:
        path, compiled = choose_path(detect(options.cache_dir)), options.cache_dir / COMPILED
        packed_tower = load_or_pack_tower(
            files.files["vision_tower"], files.digests["vision_tower"], options.cache_dir / PACKED
        )
        tower = VisionTower.load(packed_tower, path, compiled, options.threads, progress)
        embedding, vocabulary = packed_embedding(packed), packed.shape.vocab
        heads = read_projector(projector, tower.packed, vocabulary)
        return tower, Projector.load(heads, embedding, vocabulary, path, compiled, options.threads, progress)

    return replace(
        parts,
        vision=VisionEncoder(load_vision),
        words_head=config.words_head,
        image_tasks=config.image_tasks,
        text_tasks=config.text_tasks,
    )
