"""The numbers that a model computes for a conversation, to compare it with another runtime or to report a fault.

The conversation has the form that transformers takes. No system message is added, nothing is sampled, and caches of
earlier runs are not used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from models.compiled_adapters import CompiledAdapter
from models.core.errors import UserError
from models.core.types import Image, Progress, Role, no_progress
from models.families.parts import Parts
from models.language.prompt import EncodedImage, Prompt, RowIds
from models.language.templates.chat_template import IMAGE_TEXT, Content, ImagePart
from models.vision.tiled.tile_encoder import TileEncoder
from models.vision.tiled.tiles import pixel_values

STEP: Final = 16
"""Logits are given for every position with this many positions up to it, beside the last one."""

GREEDY_TOKENS: Final = 8

LONGEST_SIDE: Final = 1 << 16
"""Pixels. Images are not reduced before they are cut, as they are for answers."""

Arrays = dict[str, NDArray[Any]]
DumpMessage = tuple[Role, Content]


def read_messages(content: object) -> list[DumpMessage]:
    """Messages as transformers takes them, from JSON.

    content: a list of {"role": …, "content": …}, whose content is a text or a list of {"type": "image"} and
    {"type": "text", "text": …}. Raises UserError for anything else.
    """
    if not isinstance(content, list) or not content:
        raise UserError("The messages must be a list of objects with role and content.")
    return [_read_message(number, message) for number, message in enumerate(content, 1)]


def dump(
    parts: Parts,
    messages: Sequence[DumpMessage],
    images: Sequence[Image],
    adapter: CompiledAdapter | None = None,
    progress: Progress = no_progress,
) -> Arrays:
    """The arrays of one conversation.

    images: of the image parts, in order. adapter: of this model.

    Returns, with images: tiles uint8 and pixel_values float32 [n, 3, side, side] of models that cut images;
    image_features float32 [rows, hidden]. Always: token_ids int64 [t], an image's rows as the id of its token or -1;
    logits_last float32 [vocab]; positions int64 [p], which are 15, 31, 47 and so on; logits_at_positions float32
    [p, vocab]; greedy int64 [8], the most likely continuation, which no token ends.
    Raises UserError when images and messages do not fit each other or the model.
    """
    wanted = sum(isinstance(part, ImagePart) for _, content in messages for part in _parts(content))
    if wanted != len(images):
        raise UserError(f"The messages have {wanted} images, and {len(images)} files were given.")
    arrays, encoded = _encoded_images(parts, images, adapter, progress)
    prompt = parts.prompts.build_parts(messages, encoded)
    image_token = parts.language.tokenizer.special.get(IMAGE_TEXT, -1)
    ids = [image_token if token < 0 else token for token in prompt.tokens]
    return arrays | {"token_ids": np.array(ids, np.int64)} | _answered(parts, prompt, adapter, progress)


def _encoded_images(
    parts: Parts, images: Sequence[Image], adapter: CompiledAdapter | None, progress: Progress
) -> tuple[Arrays, list[EncodedImage]]:
    """The arrays of the images, and the images as input of the language model."""
    if not images:
        return {}, []
    if parts.vision is None:
        raise UserError("This model cannot see images; dump it without.")
    row_ids, arrays, encoded = RowIds(), cast(dict[str, list[NDArray[Any]]], {}), []
    for image in images:
        if isinstance(parts.vision, TileEncoder):
            tiles = parts.vision.cut(image)
            rows = parts.vision.encode_tiles(image, tiles, adapter.vision if adapter else None, progress)
            arrays.setdefault("tiles", []).append(tiles.tiles)
            arrays.setdefault("pixel_values", []).append(pixel_values(tiles.tiles))
            made = EncodedImage(row_ids.take(len(rows.embeddings)), rows.embeddings, grid=rows.grid)
        else:
            tokens = parts.vision.encode(image, adapter.projector if adapter else None, progress)
            guesses = tokens.heads.get(parts.words_head or "", tokens.guesses)
            made = EncodedImage(row_ids.take(len(tokens.embeddings)), tokens.embeddings, guesses)
        arrays.setdefault("image_features", []).append(made.embeddings)
        encoded.append(made)
    return {name: np.concatenate(each) for name, each in arrays.items()}, encoded


def _answered(parts: Parts, prompt: Prompt, adapter: CompiledAdapter | None, progress: Progress) -> Arrays:
    """Logits of the prompt and the greedy continuation. Raises UserError when they exceed the context."""
    runtime, count = parts.language.runtime, len(prompt.tokens)
    if count + GREEDY_TOKENS > runtime.context_length:
        raise UserError(
            f"The conversation takes {count} tokens and the answer {GREEDY_TOKENS}; the context has "
            f"{runtime.context_length}. Set context_length to more."
        )
    lora = None if adapter is None else adapter.lora
    parts.language.prefix.begin((), None)  # the KV cache is overwritten
    positions = np.arange(STEP - 1, count, STEP)
    stops = [*(positions + 1).tolist(), *([count] if count % STEP else [])]
    logits, start = [], 0
    for stop in stops:
        progress("prefill", "Reading the conversation", start, count)
        logits.append(runtime.prefill(*prompt.inputs(start, stop), start, lora).copy())
        start = stop
    last, greedy = logits[-1], [int(logits[-1].argmax())]
    while len(greedy) < GREEDY_TOKENS:
        greedy.append(int(runtime.decode(greedy[-1], count + len(greedy) - 1, lora).argmax()))
    shape = (len(positions), len(last))
    return {
        "logits_last": last,
        "positions": positions.astype(np.int64),
        "logits_at_positions": np.array(logits[: len(positions)], np.float32).reshape(shape),
        "greedy": np.array(greedy, np.int64),
    }


def _parts(content: Content) -> Sequence[str | ImagePart]:
    return [content] if isinstance(content, str) else content


def _read_message(number: int, message: object) -> DumpMessage:
    role = message.get("role") if isinstance(message, Mapping) else None
    if role not in ("system", "user", "assistant"):
        raise UserError(f"Message {number} has the role {role!r}; there are system, user and assistant.")
    content = message.get("content") if isinstance(message, Mapping) else None
    if isinstance(content, str):
        return cast(Role, role), [content]
    if not isinstance(content, list) or not content:
        raise UserError(f"Message {number} has no content: a text, or a list of parts.")
    return cast(Role, role), [_read_part(number, part) for part in content]


def _read_part(number: int, part: object) -> str | ImagePart:
    match part:
        case {"type": "image"}:
            return ImagePart()
        case {"type": "text", "text": str(text)}:
            return text
    raise UserError(
        f'Message {number} has a part that is neither {{"type": "image"}} nor {{"type": "text", "text": …}}.'
    )
