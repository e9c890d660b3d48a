"""Llama tensors from a GGUF file, a Hugging Face directory or an MLC package, under the names of llama_weights.py.

Features that the kernels cannot compute are refused by name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.core.errors import UserError
from models.core.files import file_digest, read_json
from models.formats.float_matrix import FloatType, float_type
from models.formats.gguf.gguf_blocks import BLOCK_DECODERS, FOUR_BIT_TYPES, gguf_matrix
from models.formats.gguf.gguf_file import GgufFile
from models.formats.hugging_face import llama_config, open_tensors
from models.formats.llama_weights import (
    LlamaConfig,
    LlamaWeights,
    Precision,
    TensorSource,
    assemble,
    assemble_floats,
)
from models.formats.mlc.package import CONFIG_FILE as MLC_CONFIG_FILE
from models.formats.mlc.package import is_mlc_package
from models.formats.mlc.weights import MlcSource
from models.formats.model_settings import MOST_LAYERS, ModelSettings
from models.formats.quantization import Bits, QuantizedMatrix, quantise_by_parts, rest_by_parts
from models.formats.safetensors_file import SafetensorsFile

_GGUF_NAMES = {
    "token_embd": "embedding", "output_norm": "final_norm", "output": "head",
    "attn_q": "q", "attn_k": "k", "attn_v": "v", "attn_output": "o",
    "ffn_gate": "gate", "ffn_up": "up", "ffn_down": "down",
    "attn_norm": "attention_norm", "ffn_norm": "mlp_norm",
}  # fmt: skip
_HUGGING_FACE_NAMES = {
    "embed_tokens": "embedding", "norm": "final_norm", "lm_head": "head",
    "self_attn.q_proj": "q", "self_attn.k_proj": "k", "self_attn.v_proj": "v", "self_attn.o_proj": "o",
    "mlp.gate_proj": "gate", "mlp.up_proj": "up", "mlp.down_proj": "down",
    "input_layernorm": "attention_norm", "post_attention_layernorm": "mlp_norm",
}  # fmt: skip
# The path to the language model's layers: from itself, or from a vision-language model around it.
_TEXT_PREFIX = re.compile(r"(?:model\.)*(?:text_model\.(?:model\.)*)?(?=embed_tokens\.|norm\.|layers\.)")
_VISION_TENSOR = re.compile(r"(?:model\.)*(?:vision_model|connector)\.")
_COMPUTED = "rotary_emb.inv_freq"  # stored by old versions of transformers; computed from rope_theta
_TOP_LEVEL = ("embedding", "final_norm", "head")


def load_llama(path: Path, digest: str | None = None, precision: Precision = "int8") -> LlamaWeights:
    """Open a GGUF file, a directory with config.json and safetensors files, or an MLC package.

    digest: the source's sha256 (hex). None computes it, which takes 0.1 s for 100 MB. precision: whether matrices are
    quantised.
    Raises UserError when something is missing, damaged or not supported.
    """
    source: TensorSource
    if is_mlc_package(path):
        source = MlcSource(path)
    elif path.is_dir():
        source = HuggingFaceSource(path)
    else:
        source = GgufSource(GgufFile(path))
    put_together = assemble if precision == "int8" else assemble_floats
    return put_together(source, digest or (directory_digest(path) if path.is_dir() else file_digest(path)))


def read_llama_config(path: Path) -> LlamaConfig:
    """The configuration of a model as `load_llama` opens it. Raises UserError."""
    if is_mlc_package(path):
        return MlcSource(path).config
    return HuggingFaceSource(path).config if path.is_dir() else GgufSource(GgufFile(path)).config


def directory_digest(path: Path) -> str:
    """sha256 (hex) of the lines "name sha256" of the configuration and every file of weights, sorted by name."""
    mlc = is_mlc_package(path)
    weights = path.glob("*.bin" if mlc else "*.safetensors")
    names = sorted([MLC_CONFIG_FILE if mlc else "config.json", *(file.name for file in weights)])
    lines = "".join(f"{name} {file_digest(path / name)}\n" for name in names)
    return hashlib.sha256(lines.encode()).hexdigest()


class GgufSource:
    """A GGUF file of the architecture "llama". gguf/gguf_blocks.py has its types; floats become 8 bits."""

    def __init__(self, file: GgufFile) -> None:
        self.path = file.path
        self._file = file
        self._names = {_own_name(name, r"blk\.(\d+)\.(.+)", _GGUF_NAMES): name for name in file.tensors}
        self.config = gguf_llama_config(file)

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {name: self._file.tensors[stored].shape for name, stored in self._names.items()}

    def bits(self, name: str) -> Bits:
        return 4 if self._type(name) in FOUR_BIT_TYPES else 8

    def symmetric(self, name: str) -> bool:
        return self._type(name) == "Q4_0"

    def matrix(self, name: str) -> QuantizedMatrix:
        matrix = gguf_matrix(self._file, self._names[name])
        if name.endswith((".q", ".k")):
            return matrix.rows(half_split_rows(matrix.shape[0], self.config.head_dim))
        return matrix

    def is_float(self, name: str) -> bool:
        """Whether the file has the tensor and stores it as floating-point numbers."""
        return name in self._names and self._type(name) not in BLOCK_DECODERS

    def rest(self, name: str) -> QuantizedMatrix | None:
        if not self.is_float(name):
            return None
        stored = self._names[name]
        return rest_by_parts(lambda part: self._file.floats(stored, part), *self._file.tensors[stored].shape)

    def floats(self, name: str) -> NDArray[np.float32]:
        if self._type(name) in BLOCK_DECODERS:
            raise UserError(f"{self.path} stores {name} in the type {self._type(name)}; norms must be floats")
        return self._file.floats(self._names[name])

    def float_type(self, name: str) -> FloatType:
        return float_type(self._type(name))

    def exact(self, name: str) -> NDArray[np.float32]:
        if not self.is_float(name):
            return self.matrix(name).dequantise()
        values = self._file.floats(self._names[name])
        if name.endswith((".q", ".k")):
            return values[half_split_rows(len(values), self.config.head_dim)]
        return values

    def _type(self, name: str) -> str:
        return self._file.tensors[self._names[name]].type


class HuggingFaceSource:
    """A directory with config.json and safetensors files. Every matrix is quantised to 8 bits.

    Of a vision-language model the source is the language model inside. Without a head it is tied, unless config.json
    says that it is not.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        settings = read_json(path / "config.json")
        self.config = llama_config(path / "config.json", settings)
        self._files: dict[str, tuple[SafetensorsFile, str]] = {}
        for stored, file in open_tensors(path).items():
            if _VISION_TENSOR.match(stored) or stored.endswith(_COMPUTED):
                continue
            bare = _TEXT_PREFIX.sub("", stored)
            name = _own_name(bare, r"layers\.(\d+)\.(.+)", _HUGGING_FACE_NAMES)
            name = stored if name == bare else name
            if name in self._files:
                raise UserError(f"{path} has the tensor {stored} twice; remove the file that is not wanted")
            if not (name == "head" and self.config.tie_word_embeddings):
                self._files[name] = (file, stored)
        if "head" not in self._files and settings.get("tie_word_embeddings") is None:
            self.config = replace(self.config, tie_word_embeddings=True)

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {name: file.tensors[stored].shape for name, (file, stored) in self._files.items()}

    def bits(self, name: str) -> Bits:  # noqa: ARG002  # every matrix has 8 bits
        return 8

    def symmetric(self, name: str) -> bool:  # noqa: ARG002  # no matrix is
        return False

    def matrix(self, name: str) -> QuantizedMatrix:
        file, stored = self._files[name]
        rows, inputs = file.tensors[stored].shape
        return quantise_by_parts(lambda part: file.floats(stored, part), rows, inputs, 8)

    def rest(self, name: str) -> QuantizedMatrix | None:
        file, stored = self._files[name]
        return rest_by_parts(lambda part: file.floats(stored, part), *file.tensors[stored].shape)

    def floats(self, name: str) -> NDArray[np.float32]:
        file, stored = self._files[name]
        return file.floats(stored)

    def float_type(self, name: str) -> FloatType:
        file, stored = self._files[name]
        return float_type(file.tensors[stored].type)

    def exact(self, name: str) -> NDArray[np.float32]:
        return self.floats(name)


