"""Tokens, adapters and photos that benchmarks and tests compute on, generated from seeds."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFilter
import PIL.ImageFont
from safetensors.numpy import save_file

from models.lora.weights import LoraWeights
from models.packing.llama_shape import LlamaShape
from models.packing.lora_layout import ROLES

PROMPT_TOKENS = 256
NEW_TOKENS = 128
LORA_RANK = 16


def tokens(count: int = PROMPT_TOKENS + NEW_TOKENS) -> list[int]:
    """Token ids without special tokens. Speed does not depend on which they are."""
    return [int(token) for token in np.random.default_rng(256).integers(1000, 40000, count)]


def adapter(shape: LlamaShape, name: str, seed: int, rank: int = LORA_RANK) -> LoraWeights:
    """A random adapter on all seven linear layers of every block, A and B normal with standard deviation 0.01."""
    generator = np.random.default_rng(seed)
    tensors = {}
    for layer in range(shape.layers):
        for role in ROLES:
            outputs, inputs = shape.matrix(role)
            for part, size in (("A", (rank, inputs)), ("B", (outputs, rank))):
                drawn = generator.standard_normal(size, dtype=np.float32)
                tensors[f"layers.{layer}.{role}_proj.{part}"] = drawn * np.float32(0.01)
    return LoraWeights(name, 1, rank, tensors)


def write_peft(weights: LoraWeights, folder: Path) -> None:
    """Write the adapter as peft saves it, in float16 with lora_alpha / r = 1. The folder must not exist."""
    folder.mkdir(parents=True)
    tensors = {}
    for name, tensor in weights.tensors.items():
        _, layer, module, part = name.split(".")
        owner = "self_attn" if module[0] in "qkvo" else "mlp"
        path = f"base_model.model.model.layers.{layer}.{owner}.{module}.lora_{part}.weight"
        tensors[path] = np.ascontiguousarray(tensor.astype(np.float16))
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": weights.rank,
        "lora_alpha": weights.rank,
        "target_modules": [f"{role}_proj" for role in ROLES],
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))


def photo(seed: int, width: int, height: int) -> bytes:
    """A JPEG of blurred ellipses with noise, which takes as long to decode as a photo. Each seed gives another one."""
    generator = np.random.default_rng(seed)
    canvas = PIL.Image.new("RGB", (width, height), tuple(generator.integers(0, 256, 3).tolist()))
    draw = PIL.ImageDraw.Draw(canvas)
    for _ in range(24):
        x, y = generator.integers(0, (width, height)).tolist()
        size = int(generator.integers(width // 20, width // 4))
        draw.ellipse((x, y, x + size, y + size), fill=tuple(generator.integers(0, 256, 3).tolist()))
    soft = np.asarray(canvas.filter(PIL.ImageFilter.GaussianBlur(3)), np.int16)
    grain = generator.integers(-8, 9, (height, width, 1), dtype=np.int16)
    file = io.BytesIO()
    PIL.Image.fromarray(np.clip(soft + grain, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def till_receipt(seed: int) -> bytes:
    """A PNG of a till receipt with 20 items and their total. Each seed gives another one."""
    generator = np.random.default_rng(seed)
    prices = generator.integers(50, 9999, 20) / 100
    items = [f"{generator.integers(1000, 9999)} {_word(generator):<20}{price:>8.2f}" for price in prices]
    lines = [_word(generator), *items, f"TOTAL {prices.sum():.2f}"]
    picture = PIL.Image.new("RGB", (520, 60 + 34 * len(lines)), "white")
    draw, font = PIL.ImageDraw.Draw(picture), PIL.ImageFont.load_default(22)
    for number, line in enumerate(lines):
        draw.text((30, 30 + 34 * number), line, "black", font)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _word(generator: np.random.Generator) -> str:
    return "".join(chr(65 + letter) for letter in generator.integers(0, 26, 8))
