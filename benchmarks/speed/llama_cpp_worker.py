"""llama.cpp in a process of its own, which takes requests as JSON lines.

It runs under any Python that has llama-cpp-python and must import nothing of this project. Only the C bindings are
used, so that no figure includes Python copies of logits or Python sampling. The protocol is that of
benchmarks/speed/workers.py.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import llama_cpp as lib


class LlamaCpp:
    """One model and one context of llama.cpp at a time. Its public methods are the requests."""

    def __init__(self) -> None:
        self.model: Any = None
        self.context: Any = None
        self.adapter: Any = None
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

    def load(self, path: str, threads: int, length: int, flash: bool) -> dict[str, Any]:
        """Load a GGUF file with a context of this length. flash: with flash attention."""
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
        return {}

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
        if self.context:
            lib.llama_free(self.context)
        if self.model:
            lib.llama_model_free(self.model)
        self.model = self.context = self.adapter = None

    def _decode(self, array: Any, count: int) -> None:
        failed = lib.llama_decode(self.context, lib.llama_batch_get_one(array, count))
        if failed:
            raise RuntimeError(f"llama_decode returned {failed}")
        lib.llama_get_logits_ith(self.context, -1)[0]  # waits until the logits are there

    def _best(self) -> int:
        logits = lib.llama_get_logits_ith(self.context, -1)
        count = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self.model))
        return max(range(count), key=logits.__getitem__)


def serve() -> None:
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # llama.cpp's own output goes to stderr, so that stdout has replies alone
    callback = lib.llama_log_callback(lambda *_: None)
    lib.llama_log_set(callback, None)
    peer = LlamaCpp()
    actions: dict[str, Callable[..., Any]] = {
        name: getattr(peer, name) for name in ("about", "quantise", "load", "lora", "prefill", "decode")
    }
    for line in sys.stdin:
        request = json.loads(line)
        replies.write(json.dumps(actions[request.pop("do")](**request)) + "\n")
    peer.close()


if __name__ == "__main__":
    serve()
