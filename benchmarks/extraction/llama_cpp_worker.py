"""llama.cpp and rapidocr page by page, as a script of their users would have it, in a process of its own.

It runs under any Python that has llama-cpp-python, rapidocr and onnxruntime, and must import nothing of this project.
Each page is read by rapidocr as it comes, its lines go into the prompt, and the answer is held to a JSON Schema by
llama.cpp's grammar. Requests are JSON lines, as in benchmarks/workers.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from typing import Any


class LlamaCppPages:
    """Its public methods are the requests."""

    def __init__(self) -> None:
        self.model: Any = None
        self.reader: Any = None
        self.grammar: Any = None
        self.question = ""

    def load(self, model: str, threads: int, question: str, schema: dict[str, Any]) -> dict[str, Any]:
        """Load a GGUF file and rapidocr with its own settings, each with this many threads."""
        import llama_cpp
        from rapidocr import RapidOCR

        self.model = llama_cpp.Llama(model, n_ctx=2048, n_threads=threads, n_batch=512, verbose=False)
        self.grammar = llama_cpp.LlamaGrammar.from_json_schema(json.dumps(schema), verbose=False)
        threads_of = {"EngineConfig.onnxruntime.intra_op_num_threads": threads}
        self.reader = RapidOCR(params={**threads_of, "Global.log_level": "critical"})
        self.question = question
        return {"version": llama_cpp.__version__}

    def pages(self, files: list[str], tokens: int) -> dict[str, Any]:
        """Answer about each page, in at most so many tokens. Replies the seconds, and the answers."""
        started = time.perf_counter()
        answers = [self._answer(file, tokens) for file in files]
        return {"seconds": time.perf_counter() - started, "answers": answers}

    def _answer(self, file: str, tokens: int) -> str:
        lines = self.reader(file).txts or ()
        prompt = "\n".join(lines) + "\n\n" + self.question
        reply = self.model.create_chat_completion(
            [{"role": "user", "content": prompt}],
            temperature=0.0,
            max_tokens=tokens,
            grammar=self.grammar,
        )
        return str(reply["choices"][0]["message"]["content"])


def serve() -> None:
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # other output goes to stderr, so that stdout has replies alone
    worker = LlamaCppPages()
    for line in sys.stdin:
        request = json.loads(line)
        replies.write(json.dumps(getattr(worker, request.pop("do"))(**request)) + "\n")
    with contextlib.suppress(AttributeError):
        worker.model.close()


if __name__ == "__main__":
    serve()
