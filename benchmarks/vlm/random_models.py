"""Vision-language models of the published shapes with random weights, as GGUF files, to measure speed with.

    python -m benchmarks.vlm.random_models FOLDER [SHAPE...]

A language model and its mmproj are written for each shape, in the types that are published. Quantised blocks are drawn
directly, which takes a second for 400 MB. Weights have about the standard deviation 1 / sqrt(inputs), so that
activations and logits have ordinary sizes. The vocabulary is that of the default model, with the control tokens of
SmolVLM behind it at their true ids.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_app.settings import load
from edge_app.system import paths
from models.formats.gguf.gguf_file import GgufFile
from models.formats.gguf.gguf_types import BLOCKS
from models.formats.gguf.gguf_writer import TensorToWrite, Value, write_gguf
from models.hub.store import ModelStore

VOCABULARY = 49280
IMAGE_TOKEN, END_TOKEN = 49190, 49279
_GLOBAL, _FIRST_TILE, _FAKE = 49152, 49153, 49189
_CONTROL = 3  # the format's type of control tokens
_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}:"
    "{% if message['content'][0]['type'] != 'image' %} {% endif %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)


@dataclass(frozen=True)
class VlmShape:
    """The sizes of a model. tower_*: of its vision encoder. longest_edge: of an image before it is cut into tiles."""

    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    tower_hidden: int
    tower_inner: int
    tower_layers: int
    tower_heads: int
    tile: int
    patch: int
    scale_factor: int
    longest_edge: int


SHAPES = {
    "256m": VlmShape(576, 1536, 30, 9, 3, 768, 3072, 12, 12, 512, 16, 4, 2048),
    "500m": VlmShape(960, 2560, 32, 15, 5, 768, 3072, 12, 12, 512, 16, 4, 2048),
    "2.2b": VlmShape(2048, 8192, 24, 32, 32, 1152, 4304, 27, 16, 384, 14, 3, 1536),
}
LANGUAGE_TYPES = {"256m": ("Q8_0", "Q4_0"), "500m": ("Q8_0", "Q4_0"), "2.2b": ("Q4_K_M",)}
MMPROJ_TYPES = ("Q8_0", "F16")


def language_file(folder: Path, name: str, kind: str) -> Path:
    """The file of a language model. name: a key of SHAPES. kind: of LANGUAGE_TYPES[name]."""
    return folder / f"random-{name}-{kind}.gguf"


def mmproj_file(folder: Path, name: str, kind: str) -> Path:
    """The file of a vision encoder and connector. name: a key of SHAPES. kind: of MMPROJ_TYPES."""
    return folder / f"mmproj-random-{name}-{kind}.gguf"


def write_missing(folder: Path, name: str, vocabulary: Path) -> None:
    """Write the files of a shape that the folder lacks. vocabulary: a GGUF file with SmolLM2's tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = SHAPES[name]
    for kind in LANGUAGE_TYPES[name]:
        path = language_file(folder, name, kind)
        if not path.exists():
            write_gguf(
                path, _language_metadata(name, shape, vocabulary), list(_language_tensors(shape, kind))
            )
    for kind in MMPROJ_TYPES:
        path = mmproj_file(folder, name, kind)
        if not path.exists():
            write_gguf(path, _mmproj_metadata(name, shape), list(_mmproj_tensors(shape, kind)))


def _language_metadata(name: str, shape: VlmShape, vocabulary: Path) -> dict[str, Value]:
    return {
        "general.architecture": "llama",
        "general.name": f"random {name}",
        "llama.block_count": shape.layers,
        "llama.context_length": 8192,
        "llama.embedding_length": shape.hidden,
        "llama.feed_forward_length": shape.inner,
        "llama.attention.head_count": shape.heads,
        "llama.attention.head_count_kv": shape.kv_heads,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.freq_base": 100000.0,
        "llama.rope.dimension_count": shape.hidden // shape.heads,
        "llama.vocab_size": VOCABULARY,
        **_tokenizer(vocabulary),
    }


def _tokenizer(vocabulary: Path) -> dict[str, Value]:
    """SmolLM2's tokenizer with SmolVLM's control tokens."""
    given = GgufFile(vocabulary).metadata
    tokens, merges, kinds = (given[f"tokenizer.ggml.{key}"] for key in ("tokens", "merges", "token_type"))
    assert isinstance(tokens, list) and isinstance(merges, list) and isinstance(kinds, np.ndarray)
    added = {_GLOBAL: "<global-img>", _FAKE: "<fake_token_around_image>", IMAGE_TOKEN: "<image>"}
    added |= {
        _FIRST_TILE + 6 * row + column: f"<row_{row + 1}_col_{column + 1}>"
        for row in range(6)
        for column in range(6)
    }
    added[END_TOKEN] = "<end_of_utterance>"
    names = [added.get(number, f"<|reserved_{number}|>") for number in range(len(tokens), VOCABULARY)]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": [str(token) for token in tokens] + names,
        "tokenizer.ggml.token_type": [int(kind) for kind in kinds] + [_CONTROL] * len(names),
        "tokenizer.ggml.merges": [str(merge) for merge in merges],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": END_TOKEN,
        "tokenizer.ggml.padding_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.chat_template": _TEMPLATE,
    }


