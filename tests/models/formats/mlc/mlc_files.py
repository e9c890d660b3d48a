"""Writes MLC packages of random Llama weights for tests, after the format's description and not by its reader."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.float32]]

JOINED = {
    "self_attn.qkv_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "mlp.gate_up_proj": ("mlp.gate_proj", "mlp.up_proj"),
}
FLOATS = {"bf16": "bfloat16", "f16": "float16", "f32": "float32"}
TEMPLATE: dict[str, Any] = {
    "name": "chatml", "system_template": "<|start|>system\n{system_message}<|end|>\n",
    "system_message": "You are a helpful assistant.", "system_prefix_token_ids": None,
    "roles": {"user": "<|start|>user", "assistant": "<|start|>assistant", "tool": "<|start|>user"},
    "role_templates": {"user": "{user_message}", "assistant": "{assistant_message}", "tool": "{tool_message}"},
    "seps": ["<|end|>\n"], "role_content_sep": "\n", "role_empty_sep": "\n", "stop_str": ["<|end|>"],
    "stop_token_ids": [2], "add_role_after_system_message": True,
}  # fmt: skip


def quantised_groups(values: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Codes 0..14 [out, inputs] and scales [out, inputs / 32], so that value = (code - 7) * scale."""
    groups = values.reshape(len(values), -1, 32)
    scale = (np.abs(groups).max(axis=-1) / 7).astype(np.float16)
    codes = np.clip(np.rint(groups / np.maximum(scale.astype(np.float32), 1e-8)[..., None] + 7), 0, 14)
    return codes.astype(np.uint8).reshape(values.shape), scale


def words(codes: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Eight codes along the last axis in a uint32, the first one lowest."""
    eight = codes.reshape(len(codes), -1, 8).astype(np.uint32)
    packed: NDArray[np.uint32] = (eight << (np.arange(8, dtype=np.uint32) * 4)).sum(axis=-1, dtype=np.uint32)
    return packed


def joined(model: Arrays) -> Arrays:
    """A model of Hugging Face's names with the matrices joined as MLC has them."""
    result = {name.removesuffix(".weight"): values for name, values in model.items()}
    for whole, pieces in JOINED.items():
        for first in [name for name in result if name.endswith(pieces[0])]:
            prefix = first.removesuffix(pieces[0])
            parts = [result.pop(prefix + piece) for piece in pieces]
            result[prefix + whole] = np.concatenate(parts)
    return result


def mlc_tensors(model: Arrays, quantisation: str) -> dict[str, tuple[NDArray[Any], str]]:
    """Stored tensors with the type that the table says. A "float32" tensor is stored as bfloat16."""
    floats = next(name for mark, name in FLOATS.items() if mark in quantisation)
    stored: dict[str, tuple[NDArray[Any], str]] = {}
    for name, values in joined(model).items():
        if quantisation.startswith("q0") or values.ndim == 1:
            stored[f"{name}.weight"] = (values, floats)
            continue
        codes, scale = quantised_groups(values)
        turned = quantisation == "q4f16_0" and "embed_tokens" not in name
        packed = words(codes)
        stored[f"{name}.q_weight"] = (packed.T if turned else packed, "uint32")
        stored[f"{name}.q_scale"] = (scale.T if turned else scale, floats)
    return stored


def content_of(values: NDArray[Any], kind: str) -> bytes:
    if kind in ("float32", "bfloat16"):  # truncated: use values that bfloat16 holds
        return (np.ascontiguousarray(values, "<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return np.ascontiguousarray(values, {"float16": "<f2", "uint32": "<u4"}[kind]).tobytes()


def write_mlc(
    path: Path,
    settings: Mapping[str, Any],
    tensors: Mapping[str, tuple[NDArray[Any], str]],
    table: str = "tensor-cache.json",
    shards: int = 2,
) -> Path:
    """A folder with mlc-chat-config.json, the table, and shards with every nth tensor."""
    path.mkdir()
    (path / "mlc-chat-config.json").write_text(json.dumps(settings))
    records = []
    for number in range(shards):
        content, entries = b"", []
        for name in sorted(tensors)[number::shards]:
            values, kind = tensors[name]
            raw = content_of(values, kind)
            entries.append(
                {"name": name, "shape": list(values.shape), "dtype": kind, "byteOffset": len(content),
                 "nbytes": len(raw), "format": "f32-to-bf16" if kind == "float32" else "raw"}
            )  # fmt: skip
            content += raw
        name = f"params_shard_{number}.bin"
        (path / name).write_bytes(content)
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        records.append(
            {
                "dataPath": name,
                "format": "raw-shard",
                "nbytes": len(content),
                "md5sum": md5,
                "records": entries,
            }
        )
    (path / table).write_text(json.dumps({"metadata": {"ParamSize": len(tensors)}, "records": records}))
    return path


def mlc_settings(hugging_face: Mapping[str, Any], quantisation: str, **changes: Any) -> dict[str, Any]:
    """mlc-chat-config.json for the settings of config.json."""
    model = {key: value for key, value in hugging_face.items() if key not in ("model_type", "rope_theta")}
    model["position_embedding_base"] = hugging_face["rope_theta"]
    model["context_window_size"] = model.pop("max_position_embeddings")
    return {
        "version": "0.1.0", "model_type": "llama", "quantization": quantisation, "model_config": model,
        "vocab_size": model["vocab_size"], "conv_template": TEMPLATE,
    } | changes  # fmt: skip
