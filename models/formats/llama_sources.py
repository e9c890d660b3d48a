"""Llama tensors from a GGUF file or a Hugging Face directory, under the names of models/formats/llama_weights.py.

Features that the kernels cannot compute are refused by name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.core.errors import UserError
from models.core.files import file_digest, read_json
from models.formats.gguf import GgufFile
from models.formats.llama_weights import LlamaConfig, LlamaWeights, assemble
from models.formats.quantization import BLOCK_DECODERS, Bits, QuantizedMatrix, quantise
from models.formats.safetensors_file import SafetensorsFile

_GGUF_NAMES = {
    "token_embd": "embedding", "output_norm": "final_norm", "output": "head",
    "attn_q": "q", "attn_k": "k", "attn_v": "v", "attn_output": "o",
    "ffn_gate": "gate", "ffn_up": "up", "ffn_down": "down",
    "attn_norm": "attention_norm", "ffn_norm": "mlp_norm",
}  # fmt: skip
_HUGGING_FACE_NAMES = {
    "model.embed_tokens": "embedding", "model.norm": "final_norm", "lm_head": "head",
    "self_attn.q_proj": "q", "self_attn.k_proj": "k", "self_attn.v_proj": "v", "self_attn.o_proj": "o",
    "mlp.gate_proj": "gate", "mlp.up_proj": "up", "mlp.down_proj": "down",
    "input_layernorm": "attention_norm", "post_attention_layernorm": "mlp_norm",
}  # fmt: skip
_TOP_LEVEL = ("embedding", "final_norm", "head")


def load_llama(path: Path, digest: str | None = None) -> LlamaWeights:
    """Open a GGUF file, or a directory with config.json and safetensors files.

    digest: the source's sha256 (hex). None computes it, which takes 0.1 s for 100 MB.
    Raises UserError when something is missing, damaged or not supported.
    """
    if path.is_dir():
        return assemble(HuggingFaceSource(path), digest or directory_digest(path))
    return assemble(GgufSource(GgufFile(path)), digest or file_digest(path))


def directory_digest(path: Path) -> str:
    """sha256 (hex) of the lines "name sha256" of config.json and every *.safetensors, sorted by name."""
    names = sorted(["config.json", *(file.name for file in path.glob("*.safetensors"))])
    lines = "".join(f"{name} {file_digest(path / name)}\n" for name in names)
    return hashlib.sha256(lines.encode()).hexdigest()


class GgufSource:
    """A GGUF file of the architecture "llama". Q4_0, Q4_1 and Q8_0 stay as they are; floats become 8 bits."""

    def __init__(self, file: GgufFile) -> None:
        self.path = file.path
        self._file = file
        self._names = {_own_name(name, r"blk\.(\d+)\.(.+)", _GGUF_NAMES): name for name in file.tensors}
        self.config = self._read_config()

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {name: self._file.tensors[stored].shape for name, stored in self._names.items()}

    def bits(self, name: str) -> Bits:
        return 4 if self._type(name) in ("Q4_0", "Q4_1") else 8

    def matrix(self, name: str) -> QuantizedMatrix:
        decode = BLOCK_DECODERS.get(self._type(name))
        stored = self._names[name]
        matrix = decode(self._file.blocks(stored)) if decode else quantise(self._file.floats(stored), 8)
        if name.endswith((".q", ".k")):
            return matrix.rows(half_split_rows(matrix.shape[0], self.config.head_dim))
        return matrix

    def floats(self, name: str) -> NDArray[np.float32]:
        if self._type(name) in BLOCK_DECODERS:
            raise UserError(f"{self.path} stores {name} in the type {self._type(name)}; norms must be floats")
        return self._file.floats(self._names[name])

    def _type(self, name: str) -> str:
        return self._file.tensors[self._names[name]].type

    def _read_config(self) -> LlamaConfig:
        """The configuration in the file's metadata. Raises UserError."""
        values = _Numbers(self.path, self._file.metadata)
        architecture = self._file.metadata.get("general.architecture")
        if architecture != "llama":
            raise UserError(f"{self.path} has the architecture {architecture!r}; only llama is supported")
        _refuse_gguf_features(self.path, self._file.metadata)
        hidden, heads = values.integer("llama.embedding_length"), values.integer("llama.attention.head_count")
        head_dim = values.integer("llama.attention.key_length", hidden // heads)
        for other in ("llama.attention.value_length", "llama.rope.dimension_count"):
            if values.integer(other, head_dim) != head_dim:
                raise UserError(
                    f"{self.path} has {other} unlike its heads' {head_dim}; that is not supported"
                )
        embedding = self.shapes().get("embedding", (0,))
        return LlamaConfig(
            hidden_size=hidden,
            intermediate_size=values.integer("llama.feed_forward_length"),
            num_layers=values.integer("llama.block_count"),
            num_heads=heads,
            num_kv_heads=values.integer("llama.attention.head_count_kv", heads),
            head_dim=head_dim,
            vocab_size=values.integer("llama.vocab_size", embedding[0]),
            rms_norm_eps=values.number("llama.attention.layer_norm_rms_epsilon"),
            rope_theta=values.number("llama.rope.freq_base", 10000.0),
            max_position_embeddings=values.integer("llama.context_length"),
            tie_word_embeddings="head" not in self._names,
        )


class HuggingFaceSource:
    """A directory with config.json and safetensors files. Every matrix is quantised to 8 bits."""

    def __init__(self, path: Path) -> None:
        self.path = path
        settings = read_json(path / "config.json")
        _refuse_hugging_face_features(path / "config.json", settings)
        self.config = _hugging_face_config(path / "config.json", settings)
        self._files: dict[str, tuple[SafetensorsFile, str]] = {}
        for file in _open_shards(path):
            for stored in file.tensors:
                name = _own_name(stored, r"model\.layers\.(\d+)\.(.+)", _HUGGING_FACE_NAMES)
                if name in self._files:
                    raise UserError(
                        f"{path} has the tensor {stored} twice; remove the file that is not wanted"
                    )
                if not (name == "head" and self.config.tie_word_embeddings):
                    self._files[name] = (file, stored)

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {name: file.tensors[stored].shape for name, (file, stored) in self._files.items()}

    def bits(self, name: str) -> Bits:  # noqa: ARG002  # every matrix has 8 bits
        return 8

    def matrix(self, name: str) -> QuantizedMatrix:
        return quantise(self.floats(name), 8)

    def floats(self, name: str) -> NDArray[np.float32]:
        file, stored = self._files[name]
        return file.floats(stored)


def half_split_rows(rows: int, head_dim: int) -> NDArray[np.intp]:
    """For each row in half-split order, the index of the GGUF row that holds it.

    GGUF interleaves the two halves of a head (0, d/2, 1, d/2 + 1, ...), since its rotary embedding rotates the pair
    (2i, 2i + 1). Hugging Face's rotates (i, i + d/2).
    """
    return np.arange(rows).reshape(-1, head_dim // 2, 2).swapaxes(1, 2).reshape(-1)


class _Numbers:
    """Positive numbers from metadata or a JSON object. A UserError names the key with any other value."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        self._path = path
        self._values = values

    def integer(self, key: str, default: int | None = None) -> int:
        """A positive whole number. Without a default the key is required."""
        value = self._values.get(key)
        value = default if value is None else value
        if type(value) is not int or not 0 < value < 1 << 31:
            raise UserError(f"{self._path} has {key} = {value!r}; a positive whole number is needed")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A positive number. Without a default the key is required."""
        value = self._values.get(key)
        value = default if value is None else value
        if type(value) not in (int, float) or not 0 < value < 1e30:  # type: ignore[operator]
            raise UserError(f"{self._path} has {key} = {value!r}; a positive number is needed")
        return float(value)  # type: ignore[arg-type]


def _own_name(stored: str, layer_pattern: str, names: Mapping[str, str]) -> str:
    """The name of a stored tensor in models/formats/llama_weights.py, or the stored name when it has none there."""
    base = stored.removesuffix(".weight")
    if base == stored:
        return stored
    layer = re.fullmatch(layer_pattern, base)
    name = names.get(layer[2] if layer else base)
    if name is None or (name in _TOP_LEVEL) == bool(layer):
        return stored
    return f"layers.{layer[1]}.{name}" if layer else name


def _refuse_gguf_features(path: Path, metadata: Mapping[str, Any]) -> None:
    scaling = metadata.get("llama.rope.scaling.type", "none")
    if scaling != "none" or metadata.get("llama.rope.scale_linear", 1.0) != 1.0:
        raise UserError(f"{path} scales its rotary embedding ({scaling}); that is not supported")
    for key in ("llama.expert_count", "llama.attention.sliding_window"):
        if metadata.get(key):
            raise UserError(f"{path} uses {key}, which is not supported")


def _refuse_hugging_face_features(path: Path, settings: Mapping[str, Any]) -> None:
    """Raise UserError for a setting that the kernels cannot compute."""
    if settings.get("model_type") != "llama":
        raise UserError(f"{path} has the model_type {settings.get('model_type')!r}; only llama is supported")
    if settings.get("hidden_act", "silu") != "silu":
        raise UserError(f"{path} has hidden_act {settings['hidden_act']!r}; only silu is supported")
    for key in ("attention_bias", "mlp_bias", "quantization_config"):
        if settings.get(key):
            raise UserError(f"{path} uses {key}, which is not supported")
    for key in ("rope_scaling", "rope_parameters"):
        rope = settings.get(key) or {}
        kind = rope.get("rope_type", rope.get("type", "default")) if isinstance(rope, dict) else rope
        if kind != "default":
            raise UserError(f"{path} scales its rotary embedding ({kind}); that is not supported")


def _hugging_face_config(path: Path, settings: Mapping[str, Any]) -> LlamaConfig:
    """The configuration in config.json. Raises UserError."""
    values = _Numbers(path, settings)
    hidden, heads = values.integer("hidden_size"), values.integer("num_attention_heads")
    rope = _Numbers(path, {**settings, **(settings.get("rope_parameters") or {})})
    return LlamaConfig(
        hidden_size=hidden,
        intermediate_size=values.integer("intermediate_size"),
        num_layers=values.integer("num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=values.integer("num_key_value_heads", heads),
        head_dim=values.integer("head_dim", hidden // heads),
        vocab_size=values.integer("vocab_size"),
        rms_norm_eps=values.number("rms_norm_eps", 1e-6),
        rope_theta=rope.number("rope_theta", 10000.0),
        max_position_embeddings=values.integer("max_position_embeddings", 2048),
        tie_word_embeddings=bool(settings.get("tie_word_embeddings", False)),
    )


def _open_shards(path: Path) -> list[SafetensorsFile]:
    """The files that model.safetensors.index.json names, or model.safetensors when there is no index."""
    index = path / "model.safetensors.index.json"
    if not index.exists():
        return [SafetensorsFile(path / "model.safetensors")]
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise UserError(f"{index} has no weight_map of file names; download it again")
    for name in set(shards.values()):
        if Path(name).name != name:
            raise UserError(f"{index} names the file {name!r} outside of its directory; it is not trusted")
    return [SafetensorsFile(path / name) for name in sorted(set(shards.values()))]
