"""Llama tensors from an MLC package, under the names of models/formats/llama_weights.py.

A value of 4 bits is scale * (code - 7) with codes 0 to 14 in groups of 32 inputs. With one added to every code it is
scale * (code - 8), which is GGUF's Q4_0, so that nothing is rounded. Sources: group_quantization.py and
llama_loader.py in the mlc-llm repository.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.core.errors import UserError
from models.formats.float_matrix import FloatType, float_type
from models.formats.hugging_face import llama_config
from models.formats.llama_weights import LlamaConfig
from models.formats.mlc.package import MlcPackage
from models.formats.quantization import (
    GROUP,
    Bits,
    QuantizedMatrix,
    eight_below,
    finite,
    narrow,
    quantise_by_parts,
    rest_by_parts,
)

TRANSPOSED = "q4f16_0"
FLOAT_ENDS = "q4f16_2"  # embedding and head are not quantised
FOUR_BITS = ("q4f16_1", "q4f32_1", TRANSPOSED, FLOAT_ENDS)
UNQUANTISED = ("q0f16", "q0f32", "q0bf16")

_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)")
_CODES_IN_WORD = 8  # 4-bit codes in a uint32, the first one in the lowest bits
_NORMS = {"input_layernorm": "attention_norm", "post_attention_layernorm": "mlp_norm"}
_WHOLE = {"self_attn.o_proj": "o", "mlp.down_proj": "down"}
_JOINED = {"self_attn.qkv_proj": ("q", "k", "v"), "mlp.gate_up_proj": ("gate", "up")}
_TOP_LEVEL = {"model.embed_tokens": "embedding", "model.norm": "final_norm", "lm_head": "head"}


@dataclass(frozen=True)
class _Rows:
    """Rows of a stored matrix or norm: those of one of the matrices that are stored as one.

    base: the stored name without its last part. total: rows that the stored matrix has to have.
    """

    base: str
    start: int
    stop: int
    total: int


def mlc_llama_config(path: str | Path, settings: Mapping[str, Any]) -> LlamaConfig:
    """The configuration in mlc-chat-config.json. path: for messages.

    Raises UserError, which names the quantisation or the feature, when the model cannot run.
    """
    quantisation = settings.get("quantization")
    if quantisation not in FOUR_BITS + UNQUANTISED:
        supported = ", ".join(FOUR_BITS + UNQUANTISED)
        raise UserError(f"{path}: the quantization {quantisation} is not supported; these are: {supported}")
    model = settings.get("model_config")
    if not isinstance(model, dict):
        raise UserError(f"{path} has no model_config; get the package again")
    renamed = {
        "model_type": settings.get("model_type"),
        "rope_theta": model.get("position_embedding_base"),
        "max_position_embeddings": model.get("context_window_size", settings.get("context_window_size")),
    }
    given = {key: value for key, value in model.items() if value != 0}  # which stands for none there
    return llama_config(path, {**given, **renamed})


class MlcSource:
    """An MLC package of a Llama model. 4-bit codes stay as they are; floats become 8 bits."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._package = MlcPackage(path)
        settings = self._package.settings
        self.config = mlc_llama_config(path, settings)
        self._transposed = settings["quantization"] == TRANSPOSED
        bases = {name.rpartition(".")[0] for name in self._package.tensors}
        if "lm_head" not in bases:
            self.config = replace(self.config, tie_word_embeddings=True)
        self._rows = self._named(bases)

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        shapes = {name: self._shape(name) for name in self._rows}
        bases = {"lm_head", *(rows.base for rows in self._rows.values())}  # a head that is tied may be stored
        known = {f"{base}.{part}" for base in bases for part in ("weight", "q_weight", "q_scale")}
        unknown = {name: tensor.shape for name, tensor in self._package.tensors.items() if name not in known}
        return unknown | shapes

    def bits(self, name: str) -> Bits:
        return 4 if self._quantised(name) else 8

    def symmetric(self, name: str) -> bool:
        return self._quantised(name)

    def matrix(self, name: str) -> QuantizedMatrix:
        if self._quantised(name):
            rows = self._rows[name]
            words, scale = self._codes_and_scale(name)
            part = slice(rows.start, rows.stop)
            return self._from_words(name, words[part], scale[part])
        return quantise_by_parts(self._reader(name), *self._matrix_shape(name), 8)

    def rest(self, name: str) -> QuantizedMatrix | None:
        if self._quantised(name):
            return None
        return rest_by_parts(self._reader(name), *self._matrix_shape(name))

    def _reader(self, name: str) -> Callable[[slice], NDArray[np.float32]]:
        """Reads some rows of a matrix that is stored as floats."""
        rows = self._rows[name]

        def read(part: slice) -> NDArray[np.float32]:
            places = slice(rows.start + part.start, rows.start + part.stop)
            return self._package.floats(f"{rows.base}.weight", places)

        return read

    def _matrix_shape(self, name: str) -> tuple[int, int]:
        rows = self._rows[name]
        return rows.stop - rows.start, self._shape(name)[1]

    def floats(self, name: str) -> NDArray[np.float32]:
        if self._quantised(name):
            raise UserError(f"{self.path} stores {name} quantised; norms must be floats")
        return self._package.floats(f"{self._rows[name].base}.weight")

    def float_type(self, name: str) -> FloatType:
        if self._quantised(name):
            return "f32"
        return float_type(self._package.tensors[f"{self._rows[name].base}.weight"].type)

    def exact(self, name: str) -> NDArray[np.float32]:
        if self._quantised(name):
            return self.matrix(name).dequantise()
        return self._reader(name)(slice(0, self._matrix_shape(name)[0]))

    def _named(self, bases: set[str]) -> dict[str, _Rows]:
        """The rows of the stored tensors by our names."""
        config = self.config
        keys = config.num_kv_heads * config.head_dim
        sizes = {
            "q": config.num_heads * config.head_dim, "k": keys, "v": keys, "gate": config.intermediate_size,
            "up": config.intermediate_size, "o": config.hidden_size, "down": config.hidden_size,
        }  # fmt: skip
        named: dict[str, _Rows] = {}
        for base in bases:
            if base in _TOP_LEVEL:
                if not (base == "lm_head" and config.tie_word_embeddings):
                    rows = config.hidden_size if base == "model.norm" else config.vocab_size
                    named[_TOP_LEVEL[base]] = _Rows(base, 0, rows, rows)
            elif (layer := _LAYER.fullmatch(base)) is None:
                continue
            elif (norm := _NORMS.get(layer[2])) is not None:
                named[f"layers.{layer[1]}.{norm}"] = _Rows(base, 0, config.hidden_size, config.hidden_size)
            else:
                roles = _JOINED.get(layer[2]) or ((_WHOLE[layer[2]],) if layer[2] in _WHOLE else ())
                start, total = 0, sum(sizes[role] for role in roles)
                for role in roles:
                    named[f"layers.{layer[1]}.{role}"] = _Rows(base, start, start + sizes[role], total)
                    start += sizes[role]
        return named

    def _quantised(self, name: str) -> bool:
        return f"{self._rows[name].base}.q_weight" in self._package.tensors

    def _shape(self, name: str) -> tuple[int, ...]:
        """The shape of a matrix or norm; of the stored one when that has other rows than it should."""
        rows = self._rows[name]
        if self._quantised(name):
            words, scale = self._codes_and_scale(name)
            shape: tuple[int, ...] = (len(words), words.shape[1] * _CODES_IN_WORD)
            if scale.shape != (len(words), shape[1] // GROUP):
                raise UserError(f"{self.path} has scales of the shape {list(scale.shape)} for {name}")
        elif (tensor := self._package.tensors.get(f"{rows.base}.weight")) is not None:
            shape = tensor.shape
        else:
            raise UserError(f"{self.path} has neither weight nor q_weight of {rows.base}")
        return (rows.stop - rows.start, *shape[1:]) if shape[0] == rows.total else shape

    def _codes_and_scale(self, name: str) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """uint32 [rows, inputs / 8] and float32 [rows, inputs / 32] of the stored matrix."""
        base, tensors = self._rows[name].base, self._package.tensors
        words, scale = tensors[f"{base}.q_weight"], tensors.get(f"{base}.q_scale")
        if scale is None or len(words.shape) != 2 or len(scale.shape) != 2 or words.type != "uint32":
            raise UserError(f"{self.path} does not store {base} as 4-bit codes with scales")
        codes, scales = self._package.array(words.name), self._package.floats(scale.name)
        return (codes.T, scales.T) if self._transposed and name != "embedding" else (codes, scales)

    def _from_words(
        self, name: str, words: NDArray[np.uint32], scale: NDArray[np.float32]
    ) -> QuantizedMatrix:
        """The matrix of 4-bit codes in words [out, inputs / 8] and scales [out, inputs / 32]."""
        # Little-endian: the first code is in the low half of the first byte.
        packed = np.ascontiguousarray(words).view(np.uint8)
        codes = np.stack([packed & np.uint8(15), packed >> np.uint8(4)], axis=-1).reshape(*scale.shape, GROUP)
        if codes.max() == 15:
            raise UserError(f"{self.path} has codes of 15 in {name}, where 14 is the largest; it is damaged")
        codes += np.uint8(1)
        half = narrow(np.ascontiguousarray(scale))
        return QuantizedMatrix(4, codes, half, finite(eight_below(half)))
