"""The family "idefics3": a SigLIP tower with pixel shuffle and a Llama, as in SmolVLM and granite-docling.

The weights are two GGUF files of the roles "language_model" and "mmproj", or a Hugging Face directory.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from models.compiler.cpu import choose_path, detect
from models.core.cache import COMPILED, IMAGES, PACKED
from models.core.errors import UserError
from models.core.files import read_json
from models.core.types import Progress
from models.families.llama import load_language
from models.families.parts import LoadOptions, Parts
from models.formats.gguf.gguf_metadata import load_or_read_metadata
from models.formats.hugging_face import siglip_config
from models.formats.siglip_sources import load_siglip, mmproj_rows
from models.formats.siglip_weights import SiglipWeights
from models.hub.store import ModelFiles, check_digests
from models.language.prompt import TileWording
from models.model_config import read_model_config
from models.vision.siglip.encoder import SiglipEncoder
from models.vision.siglip.packed_siglip import load_or_pack_siglip
from models.vision.tiled.feature_files import FeatureFiles
from models.vision.tiled.tile_encoder import TileEncoder
from models.vision.tiled.tiles import TileSettings, directory_tile_settings, gguf_tile_settings

PENALTY = 1.0
"""The repetition penalty without an adapter. These models are made for greedy answers without one."""


def load(files: ModelFiles, options: LoadOptions, progress: Progress) -> Parts:
    """See models.families.parts.Family. The vision encoder itself is loaded with the first image."""
    config = read_model_config(files.bundled)
    source, digest = _vision_source(files)
    parts, packed = load_language(files, config, options, progress, TileWording())
    packed_folder = options.cache_dir / PACKED

    def read() -> SiglipWeights:
        check_digests(files)
        return load_siglip(source, digest, options.precision)

    def load_tower(progress: Progress) -> SiglipEncoder:
        packed_tower = load_or_pack_siglip(digest, read, packed_folder, progress, options.precision)
        width = packed_tower.config.text_hidden
        if width != packed.shape.hidden:
            raise UserError(
                f"The vision encoder of {files.name} makes rows of {width} numbers, but its language model reads "
                f"{packed.shape.hidden}; the two files belong to different models."
            )
        path = choose_path(detect(options.cache_dir))
        return SiglipEncoder.load(packed_tower, path, options.cache_dir / COMPILED, options.threads, progress)

    weights = files.digests.get("language_model", files.digest)
    tower = digest if options.precision == "int8" else f"{digest} {options.precision}"
    features = FeatureFiles(options.cache_dir / IMAGES, weights, tower)
    settings, rows = _tile_settings(source, digest, packed_folder)
    most_rows = parts.language.runtime.context_length
    vision = TileEncoder(load_tower, settings, rows, features, most_rows)
    return replace(
        parts,
        vision=vision,
        base=replace(parts.base, vision=lambda: load_siglip(source, digest, options.precision)),
        plain_penalty=PENALTY,
        image_tasks=config.image_tasks,
        text_tasks=config.text_tasks,
    )


def _vision_source(files: ModelFiles) -> tuple[Path, str]:
    """The mmproj file or the directory, and its sha256 (hex). Raises UserError when the mmproj file is missing."""
    if "language_model" not in files.files:
        return files.directory, files.digest
    if "mmproj" not in files.files:
        raise UserError(
            f"The model {files.name} has no mmproj among its files, which its family {files.family} needs to see "
            'images; add it, or give the entry the family "llama" to use it for text alone.'
        )
    return files.files["mmproj"], files.digests["mmproj"]


def _tile_settings(source: Path, digest: str, packed_folder: Path) -> tuple[TileSettings, int]:
    """How images are cut, and the rows of a tile."""
    if source.is_dir():
        path = source / "config.json"
        config = siglip_config(path, read_json(path))
        return directory_tile_settings(source, config.image_size), config.rows
    metadata = load_or_read_metadata(source, digest, packed_folder).metadata
    return gguf_tile_settings(source, metadata), mmproj_rows(source, metadata)
