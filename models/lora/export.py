"""Writes a LoRA for other runtimes: as a GGUF file for llama.cpp, and as a plain PEFT folder for vLLM.

In both lora_alpha equals r, because the scale of every module (alpha / r, rsLoRA, patterns) is folded into B. Ranks are
padded to the largest with zeros. So the files need none of the keys of adapter_config.json that a runtime may lack.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.core.errors import UserError
from models.core.files import write_whole
from models.formats.gguf.gguf_writer import TensorToWrite, Value, write_gguf
from models.lora.peft_config import CONFIG_FILE, MODULES
from models.lora.peft_format import WEIGHTS_FILE, PeftLora

GGUF_MODULES = {
    "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output",
    "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down",
}  # fmt: skip


def write_gguf_lora(path: Path, lora: PeftLora, *, heads: int, kv_heads: int, base: str) -> None:
    """Write the file that `llama-server --lora` takes, in float32.

    heads, kv_heads: of the base model, whose rows of q and k llama.cpp orders in its own way, see `_interleaved`.
    base: the base model's name, for the file's metadata. Raises UserError for what such a file cannot hold.
    """
    _check(lora)
    metadata: dict[str, Value] = {
        "general.type": "adapter",
        "general.architecture": "llama",
        "general.name": lora.name,
        "general.base_model.count": 1,
        "general.base_model.0.name": base,
        "adapter.type": "lora",
        "adapter.lora.alpha": float(lora.rank),  # llama.cpp divides it by the rank
    }
    rotated, tensors = {"q_proj": heads, "k_proj": kv_heads}, []
    for layer, module, a, b in _modules(lora):
        rows = _interleaved(b, rotated[module]) if module in rotated else b
        for part, matrix in (("a", a), ("b", rows)):
            name = f"blk.{layer}.{GGUF_MODULES[module]}.weight.lora_{part}"
            tensors.append(TensorToWrite(name, matrix.shape, "F32", partial(_bytes, matrix)))
    write_gguf(path, metadata, tensors)


def write_plain_peft(folder: Path, lora: PeftLora, *, base: str, prefix: str) -> None:
    """Write a PEFT folder in float32 into an empty folder, without patterns, rsLoRA or modules that were saved whole.

    base: the repository of the base model. prefix: the path to its layers, as in "model.". Raises UserError for what
    such a folder cannot hold.
    """
    from safetensors.numpy import save

    _check(lora)
    tensors, paths = {}, []
    for layer, module, a, b in _modules(lora):
        block = "self_attn" if module in MODULES[:4] else "mlp"
        path = f"{prefix}layers.{layer}.{block}.{module}"
        paths.append(path)
        for part, matrix in (("A", a), ("B", b)):
            tensors[f"base_model.model.{path}.lora_{part}.weight"] = np.ascontiguousarray(matrix)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": lora.rank,
        "lora_alpha": lora.rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": _targets(paths),
        "modules_to_save": None,
        "use_rslora": False,
        "use_dora": False,
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    write_whole(folder / WEIGHTS_FILE, save(tensors, {"format": "pt"}))
    write_whole(folder / CONFIG_FILE, json.dumps(config, indent=2).encode() + b"\n")


def _check(lora: PeftLora) -> None:
    if lora.magnitudes or lora.factors:
        raise UserError(
            f"The adapter {lora.name} is a DoRA, which these runtimes do not run; train it as a plain LoRA."
        )
    if lora.vision is not None:
        raise UserError(
            f"The adapter {lora.name} changes the vision tower or the connector too, which these runtimes do not "
            "apply; without that it would give other answers."
        )
    if not lora.tensors:
        raise UserError(f"The adapter {lora.name} changes nothing of the language model.")


def _modules(lora: PeftLora) -> Iterator[tuple[int, str, NDArray[np.float32], NDArray[np.float32]]]:
    """Layer, module, A [r, inputs] and B [outputs, r] of every module, by layer."""
    names = sorted({name.rpartition(".")[0] for name in lora.tensors}, key=_place)
    for name in names:
        _, layer, module = name.split(".")
        yield int(layer), module, lora.tensors[f"{name}.A"], lora.tensors[f"{name}.B"]


def _place(name: str) -> tuple[int, int]:
    _, layer, module = name.split(".")
    return int(layer), MODULES.index(module)


def _interleaved(b: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows of B [outputs, r] in llama.cpp's order for q and k.

    In Hugging Face's order a head has the first halves of its rotated pairs and then the second halves; llama.cpp has
    the two of a pair beside each other (`LlamaModel.permute` of its convert_hf_to_gguf.py).
    """
    outputs, rank = b.shape
    return b.reshape(heads, 2, outputs // heads // 2, rank).swapaxes(1, 2).reshape(outputs, rank)


def _targets(paths: Sequence[str]) -> list[str]:
    """target_modules of these paths: the modules' names, or the paths where a module is not in every layer."""
    layers = 1 + max(int(path.split("layers.")[1].split(".")[0]) for path in paths)
    names = dict.fromkeys(path.rpartition(".")[2] for path in paths)
    return list(names) if len(paths) == layers * len(names) else list(paths)


def _bytes(matrix: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(matrix, "<f4").view(np.uint8)