def gguf_llama_config(file: GgufFile) -> LlamaConfig:
    """The configuration in a GGUF file's metadata. Raises UserError when the model cannot run."""
    path, values = file.path, ModelSettings(file.path, file.metadata)
    architecture = values.scalar("general.architecture")
    if architecture != "llama":
        raise UserError(f"{path} has the architecture {architecture!r}; only llama is supported")
    _refuse_gguf_features(path, values)
    hidden, heads = values.integer("llama.embedding_length"), values.integer("llama.attention.head_count")
    head_dim = values.integer("llama.attention.key_length", hidden // heads)
    for other in ("llama.attention.value_length", "llama.rope.dimension_count"):
        if values.integer(other, head_dim) != head_dim:
            raise UserError(f"{path} has {other} unlike its heads' {head_dim}; that is not supported")
    embedding = file.tensors.get("token_embd.weight")
    return LlamaConfig(
        hidden_size=hidden,
        intermediate_size=values.integer("llama.feed_forward_length"),
        num_layers=values.integer("llama.block_count", most=MOST_LAYERS),
        num_heads=heads,
        num_kv_heads=values.integer("llama.attention.head_count_kv", heads),
        head_dim=head_dim,
        vocab_size=values.integer("llama.vocab_size", embedding.shape[0] if embedding else 0),
        rms_norm_eps=values.number("llama.attention.layer_norm_rms_epsilon"),
        rope_theta=values.number("llama.rope.freq_base", 10000.0),
        max_position_embeddings=values.integer("llama.context_length"),
        tie_word_embeddings="output.weight" not in file.tensors,
    )


def half_split_rows(rows: int, head_dim: int) -> NDArray[np.intp]:
    """For each row in half-split order, the index of the GGUF row that holds it.

    GGUF interleaves the two halves of a head (0, d/2, 1, d/2 + 1, ...), since its rotary embedding rotates the pair
    (2i, 2i + 1). Hugging Face's rotates (i, i + d/2).
    """
    return np.arange(rows).reshape(-1, head_dim // 2, 2).swapaxes(1, 2).reshape(-1)


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


def _refuse_gguf_features(path: Path, values: ModelSettings) -> None:
    scaling = values.scalar("llama.rope.scaling.type", "none")
    if scaling != "none" or values.scalar("llama.rope.scale_linear", 1.0) != 1.0:
        raise UserError(f"{path} scales its rotary embedding ({scaling}); that is not supported")
    for key in ("llama.expert_count", "llama.attention.sliding_window"):
        if values.scalar(key):
            raise UserError(f"{path} uses {key}, which is not supported")
