"""The family "llama": a language model of the Llama architecture that reads text alone.

The weights are a GGUF file, a Hugging Face directory or an MLC package. Families with a vision encoder
in front of a Llama build on `load_language`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from models.compiler.cpu import choose_path, detect
from models.core.cache import COMPILED, PACKED
from models.core.errors import UserError
from models.core.types import Progress
from models.families.parts import BaseWeights, LoadOptions, Parts
from models.formats.gguf.gguf_metadata import load_or_read_metadata
from models.formats.llama_sources import load_llama
from models.formats.llama_weights import LlamaWeights
from models.formats.mlc.package import is_mlc_package
from models.hub.store import ModelFiles, check_digests
from models.language.generation import LanguageModel
from models.language.prefix_cache import PrefixCache
from models.language.prompt import ImageWording, PromptBuilder
from models.language.runtime import LlamaRuntime, compile_llama
from models.language.side_context import CONTEXT, MAX_ROWS, SideContext
from models.language.templates.chat_template import ChatTemplate
from models.language.templates.mlc_template import read_mlc_language
from models.language.tokenizer import Tokenizer
from models.lora.packed_files import PackedFiles
from models.lora.peft_format import check_layers, read_peft
from models.lora.weights import PackedLora, pack_lora
from models.model_config import ModelConfig, read_model_config
from models.packing.packed_model import PackedModel, load_or_pack
from models.packing.unpacking import module_weights
from models.vision.projector.projector import packed_embedding


def load(files: ModelFiles, options: LoadOptions, progress: Progress) -> Parts:
    """See models.families.parts.Family."""
    return load_language(files, read_model_config(files.bundled), options, progress)[0]


def load_language(
    files: ModelFiles,
    config: ModelConfig,
    options: LoadOptions,
    progress: Progress,
    wording: ImageWording | None = None,
) -> tuple[Parts, PackedModel]:
    """The parts without a vision encoder, and the packed weights, which hold the embedding.

    wording: writes images into prompts; None for the one in the model's config.json.
    """
    weights = files.files.get("language_model", files.directory)  # no such role: a Hugging Face directory
    digest = files.digests.get("language_model", files.digest)

    def read() -> LlamaWeights:
        check_digests(files)
        return load_llama(weights, digest, options.precision)

    packed_folder = options.cache_dir / PACKED
    with ThreadPoolExecutor(1) as pool:
        # Opening packed weights is mostly a checksum, which releases the GIL while the tokenizer is built.
        packing = pool.submit(load_or_pack, digest, read, packed_folder, progress, options.precision)
        try:
            tokenizer, template = _read_tokenizer(weights, digest, config, packed_folder)
        except UserError:
            packing.result()  # an error about the whole file is more useful than one about its metadata
            raise
        packed = packing.result()
    _check_vocabulary(files.name, tokenizer, packed.shape.vocab)
    context_length = _context_length(files.name, options.context_length, config, packed)
    path = choose_path(detect(options.cache_dir))
    library = compile_llama(packed.shape, path, options.cache_dir / COMPILED, progress)
    runtime = LlamaRuntime(packed, library, options.threads, context_length)
    parts = Parts(
        LanguageModel(runtime, tokenizer, PrefixCache()),
        SideContext(lambda: LlamaRuntime(packed, library, options.threads, CONTEXT, MAX_ROWS)),
        packed_embedding(packed),
        PromptBuilder(tokenizer, template, wording or config.wording),
        BaseWeights(partial(module_weights, packed)),
        vision=None,
        words_head=None,
        base_lora=_base_lora(config.base_lora, files.name, packed, packed_folder)
        if config.base_lora
        else None,
    )
    return parts, packed


def _read_tokenizer(
    weights: Path, digest: str, config: ModelConfig, packed_folder: Path
) -> tuple[Tokenizer, ChatTemplate]:
    """The tokenizer and template of a GGUF file with this sha256, or of a directory. Raises UserError."""
    template: ChatTemplate | None
    if is_mlc_package(weights):
        tokenizer, template = read_mlc_language(weights)
    elif weights.is_dir():
        tokenizer = Tokenizer.from_directory(weights)
        template = ChatTemplate.from_directory(weights) if config.chat_template is None else None
    else:
        file = load_or_read_metadata(weights, digest, packed_folder)
        tokenizer = Tokenizer.from_gguf(file)
        template = ChatTemplate.from_gguf(file) if config.chat_template is None else None
    if config.chat_template is not None:
        template = ChatTemplate(config.chat_template)
    assert template is not None
    return tokenizer, template


def _check_vocabulary(name: str, tokenizer: Tokenizer, vocab: int) -> None:
    """Raise UserError for a tokenizer with ids that the language model has no embedding of. vocab: its rows."""
    largest = max(len(tokenizer) - 1, *tokenizer.end_ids)
    if largest >= vocab:
        raise UserError(
            f"The tokenizer of {name} has the token {largest}, but its language model knows the tokens 0 to "
            f"{vocab - 1}; the files belong to different models."
        )


def _context_length(name: str, wanted: int | None, config: ModelConfig, packed: PackedModel) -> int:
    """Positions in the KV cache. Raises UserError when more are wanted than the model was trained for."""
    longest = packed.config.max_position_embeddings
    if wanted is not None and wanted > longest:
        raise UserError(f"A context of {wanted} tokens is too long; {name} reads at most {longest}.")
    return wanted or min(config.context_length, longest)


def _base_lora(folder: Path, name: str, model: PackedModel, packed_folder: Path) -> PackedLora:
    """The model's own LoRA, from its packed file or packed now."""
    kept = PackedFiles(packed_folder, model.shape, model.digest)
    signature = [
        (file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(folder.iterdir())
    ]
    packed = kept.open(name, signature)
    if packed is None:
        weights = read_peft(folder, name)
        check_layers(weights, model.shape.layers)
        packed = pack_lora(model.shape, weights)
        kept.write(packed, signature)
    return packed
