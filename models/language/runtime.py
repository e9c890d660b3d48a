"""A Llama model in memory: compiled functions, mapped weights, KV cache and scratch memory.

`prefill` and `decode` write the KV cache by position and return logits. A call at a smaller position overwrites
what was there, which rewinds the cache. Both functions give the same bits for any split of the tokens into calls
and any number of threads, and both release the GIL while they compute. One Python thread should make all calls,
because each calling thread gets a thread pool of its own.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiler import threads as thread_pool
from models.compiler.compile import compile_or_load
from models.compiler.cpu import KernelPath
from models.compiler.tvm_runtime import Library, aligned_zeros, as_tensor
from models.core.types import Progress, no_progress
from models.kernels.arguments import WEIGHTS, buffer_types, scratch_sizes, scratch_types
from models.language.thread_governor import ThreadGovernor
from models.lora.weights import PackedLora
from models.packing.llama_shape import LlamaShape
from models.packing.lora_layout import RANK_STEP
from models.packing.packed_model import PackedModel

MAX_ROWS = 512
"""Rows of one call of the prefill kernel. Scratch memory grows with it."""

_POSITION_STEP = 64  # the length of the KV cache is a multiple of this


def compile_llama(
    shape: LlamaShape, path: KernelPath, cache_dir: Path, progress: Progress = no_progress
) -> Library:
    """The compiled functions for one shape, from cache_dir or compiled now and written there.

    progress: receives the stage "compile". Raises UserError when the compiler or the cache folder fails.
    """
    return compile_or_load("llama", "models.kernels.llama:build", asdict(shape), path, cache_dir, progress)


class LlamaRuntime:
    """The weights of one model with a KV cache.

    threads: threads that compute. context_length: positions in the KV cache, capped at the model's maximum.
    max_rows: rows of one kernel call, default 512; `prefill` splits longer inputs.
    """

    def __init__(
        self,
        packed: PackedModel,
        library: Library,
        threads: int,
        context_length: int,
        max_rows: int = MAX_ROWS,
    ) -> None:
        shape, config = packed.shape, packed.config
        self.shape = shape
        self.config = config
        self.threads = threads
        self.max_rows = max_rows
        self.context_length = min(context_length, config.max_position_embeddings)
        context = -(-self.context_length // _POSITION_STEP) * _POSITION_STEP
        self._context = context
        cache = shape.layers * shape.kv_heads * context * shape.head_dim
        arrays: dict[str, NDArray[Any]] = {
            name: packed.sections[name] for name in WEIGHTS if name in packed.sections
        }
        arrays["rope"] = rotary_table(config.rope_theta, shape.head_dim, context + max_rows)
        # The KV cache in float16. Keys: [layers, kv_heads, context / 16, head_dim, 16]. Values: [layers, kv_heads,
        # context, head_dim]. Masked positions count 0, but must be finite, hence zeros.
        arrays["keys"] = aligned_zeros(cache, np.float16)
        arrays["cached_values"] = aligned_zeros(cache, np.float16)
        arrays["lora"] = aligned_zeros(64, np.uint8)  # stands for no LoRA: never read when rank_tiles is 0
        arrays["tokens"] = aligned_zeros(max_rows, np.int32)
        # One row, which is passed for a prompt without image rows.
        arrays["image_rows"] = aligned_zeros(shape.hidden, np.float32)
        kinds = scratch_types(shape)
        for name, size in scratch_sizes(shape, max_rows, context, threads).items():
            arrays[name] = aligned_zeros(size, kinds[name])
        names = list(buffer_types(shape))
        self._arguments = [as_tensor(arrays[name]) for name in names]
        self._lora_index, self._image_index = names.index("lora"), names.index("image_rows")
        self._no_lora = self._arguments[self._lora_index]
        self._no_image = self._arguments[self._image_index]
        self._governor = ThreadGovernor(threads)
        self._tokens: NDArray[np.int32] = arrays["tokens"]
        self._logits: NDArray[np.float32] = arrays["logits"][: shape.vocab]
        self._hidden: NDArray[np.float32] = arrays["hidden"]
        self._prefill = library["llama_prefill"]
        self._decode = library["llama_decode"]

    def prefill(
        self,
        tokens: NDArray[np.int32],
        image_rows: NDArray[np.float32] | None,
        position: int,
        lora: PackedLora | None = None,
    ) -> NDArray[np.float32]:
        """Compute tokens [n] at the positions position .. position + n - 1.

        tokens: int32; an id below 0 stands for row (-id - 1) of image_rows. image_rows: float32 [rows, hidden].
        lora: the adapter of these positions; None for the plain model.

        Returns the last token's logits, float32 [vocab], as a view that the next call overwrites. Raises
        ValueError when tokens, image rows or positions do not fit the model.
        """
        tokens = np.asarray(tokens, np.int32)
        images = self._check_image_rows(tokens, image_rows)
        if not len(tokens) or int(tokens.max()) >= self.shape.vocab:
            raise ValueError("prefill needs at least one token, and ids below the size of the vocabulary")
        self._check_positions(position, len(tokens))
        self._use(lora, self.threads)
        self._arguments[self._image_index] = images
        adapter = (0, 0) if lora is None else (lora.rank // RANK_STEP, int(lora.factored))
        for start in range(0, len(tokens), self.max_rows):
            chunk = tokens[start : start + self.max_rows]
            self._tokens[: len(chunk)] = chunk
            self._tokens[len(chunk) :] = 0  # padding of the last tile of rows: any valid id
            self._prefill(
                len(chunk), position + start, self._context, *adapter, self.threads, *self._arguments
            )
        self._arguments[self._image_index] = self._no_image
        return self._logits

    def decode(self, token: int, position: int, lora: PackedLora | None = None) -> NDArray[np.float32]:
        """Compute one token id at a position.

        Returns its logits, float32 [vocab], as a view that the next call overwrites. Raises ValueError when the
        id or the position is out of range.
        """
        if not 0 <= token < self.shape.vocab:
            raise ValueError(f"token {token} is outside the vocabulary")
        self._check_positions(position, 1)
        threads = self._governor.count
        self._use(lora, threads)
        adapter = (0, 0) if lora is None else (lora.rank // RANK_STEP, int(lora.factored))
        start = time.perf_counter()
        self._decode(token, position, self._context, *adapter, threads, *self._arguments)
        self._governor.record(time.perf_counter() - start)
        return self._logits

    def hidden_state(self) -> NDArray[np.float32]:
        """A copy of the final normalised hidden state, float32 [hidden], from which the latest logits were made."""
        return self._hidden.copy()

    def _check_positions(self, position: int, count: int) -> None:
        if position < 0 or position + count > self.context_length:
            raise ValueError(
                f"positions {position} to {position + count - 1} are outside the context of {self.context_length}"
            )

    def _check_image_rows(self, tokens: NDArray[np.int32], image_rows: NDArray[np.float32] | None) -> Any:
        """The image rows as a kernel argument. Raises ValueError when they do not fit the tokens or the model."""
        lowest = int(tokens.min(initial=0))
        if image_rows is None:
            if lowest < 0:
                raise ValueError("tokens refer to image rows, but there are none")
            return self._no_image
        if image_rows.shape[1:] != (self.shape.hidden,) or -lowest > len(image_rows):
            raise ValueError(
                f"image rows {image_rows.shape} do not fit hidden size {self.shape.hidden} or the tokens"
            )
        rows = aligned_zeros(image_rows.shape, np.float32)
        rows[...] = image_rows
        return as_tensor(rows)

    def _use(self, lora: PackedLora | None, threads: int) -> None:
        """Set the adapter and the number of threads of the next call."""
        thread_pool.use_threads(threads)
        self._arguments[self._lora_index] = self._no_lora if lora is None else lora.argument


def rotary_table(theta: float, head_dim: int, positions: int) -> NDArray[np.float32]:
    """Rotary embedding (RoPE, arXiv 2104.09864) in the half-split order of transformers.

    theta: the base of the frequencies. Returns float32 [positions, head_dim]: in each row head_dim / 2 cosines,
    then head_dim / 2 sines of position * theta^(-2 i / head_dim). Angles are float64: a float32 angle at
    position 2000 is off by up to 6e-5.
    """
    frequencies = theta ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    angles = np.arange(positions, dtype=np.float64)[:, None] * frequencies[None]
    table: NDArray[np.float32] = aligned_zeros((positions, head_dim), np.float32)
    table[:] = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    return table
