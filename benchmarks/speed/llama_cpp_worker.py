"""llama.cpp in a process of its own, which takes requests as JSON lines.

It runs under any Python that has llama-cpp-python and must import nothing of this project. Only the C bindings are
used, so that no figure includes Python copies of logits or Python sampling. The protocol is that of
benchmarks/workers.py.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import llama_cpp as lib
from llama_cpp import mtmd_cpp as mtmd


class LlamaCpp:
    """One model and one context of llama.cpp at a time, with or without a vision encoder (mtmd).

    Its public methods are the requests.
    """

    def __init__(self) -> None:
        self.model: Any = None
        self.context: Any = None
        self.adapter: Any = None
        self.vision: Any = None
        lib.llama_backend_init()

    def about(self) -> dict[str, Any]:
        return {"version": lib.__version__, "system": lib.llama_print_system_info().decode()}

    def quantise(self, source: str, target: str) -> dict[str, Any]:
        """Write a Q4_0 file of a model. The embedding stays Q8_0, as in the file that we run."""
        parameters = lib.llama_model_quantize_default_params()
        parameters.ftype = lib.LLAMA_FTYPE_MOSTLY_Q4_0
        parameters.allow_requantize = True
        parameters.token_embedding_type = parameters.output_tensor_type = lib.GGML_TYPE_Q8_0
        failed = lib.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(parameters))
        if failed:
            raise RuntimeError(f"llama_model_quantize returned {failed}")
        return {}

    def widen(self, source: str, target: str) -> dict[str, Any]:
        """Write a model's weights as float32."""
        parameters = lib.llama_model_quantize_default_params()
        parameters.ftype = lib.LLAMA_FTYPE_ALL_F32
        parameters.allow_requantize = True
        failed = lib.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(parameters))
        if failed:
            raise RuntimeError(f"llama_model_quantize returned {failed}")
        return {}

    def load(
        self, path: str, threads: int, length: int, flash: bool, mmproj: str | None = None
    ) -> dict[str, Any]:
        """Load a GGUF file with a context of this length.

        flash: with flash attention. mmproj: the file of the vision encoder.
        """
        self.close()
        parameters = lib.llama_model_default_params()
        parameters.n_gpu_layers = 0
        self.model = lib.llama_model_load_from_file(path.encode(), parameters)
        context = lib.llama_context_default_params()
        context.n_ctx = length
        context.n_batch = context.n_ubatch = 512
        context.n_threads = context.n_threads_batch = threads
        context.flash_attn_type = int(flash)
        context.no_perf = True
        self.context = lib.llama_init_from_model(self.model, context)
        if not self.model or not self.context:
            raise RuntimeError(f"llama.cpp cannot load {path}")
        if mmproj is not None:
            self._load_vision(mmproj, threads, flash)
        return {}

    def _load_vision(self, path: str, threads: int, flash: bool) -> None:
        parameters = mtmd.mtmd_context_params_default()
        parameters.use_gpu = parameters.print_timings = parameters.warmup = False
        parameters.n_threads = threads
        parameters.flash_attn_type = int(flash)
        self.vision = mtmd.mtmd_init_from_file(path.encode(), self.model, parameters)
        if not self.vision:
            raise RuntimeError(f"mtmd cannot load {path}")

    def tile(self, path: str) -> dict[str, Any]:
        """Compute one tile of an image through the vision encoder and the connector. Replies the seconds."""
        with self._chunks(path, "") as chunks:
            *_, last = (chunk for chunk in chunks if _is_image(chunk))
            started = time.perf_counter()
            if mtmd.mtmd_encode_chunk(self.vision, last):
                raise RuntimeError("mtmd cannot encode the tile")
            return {"seconds": time.perf_counter() - started}

    def photo(self, path: str, question: str, tiles: int | None) -> dict[str, Any]:
        """Answer a question about an image file up to the first logits, with an empty KV cache.

        tiles: so many of the image's tiles alone, the last ones; None for all. Replies the seconds, the number of
        tiles, and the positions in the KV cache.
        """
        lib.llama_memory_clear(lib.llama_get_memory(self.context), False)
        position, images = lib.llama_pos(0), 0
        started = time.perf_counter()
        with self._chunks(path, question) as chunks:
            total = sum(map(_is_image, chunks))
            skipped = total - (tiles or total)
            for number, chunk in enumerate(chunks):
                images += _is_image(chunk)
                if 0 < images <= skipped:  # a tile that is left out, or the text behind it
                    continue
                last = number == len(chunks) - 1
                failed = mtmd.mtmd_helper_eval_chunk_single(
                    self.vision, self.context, chunk, position, 0, 512, last, ctypes.byref(position)
                )
                if failed:
                    raise RuntimeError(f"mtmd returned {failed} for a part of the prompt")
            lib.llama_get_logits_ith(self.context, -1)[0]  # waits until the logits are there
        seconds = time.perf_counter() - started
        return {
            "seconds": seconds,
            "tiles": total - skipped,
            "positions": position.value,
            "best": self._best(),
        }

    @contextlib.contextmanager
    def _chunks(self, path: str, question: str) -> Iterator[list[Any]]:
        """The parts of the prompt about an image file, each the rows of a tile or text. They are freed at the end."""
        bitmap = mtmd.mtmd_helper_bitmap_init_from_file(self.vision, path.encode(), False)
        if not bitmap:
            raise RuntimeError(f"mtmd cannot read {path}")
        before, behind = b"<|im_start|>User:", f"{question}<end_of_utterance>\nAssistant:".encode()
        text = before + mtmd.mtmd_default_marker() + behind
        given = mtmd.mtmd_input_text(text, len(text), False, True)
        bitmaps = (mtmd.mtmd_bitmap_p_ctypes * 1)(bitmap)
        chunks = mtmd.mtmd_input_chunks_init()
        try:
            if mtmd.mtmd_tokenize(self.vision, chunks, ctypes.byref(given), bitmaps, 1):
                raise RuntimeError("mtmd cannot tokenise the prompt")
            count = mtmd.mtmd_input_chunks_size(chunks)
            yield [mtmd.mtmd_input_chunks_get(chunks, number) for number in range(count)]
        finally:
            mtmd.mtmd_input_chunks_free(chunks)
            mtmd.mtmd_bitmap_free(bitmap)

    def lora(self, path: str | None) -> dict[str, Any]:
        """Use the adapter in a GGUF file, or none, from now on. Replies the seconds."""
        started = time.perf_counter()
        if path is None:
            lib.llama_set_adapters_lora(self.context, None, 0, None)
            return {"seconds": time.perf_counter() - started}
        self.adapter = lib.llama_adapter_lora_init(self.model, path.encode())
        if not self.adapter:
            raise RuntimeError(f"llama.cpp cannot load the adapter {path}")
        adapters = (lib.llama_adapter_lora_p_ctypes * 1)(self.adapter)
        scales = (ctypes.c_float * 1)(1.0)
        if lib.llama_set_adapters_lora(self.context, adapters, 1, scales):
            raise RuntimeError("llama.cpp refuses the adapter")
        return {"seconds": time.perf_counter() - started}

    def prefill(self, tokens: list[int]) -> dict[str, Any]:
        """Clear the KV cache and compute the prompt up to its last logits. Replies the seconds."""
        lib.llama_memory_clear(lib.llama_get_memory(self.context), False)
        array = (lib.llama_token * len(tokens))(*tokens)
        started = time.perf_counter()
        self._decode(array, len(tokens))
        return {"seconds": time.perf_counter() - started, "best": self._best()}

    def decode(self, tokens: list[int]) -> dict[str, Any]:
        """Decode the tokens one at a time after those in the KV cache. Replies the seconds of all."""
        arrays = [(lib.llama_token * 1)(token) for token in tokens]
        started = time.perf_counter()
        for array in arrays:
            self._decode(array, 1)
        return {"seconds": time.perf_counter() - started, "best": self._best()}

    def close(self) -> None:
        if self.vision:
            mtmd.mtmd_free(self.vision)
        if self.context:
            lib.llama_free(self.context)
        if self.model:
            lib.llama_model_free(self.model)
        self.model = self.context = self.adapter = self.vision = None

    def _decode(self, array: Any, count: int) -> None:
        failed = lib.llama_decode(self.context, lib.llama_batch_get_one(array, count))
        if failed:
            raise RuntimeError(f"llama_decode returned {failed}")
        lib.llama_get_logits_ith(self.context, -1)[0]  # waits until the logits are there

    def _best(self) -> int:
        logits = lib.llama_get_logits_ith(self.context, -1)
        count = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self.model))
        return max(range(count), key=logits.__getitem__)


def _is_image(chunk: Any) -> bool:
    return bool(mtmd.mtmd_input_chunk_get_type(chunk) == mtmd.MTMD_INPUT_CHUNK_TYPE_IMAGE)


def serve() -> None:
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # llama.cpp's own output goes to stderr, so that stdout has replies alone
    callback = lib.llama_log_callback(lambda *_: None)
    lib.llama_log_set(callback, None)
    mtmd.mtmd_log_set(callback, None)
    mtmd.mtmd_helper_log_set(callback, None)
    peer = LlamaCpp()
    actions: dict[str, Callable[..., Any]] = {
        name: getattr(peer, name)
        for name in ("about", "quantise", "widen", "load", "lora", "prefill", "decode", "tile", "photo")
    }
    for line in sys.stdin:
        request = json.loads(line)
        replies.write(json.dumps(actions[request.pop("do")](**request)) + "\n")
    peer.close()


if __name__ == "__main__":
    serve()
