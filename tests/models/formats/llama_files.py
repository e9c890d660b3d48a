"""A tiny random Llama as a GGUF file and as a Hugging Face directory, and the check that both were read right."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from models.formats.llama_weights import LlamaWeights
from models.formats.quantization import quantise
from tests.models.formats.gguf.gguf_files import Tensors, float_tensor

HIDDEN, INNER, HEADS, KV_HEADS, HEAD_DIM, LAYERS, VOCABULARY = 64, 96, 4, 2, 16, 2, 48
SETTINGS: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "vocab_size": VOCABULARY,
    "rms_norm_eps": 1e-5,
    "rope_theta": 5000.0,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
}
METADATA: dict[str, Any] = {
    "general.architecture": "llama",
    "llama.embedding_length": HIDDEN,
    "llama.feed_forward_length": INNER,
    "llama.block_count": LAYERS,
    "llama.attention.head_count": HEADS,
    "llama.attention.head_count_kv": KV_HEADS,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.rope.freq_base": 5000.0,
    "llama.rope.dimension_count": HEAD_DIM,
    "llama.context_length": 256,
}
SHAPES = {
    "self_attn.q_proj": (HEADS * HEAD_DIM, HIDDEN),
    "self_attn.k_proj": (KV_HEADS * HEAD_DIM, HIDDEN),
    "self_attn.v_proj": (KV_HEADS * HEAD_DIM, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HEADS * HEAD_DIM),
    "mlp.gate_proj": (INNER, HIDDEN),
    "mlp.up_proj": (INNER, HIDDEN),
    "mlp.down_proj": (HIDDEN, INNER),
    "input_layernorm": (HIDDEN,),
    "post_attention_layernorm": (HIDDEN,),
}
GGUF_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}
ROLES = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "down": "mlp.down_proj", "up": "mlp.up_proj"}

INTEGERS = np.array([1, 2], np.int32)  # an array where the format has a single value

Arrays = dict[str, NDArray[np.float32]]


def random_model() -> Arrays:
    """Tensors under Hugging Face's names, exact in bfloat16 and float16."""
    rng = np.random.default_rng(3)
    shapes: dict[str, tuple[int, ...]] = {
        f"model.layers.{layer}.{name}.weight": shape
        for layer in range(LAYERS)
        for name, shape in SHAPES.items()
    }
    shapes |= {"model.embed_tokens.weight": (VOCABULARY, HIDDEN), "lm_head.weight": (VOCABULARY, HIDDEN)}
    shapes["model.norm.weight"] = (HIDDEN,)
    return {name: rng.integers(-127, 128, shape).astype(np.float32) / 64 for name, shape in shapes.items()}


def interleaved(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """A q or k matrix as the converter to GGUF writes it: each head's two halves take turns."""
    heads = values.reshape(-1, 2, HEAD_DIM // 2, values.shape[1])
    return heads.swapaxes(1, 2).reshape(values.shape)


def as_gguf(model: Arrays, kinds: Mapping[str, str] | None = None) -> Tensors:
    tensors = {}
    for name, values in model.items():
        parts = name.removesuffix(".weight").split(".")
        layer = f"blk.{parts[2]}." if parts[1:2] == ["layers"] else ""
        own = layer + GGUF_NAMES[".".join(parts[3:] if layer else parts)]
        turned = interleaved(values) if own.endswith(("attn_q", "attn_k")) else values
        tensors[f"{own}.weight"] = float_tensor(turned, (kinds or {}).get(own, "F32"))
    return tensors


def write_directory(path: Path, model: Arrays, **changes: Any) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(SETTINGS | changes))
    safetensors.numpy.save_file(model, path / "model.safetensors")
    return path


def check_model(weights: LlamaWeights, model: Arrays) -> None:
    """Every matrix is the original one rounded to 8 bits; every norm is exact."""
    assert len(weights.layers) == LAYERS
    for index, layer in enumerate(weights.layers):
        for role, name in ROLES.items():
            expected = quantise(model[f"model.layers.{index}.{name}.weight"], 8)
            np.testing.assert_array_equal(getattr(layer, role).dequantise(), expected.dequantise())
        np.testing.assert_array_equal(
            layer.mlp_norm, model[f"model.layers.{index}.post_attention_layernorm.weight"]
        )
    assert weights.head is not None
    np.testing.assert_array_equal(weights.head.codes, quantise(model["lm_head.weight"], 8).codes)
    np.testing.assert_array_equal(weights.final_norm, model["model.norm.weight"])