def _language_tensors(shape: VlmShape, kind: str) -> Iterator[TensorToWrite]:
    """All tensors. kind: the type of the linear layers, or the mix "Q4_K_M"."""
    hidden, inner, kv = shape.hidden, shape.inner, shape.hidden // shape.heads * shape.kv_heads
    mixed = kind == "Q4_K_M"
    plain = "Q4_K" if mixed else kind
    yield _random("token_embd.weight", (VOCABULARY, hidden), "Q4_K" if mixed else "Q8_0")
    yield _random("output.weight", (VOCABULARY, hidden), "Q6_K" if mixed else "Q8_0")
    yield _random("output_norm.weight", (hidden,), "F32")
    for number in range(shape.layers):
        prefix = f"blk.{number}."
        better = "Q6_K" if mixed and _has_more_bits(number, shape.layers) else plain
        yield _random(f"{prefix}attn_norm.weight", (hidden,), "F32")
        yield _random(f"{prefix}ffn_norm.weight", (hidden,), "F32")
        yield _random(f"{prefix}attn_q.weight", (hidden, hidden), plain)
        yield _random(f"{prefix}attn_k.weight", (kv, hidden), plain)
        yield _random(f"{prefix}attn_v.weight", (kv, hidden), better)
        yield _random(f"{prefix}attn_output.weight", (hidden, hidden), plain)
        yield _random(f"{prefix}ffn_gate.weight", (inner, hidden), plain)
        yield _random(f"{prefix}ffn_up.weight", (inner, hidden), plain)
        yield _random(f"{prefix}ffn_down.weight", (hidden, inner), better)


def _has_more_bits(layer: int, layers: int) -> bool:
    """Whether Q4_K_M gives a layer's value and down matrices 6 bits: the first and last eighth, else every third."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def _mmproj_metadata(name: str, shape: VlmShape) -> dict[str, Value]:
    return {
        "general.architecture": "clip",
        "general.type": "mmproj",
        "general.name": f"random {name}",
        "clip.has_vision_encoder": True,
        "clip.projector_type": "idefics3",
        "clip.use_gelu": True,
        "clip.vision.image_size": shape.tile,
        "clip.vision.patch_size": shape.patch,
        "clip.vision.embedding_length": shape.tower_hidden,
        "clip.vision.feed_forward_length": shape.tower_inner,
        "clip.vision.block_count": shape.tower_layers,
        "clip.vision.projection_dim": shape.hidden,
        "clip.vision.attention.head_count": shape.tower_heads,
        "clip.vision.attention.layer_norm_epsilon": 1e-6,
        "clip.vision.image_mean": [0.5, 0.5, 0.5],
        "clip.vision.image_std": [0.5, 0.5, 0.5],
        "clip.vision.projector.scale_factor": shape.scale_factor,
        "clip.vision.preproc_image_size": shape.longest_edge,
    }


def _mmproj_tensors(shape: VlmShape, kind: str) -> Iterator[TensorToWrite]:
    """All tensors of the tower and the connector. Rows that do not divide into blocks of `kind` are F16."""
    hidden, inner = shape.tower_hidden, shape.tower_inner

    def linear(name: str, outputs: int, inputs: int) -> Iterator[TensorToWrite]:
        yield _random(f"{name}.weight", (outputs, inputs), "F16" if inputs % BLOCKS[kind][0] else kind)
        yield _random(f"{name}.bias", (outputs,), "F32", mean=0.0)

    def norm(name: str) -> Iterator[TensorToWrite]:
        yield _random(f"{name}.weight", (hidden,), "F32")
        yield _random(f"{name}.bias", (hidden,), "F32", mean=0.0)

    yield _random("v.patch_embd.weight", (hidden, 3, shape.patch, shape.patch), "F16")
    yield _random("v.patch_embd.bias", (hidden,), "F32", mean=0.0)
    yield _random("v.position_embd.weight", ((shape.tile // shape.patch) ** 2, hidden), "F32", mean=0.0)
    for number in range(shape.tower_layers):
        prefix = f"v.blk.{number}."
        yield from norm(f"{prefix}ln1")
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            yield from linear(prefix + name, hidden, hidden)
        yield from norm(f"{prefix}ln2")
        yield from linear(f"{prefix}ffn_up", inner, hidden)
        yield from linear(f"{prefix}ffn_down", hidden, inner)
    yield from norm("v.post_ln")
    yield _random("mm.model.fc.weight", (shape.hidden, hidden * shape.scale_factor**2), kind)


def _random(name: str, shape: tuple[int, ...], kind: str, mean: float = 1.0) -> TensorToWrite:
    """A tensor that is drawn when it is written. mean: of F32 tensors."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    inputs = prod(shape[1:]) if kind == "F16" else shape[-1]
    count = prod(shape) // BLOCKS[kind][0]
    draw: Callable[[np.random.Generator, int, float], NDArray[np.uint8]]
    draw = partial(_draw_f32, mean) if kind == "F32" else _DRAWS[kind]
    deviation = 0.1 if kind == "F32" else inputs**-0.5

    def make() -> NDArray[np.uint8]:
        return draw(np.random.default_rng(seed), count, deviation)

    return TensorToWrite(name, shape, kind, make)


