"""`edge-app models dump`: writes the numbers that a model computes for a conversation."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from edge_app.cli import output
from edge_app.cli.options import ImageOption, load_settings
from models.core.errors import UserError

if TYPE_CHECKING:
    from models.core.types import Detail, Stage
    from models.formats.llama_weights import Precision
    from models.model_dump import Arrays
    from models.precision import Wanted


def dump(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name from `edge-app models list`.")],
    out: Annotated[Path, typer.Option(metavar="FILE.npz", help="The file to write.")],
    messages: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="A conversation as transformers takes it."),
    ] = None,
    prompt: Annotated[str | None, typer.Option(metavar="TEXT", help="One question instead.")] = None,
    image: ImageOption = None,
    detail: Annotated[
        Literal["high", "low"],
        typer.Option(help="high: as the model's publisher cuts images; low: one tile."),
    ] = "high",
    adapter: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A PEFT folder, which need not be installed.")
    ] = None,
    precision: Annotated[
        Literal["auto", "int8", "float"],
        typer.Option(help="Of linear layers. auto: as answers are computed; float: without rounding."),
    ] = "auto",
) -> None:
    """Write a model's numbers for a conversation: to compare two runtimes, or to report a fault.

    \b
    The arrays: tiles, pixel_values, image_features (with images); token_ids,
    logits_last, positions, logits_at_positions, greedy.

    \b
    The messages are a list of objects with role and content. An image is an
    {"type": "image"} in a content, for each --image in order:
      [{"role": "user", "content": [{"type": "image"},
        {"type": "text", "text": "What is this?"}]}]

    \b
    Examples:
      edge-app models dump smolvlm-500m --image photo.jpg --prompt "What is this?" --out photo.npz
      edge-app models dump smolvlm-500m --image photo.jpg --messages chat.json --out photo.npz
    """
    import numpy as np

    from edge_app.images.image_paths import expanded

    if (messages is None) == (prompt is None):
        raise typer.BadParameter("give either --messages or --prompt.")
    _check_place(out)
    line = output.ProgressLine()
    try:
        conversation = _conversation(messages, prompt, len(image or ()))
        files = [expanded(path) for path in image or ()]
        arrays, computed = _compute(name, conversation, files, detail, adapter, precision, line)
    finally:
        line.clear()
    try:
        with out.open("wb") as file:  # given a path, NumPy would add the ending .npz
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # the stub lets no array be named freely
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}).") from None
    output.say(f"Wrote {out}; linear layers computed in {computed}.")


def _check_place(out: Path) -> None:
    """Raises UserError when the file cannot be written, which is not to be found out after all the computing."""
    if out.is_dir():
        raise UserError(f"{out} cannot be written (it is a folder); give the name of a file.")
    if not out.parent.is_dir():
        raise UserError(f"{out} cannot be written (there is no folder {out.parent}).")
    if not os.access(out if out.exists() else out.parent, os.W_OK):
        raise UserError(f"{out} cannot be written (you may not write there).")


def _conversation(messages: Path | None, prompt: str | None, images: int) -> object:
    """The messages as JSON values. Raises UserError when the file cannot be read."""
    if messages is None:
        shown = [{"type": "image"}] * images
        return [{"role": "user", "content": [*shown, {"type": "text", "text": prompt}]}]
    try:
        return json.loads(messages.read_bytes())
    except OSError as error:
        raise UserError(f"{messages} cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{messages} is no JSON file ({error}).") from None


def _compute(
    name: str,
    conversation: object,
    paths_of_images: list[Path],
    detail: Detail,
    adapter: Path | None,
    precision: Wanted,
    line: output.ProgressLine,
) -> tuple[Arrays, Precision]:
    """The arrays, and how they were computed."""
    from edge_app.events import Progress as ProgressEvent
    from edge_app.system import paths
    from models.adapter_weights import read_adapter
    from models.compiled_adapters import CompiledAdapterPacker
    from models.compiler.threads import default_threads
    from models.core.cache import PACKED
    from models.documents.pages import load_page
    from models.families.parts import LoadOptions
    from models.families.registry import load_parts
    from models.hub.store import ModelStore
    from models.model_dump import LONGEST_SIDE, dump, read_messages
    from models.precision import Updates, model_precision

    def progress(stage: Stage, message: str, done: int, total: int | None) -> None:
        line.show(ProgressEvent(stage, message, done, total))

    wanted = read_messages(conversation)
    images = [replace(load_page(path, longest=LONGEST_SIDE), detail=detail) for path in paths_of_images]
    settings = load_settings()
    files = ModelStore(paths.models_directory()).find(name)
    if files is None:
        raise UserError(f"The model {name} is not on this machine; get it with: edge-app models pull {name}")
    cache = paths.ensure(paths.cache_directory())
    chosen = model_precision(files, precision)
    options = LoadOptions(cache, settings.threads or default_threads(), settings.context_length, chosen)
    parts = load_parts(files, options, progress)
    packed = None
    if adapter is not None:
        weights = read_adapter(adapter, adapter.name)
        if precision == "auto" and chosen == "int8" and Updates(parts.base).need_floats(weights):
            options = replace(options, precision="float")
            parts = load_parts(files, options, progress)
        packer = CompiledAdapterPacker(parts.language.runtime.shape, cache / PACKED, parts.base)
        packed = packer.pack(weights)
    return dump(parts, wanted, images, packed, progress), options.precision
