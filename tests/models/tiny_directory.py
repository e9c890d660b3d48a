"""A small random model as a Hugging Face directory, as the store hands it to the engine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import safetensors.numpy
import tokenizers

from models.formats.llama_sources import directory_digest
from models.hub.store import ModelFiles

LAYERS, HIDDEN, INNER, WIDTH, KV_WIDTH = 2, 64, 96, 64, 32
SETTINGS = {
    "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 258,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 512, "tie_word_embeddings": True,
}  # fmt: skip
TEMPLATE = "{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>{% endfor %}"
TEMPLATE += "{% if add_generation_prompt %}<|start|>{% endif %}"


def write_directory(path: Path, seed: int = 5) -> Path:
    """config.json, tokenizer.json, tokenizer_config.json, model.safetensors; tokens: bytes and two more."""
    path.mkdir()
    (path / "config.json").write_text(json.dumps(SETTINGS))
    rng = np.random.default_rng(seed)
    shapes = {
        "self_attn.q_proj": (WIDTH, HIDDEN), "self_attn.k_proj": (KV_WIDTH, HIDDEN),
        "self_attn.v_proj": (KV_WIDTH, HIDDEN), "self_attn.o_proj": (HIDDEN, WIDTH),
        "mlp.gate_proj": (INNER, HIDDEN), "mlp.up_proj": (INNER, HIDDEN), "mlp.down_proj": (HIDDEN, INNER),
    }  # fmt: skip
    tensors = {
        f"model.layers.{layer}.{name}.weight": rng.normal(0, 0.2, shape).astype(np.float32)
        for layer in range(LAYERS)
        for name, shape in shapes.items()
    }
    tensors["model.embed_tokens.weight"] = rng.normal(0, 1, (258, HIDDEN)).astype(np.float32)
    for layer in range(LAYERS):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"model.layers.{layer}.{norm}.weight"] = np.ones(HIDDEN, np.float32)
    tensors["model.norm.weight"] = np.ones(HIDDEN, np.float32)
    safetensors.numpy.save_file(tensors, path / "model.safetensors")
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE({text: i for i, text in enumerate(alphabet)}, []))
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    bpe.add_special_tokens(["<|start|>", "<|end|>"])
    bpe.save(str(path / "tokenizer.json"))
    settings = {"bos_token": "<|start|>", "eos_token": "<|end|>", "chat_template": TEMPLATE}
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    return path


def model_files(path: Path, **changes: object) -> ModelFiles:
    files = ModelFiles(
        name="tiny",
        family="llama",
        directory=path,
        files=MappingProxyType({}),
        digests=MappingProxyType({}),
        bundled=None,
        digest=directory_digest(path),
    )
    return replace(files, **changes)  # type: ignore[arg-type]
