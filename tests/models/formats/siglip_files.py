"""Tiny random vision towers, written as an mmproj GGUF file and as a Hugging Face directory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from models.formats.siglip_weights import SiglipConfig, expected_shapes
from tests.models.formats.gguf.gguf_files import float_tensor, write_gguf

Arrays = dict[str, NDArray[np.float32]]

HUGGING_FACE_NAMES = {
    "patch_embedding": "vision_model.embeddings.patch_embedding",
    "positions": "vision_model.embeddings.position_embedding.weight",
    "final_norm": "vision_model.post_layernorm",
    "connector": "connector.modality_projection.proj",
    "norm1": "layer_norm1", "norm2": "layer_norm2", "q": "self_attn.q_proj", "k": "self_attn.k_proj",
    "v": "self_attn.v_proj", "o": "self_attn.out_proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2",
}  # fmt: skip
GGUF_NAMES = {
    "patch_embedding": "v.patch_embd", "positions": "v.position_embd.weight", "final_norm": "v.post_ln",
    "connector": "mm.model.fc", "norm1": "ln1", "norm2": "ln2", "q": "attn_q", "k": "attn_k", "v": "attn_v",
    "o": "attn_out", "fc1": "ffn_up", "fc2": "ffn_down",
}  # fmt: skip
TEXT_CONFIG: dict[str, Any] = {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4}


def siglip(**changes: Any) -> SiglipConfig:
    """A tower of 2 layers, 5 x 5 patches of 14 pixels and a remainder, an MLP that 32 does not divide."""
    values: dict[str, Any] = {
        "hidden": 32, "inner": 72, "layers": 2, "heads": 2, "image_size": 72, "patch": 14, "norm_eps": 1e-6,
        "scale_factor": 5, "text_hidden": 64,
    }  # fmt: skip
    return SiglipConfig(**(values | changes))


def random_tower(config: SiglipConfig, seed: int = 0) -> Arrays:
    """Tensors under our names. Their lower 16 bits are zero, so that bfloat16 holds them."""
    rng = np.random.default_rng(seed)
    return {
        name: _as_bfloat16(rng.normal(size=shape).astype(np.float32))
        for name, shape in expected_shapes(config).items()
    }


def stored_names(config: SiglipConfig, names: Mapping[str, str], layer: str) -> dict[str, str]:
    """Our name -> that in a file. names: by our role. layer: the prefix of layer tensors, with {}."""
    result = {}
    for name in expected_shapes(config):
        parts = name.split(".")
        if parts[0] == "layers":
            result[name] = f"{layer.format(parts[1])}.{names[parts[2]]}.{parts[3]}"
        else:
            result[name] = ".".join([names[parts[0]], *parts[1:]])
    return result


def as_stored(config: SiglipConfig, tensors: Arrays) -> Arrays:
    """With the patch embedding in four dimensions."""
    filters = tensors["patch_embedding.weight"].reshape(-1, 3, config.patch, config.patch)
    return tensors | {"patch_embedding.weight": filters}


def hugging_face_tensors(config: SiglipConfig, tensors: Arrays, prefix: str = "model.") -> Arrays:
    names = stored_names(config, HUGGING_FACE_NAMES, "vision_model.encoder.layers.{}")
    return {prefix + names[name]: tensor for name, tensor in as_stored(config, tensors).items()}


def settings(config: SiglipConfig, **changes: Any) -> dict[str, Any]:
    """config.json of a model with this tower."""
    vision = {
        "hidden_size": config.hidden, "intermediate_size": config.inner, "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads, "image_size": config.image_size, "patch_size": config.patch,
        "layer_norm_eps": config.norm_eps,
    }  # fmt: skip
    text = {**TEXT_CONFIG, "hidden_size": config.text_hidden}
    return {
        "model_type": "idefics3", "text_config": text, "vision_config": vision,
        "scale_factor": config.scale_factor,
    } | changes  # fmt: skip


def write_tower_directory(
    path: Path, config: SiglipConfig, stored: Arrays, given: Mapping[str, Any] | None = None
) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(given or settings(config)))
    safetensors.numpy.save_file(stored, path / "model.safetensors")
    return path


def mmproj_metadata(config: SiglipConfig, **changes: Any) -> dict[str, Any]:
    """changes: by the last parts of a key, with __ for a dot; None leaves a key out."""
    half = np.full(3, 0.5, np.float32)
    vision = {
        "image_size": config.image_size, "patch_size": config.patch, "embedding_length": config.hidden,
        "feed_forward_length": config.inner, "block_count": config.layers, "projection_dim": config.text_hidden,
        "attention.head_count": config.heads, "attention.layer_norm_epsilon": float(config.norm_eps),
        "image_mean": half, "image_std": half, "projector.scale_factor": config.scale_factor,
    }  # fmt: skip
    metadata: dict[str, Any] = {
        "general.architecture": "clip", "clip.projector_type": "idefics3", "clip.has_vision_encoder": True,
        "clip.use_gelu": True,
    } | {f"clip.vision.{key}": value for key, value in vision.items()}  # fmt: skip
    metadata |= {key.replace("__", "."): value for key, value in changes.items()}
    return {key: value for key, value in metadata.items() if value is not None}


def mmproj_tensors(config: SiglipConfig, tensors: Arrays, kind: str = "F32") -> dict[str, Any]:
    """GGUF tensors, the matrices in a type of floats."""
    names = stored_names(config, GGUF_NAMES, "v.blk.{}")
    return {
        names[name]: float_tensor(tensor, kind if tensor.ndim > 1 else "F32")
        for name, tensor in as_stored(config, tensors).items()
    }


def write_mmproj(
    path: Path, config: SiglipConfig, tensors: Arrays, kind: str = "F32", **changes: Any
) -> Path:
    return write_gguf(path, mmproj_metadata(config, **changes), mmproj_tensors(config, tensors, kind))


def _as_bfloat16(values: NDArray[np.float32]) -> NDArray[np.float32]:
    cut: NDArray[np.float32] = (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    return cut
