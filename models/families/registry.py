"""The families of models: how each one's parts are put together, by the name that the catalog gives.

Another family is another function and a line in FAMILIES. Knows nothing of conversations.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from models.compiler.cpu import choose_path, detect
from models.core.cache import PACKED
from models.core.errors import UserError
from models.families.parts import Family, Parts, Request, allowed_context, text_side
from models.formats.llama_sources import load_llama
from models.formats.llama_weights import LlamaWeights
from models.hub.store import ModelFiles, check_digests
from models.language.generation import LanguageModel
from models.language.prefix_cache import PrefixCache
from models.language.prompt import PromptBuilder
from models.language.runtime import LlamaRuntime, compile_llama
from models.language.side_context import CONTEXT, MAX_ROWS, SideContext
from models.lora.packed_files import PackedFiles
from models.lora.peft_format import check_layers, read_peft
from models.lora.weights import PackedLora, pack_lora
from models.model_config import ModelConfig, read_model_config
from models.packing.packed_model import LlamaShape, PackedModel, load_or_pack
from models.vision.projector import Projector, packed_embedding
from models.vision.projector_file import read_projector
from models.vision.tower import VisionTower
from models.vision.tower_file import load_or_pack_tower
from models.vision.vision_encoder import LoadVision, VisionEncoder


def load_llama_family(files: ModelFiles, request: Request) -> Parts:
    """A Llama that reads text alone: a GGUF file, or a Hugging Face directory."""
    return _llama_parts(files, request, read_model_config(files.bundled))[0]


def load_efficientnet_llama(files: ModelFiles, request: Request) -> Parts:
    """A Llama with an EfficientNet-Lite2 for eyes and a projector of heads between them."""
    config = read_model_config(files.bundled)
    if "vision_tower" not in files.files or config.projector is None:
        lacking = "vision_tower among its files" if config.projector else "projector in its config.json"
        raise UserError(
            f"The model {files.name} has no {lacking}, which its family {files.family} needs; "
            'complete its entry in catalog.toml, or give it the family "llama" to use it without eyes.'
        )
    parts, packed = _llama_parts(files, request, config)
    eyes = VisionEncoder(_vision_loader(files, config, packed, request))
    return replace(parts, vision=eyes, words_head=config.words_head)


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {"efficientnet-llama": load_efficientnet_llama, "llama": load_llama_family}
)


def load_parts(files: ModelFiles, request: Request) -> Parts:
    """The model's parts, by its family. Raises UserError when that is unknown or the files do not fit."""
    family = FAMILIES.get(files.family)
    if family is None:
        raise UserError(
            f"The model {files.name} is of the family {files.family!r}, which this version cannot run; "
            f"it runs {', '.join(sorted(FAMILIES))}."
        )
    return family(files, request)


def _llama_parts(files: ModelFiles, request: Request, config: ModelConfig) -> tuple[Parts, PackedModel]:
    """Parts without eyes, and the packed weights, in which a projector finds its words."""
    weights = files.files.get("language_model", files.directory)  # without the role: Hugging Face's directory
    digest = files.digests.get("language_model", files.digest)

    def read() -> LlamaWeights:
        check_digests(files)
        return load_llama(weights, digest)

    packed_folder = request.cache_dir / PACKED
    with ThreadPoolExecutor(1) as pool:
        packing = pool.submit(load_or_pack, digest, read, packed_folder, request.progress)
        try:  # meanwhile: most of the one is a checksum, which leaves the interpreter free for the other
            tokenizer, template = text_side(weights, digest, config, packed_folder)
        except UserError:
            packing.result()  # what is wrong with the whole file is worth more than what is wrong in it
            raise
        packed = packing.result()
    longest = packed.config.max_position_embeddings
    context_length = allowed_context(files.name, request.context_length, config.context_length, longest)
    path = choose_path(detect(request.cache_dir))
    library = compile_llama(packed.shape, path, request.cache_dir / "compiled", request.progress)
    runtime = LlamaRuntime(packed, library, request.threads, context_length)
    parts = Parts(
        LanguageModel(runtime, tokenizer, PrefixCache()),
        SideContext(lambda: LlamaRuntime(packed, library, request.threads, CONTEXT, MAX_ROWS)),
        packed_embedding(packed),
        PromptBuilder(tokenizer, template, config.wording),
        vision=None,
        words_head=None,
        base_lora=_base_lora(config.base_lora, files.name, packed.shape, packed_folder)
        if config.base_lora
        else None,
    )
    return parts, packed


def _base_lora(folder: Path, name: str, shape: LlamaShape, packed_folder: Path) -> PackedLora:
    """The model's own LoRA for images, from its packed file or packed now."""
    kept = PackedFiles(packed_folder, shape)
    signature = [
        (file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(folder.iterdir())
    ]
    packed = kept.open(name, signature)
    if packed is None:
        weights = read_peft(folder, name)
        check_layers(weights, shape.layers)
        packed = pack_lora(shape, weights)
        kept.write(packed, signature)
    return packed


def _vision_loader(
    files: ModelFiles, config: ModelConfig, packed: PackedModel, request: Request
) -> LoadVision:
    def load() -> tuple[VisionTower, Projector]:
        assert config.projector is not None  # its caller has seen to it
        path, compiled = choose_path(detect(request.cache_dir)), request.cache_dir / "compiled"
        count, progress = request.threads, request.progress
        packed_tower = load_or_pack_tower(
            files.files["vision_tower"], files.digests["vision_tower"], request.cache_dir / PACKED
        )
        tower = VisionTower.load(packed_tower, path, compiled, count, progress)
        heads = read_projector(config.projector, tower.packed, packed.shape.vocab)
        embedding, vocabulary = packed_embedding(packed), packed.shape.vocab
        return tower, Projector.load(heads, embedding, vocabulary, path, compiled, count, progress)

    return load