# Each of these draws `count` blocks of a type, uint8 [count, bytes], with this standard deviation. The divisors are the
# standard deviations of the codes: they are uniform, and that of 0..n is about n / sqrt(12).


def _draw_f32(mean: float, generator: np.random.Generator, count: int, deviation: float) -> NDArray[np.uint8]:
    values = generator.standard_normal(count, dtype=np.float32) * np.float32(deviation) + np.float32(mean)
    return values.view(np.uint8)


def _draw_f16(generator: np.random.Generator, count: int, deviation: float) -> NDArray[np.uint8]:
    values = generator.standard_normal(count, dtype=np.float32) * np.float32(deviation)
    return values.astype(np.float16).view(np.uint8)


def _draw_q8_0(generator: np.random.Generator, count: int, deviation: float) -> NDArray[np.uint8]:
    blocks = _bytes(generator, count, 34)
    codes = blocks[:, 2:].view(np.int8)
    np.maximum(codes, -127, out=codes)
    blocks[:, :2] = _scales(generator, count, deviation / 73.6)
    return blocks


def _draw_q4_0(generator: np.random.Generator, count: int, deviation: float) -> NDArray[np.uint8]:
    blocks = _bytes(generator, count, 18)
    blocks[:, :2] = _scales(generator, count, deviation / 4.6)
    return blocks


def _draw_q4_k(generator: np.random.Generator, count: int, deviation: float) -> NDArray[np.uint8]:
    """scale * (6-bit scale) * code - minimum * (6-bit minimum), with means that cancel."""
    blocks = _bytes(generator, count, 144)
    # Codes: 4.6 * 31.5. Difference of a group's scale and minimum: 18.5 * sqrt(2) * 7.5.
    blocks[:, :2] = _scales(generator, count, deviation / 244)
    blocks[:, 2:4] = (blocks[:, :2].view(np.float16) * np.float16(7.5)).view(np.uint8)
    return blocks


def _draw_q6_k(generator: np.random.Generator, count: int, deviation: float) -> NDArray[np.uint8]:
    """scale * (8-bit scale) * (code - 32)."""
    blocks = _bytes(generator, count, 210)
    blocks[:, 208:] = _scales(generator, count, deviation / (18.5 * 73.6))
    return blocks


def _bytes(generator: np.random.Generator, count: int, size: int) -> NDArray[np.uint8]:
    return np.frombuffer(bytearray(generator.bytes(count * size)), np.uint8).reshape(count, size)


def _scales(generator: np.random.Generator, count: int, mean: float) -> NDArray[np.uint8]:
    """float16 scales that differ by up to a quarter from their mean, as bytes [count, 2]."""
    drawn = generator.uniform(0.75 * mean, 1.25 * mean, (count, 1))
    return drawn.astype(np.float16).view(np.uint8)


_DRAWS = {
    "F16": _draw_f16,
    "Q8_0": _draw_q8_0,
    "Q4_0": _draw_q4_0,
    "Q4_K": _draw_q4_k,
    "Q6_K": _draw_q6_k,
}


def default_vocabulary() -> Path:
    """The default model's GGUF file, downloaded when it is missing. Raises UserError."""
    settings = load(paths.config_file())
    store = ModelStore(paths.ensure(paths.models_directory()))
    files: Mapping[str, Path] = store.pull("edge-vlm-135m", offline=settings.offline).files
    return files["language_model"]


def main(arguments: list[str] | None = None) -> None:
    """Write the files that are missing and print their names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vlm.random_models", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the files go: 0.9 GB, 1.5 GB and 2.7 GB")
    parser.add_argument("shapes", nargs="*", choices=[*SHAPES, []], metavar="SHAPE", help=", ".join(SHAPES))
    options = parser.parse_args(arguments)
    vocabulary = default_vocabulary()
    for name in options.shapes or SHAPES:
        write_missing(options.folder, name, vocabulary)
    for file in sorted(options.folder.glob("*.gguf")):
        print(f"{file} {file.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
