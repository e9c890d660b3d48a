"""A LoRA as a GGUF file, so that llama.cpp runs under the same adapter. Writes only what that needs.

GGUF version 3: magic, version, counts; metadata (key, type, value); tensor descriptions (name, dimensions
innermost first, type, offset); data, each tensor at a multiple of 32 bytes.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from models.lora.weights import LoraWeights

_STRING, _FLOAT32 = 8, 6
_F16 = 1
_ALIGNMENT = 32
_NAMES = {
    "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output",
    "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down",
}  # fmt: skip


def write_lora_gguf(path: Path, weights: LoraWeights) -> None:
    """Write the adapter in float16 with scale 1.

    q and k rows are written as they are, which llama.cpp takes for its own order of the rotary halves: right
    for speed, wrong for text.
    """
    metadata = _text_value("general.type", "adapter") + _text_value("general.architecture", "llama")
    metadata += _text_value("adapter.type", "lora")
    metadata += _text("adapter.lora.alpha") + struct.pack("<If", _FLOAT32, weights.rank)
    descriptions, data, offset = [], [], 0
    for name, tensor in weights.tensors.items():
        _, layer, module, part = name.split(".")
        half = np.ascontiguousarray(tensor.astype("<f2"))
        descriptions.append(_text(f"blk.{layer}.{_NAMES[module]}.weight.lora_{part.lower()}"))
        descriptions.append(struct.pack("<IQQIQ", 2, half.shape[1], half.shape[0], _F16, offset))
        data.append(_padded(half.tobytes()))
        offset += len(data[-1])
    header = b"GGUF" + struct.pack("<IQQ", 3, len(weights.tensors), 4)
    path.write_bytes(_padded(header + metadata + b"".join(descriptions)) + b"".join(data))


def _text(value: str) -> bytes:
    encoded = value.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _text_value(key: str, value: str) -> bytes:
    return _text(key) + struct.pack("<I", _STRING) + _text(value)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % _ALIGNMENT)
