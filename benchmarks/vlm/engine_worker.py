"""A vision-language model behind the engine's interface, in a process of its own: loading, tiles, photos.

    python -m benchmarks.vlm.engine_worker

The protocol is that of benchmarks/speed/workers.py.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.speed.assistant_worker import StageTimes
from benchmarks.speed.workers import serve
from models.compiled_engine import CompiledEngine
from models.core.cache import PACKED
from models.core.images import load_image
from models.core.types import Detail, Message, Sampling
from models.families.parts import LoadOptions
from models.families.registry import load_parts
from models.hub.store import ModelFiles
from models.vision.tiled.tile_encoder import TileEncoder

FAMILY = "idefics3"


class EngineWorker:
    """One engine of the family idefics3. The public methods are the requests."""

    def load(
        self, language_model: list[str], mmproj: list[str], cache: str, threads: int, length: int
    ) -> dict[str, Any]:
        """Load the engine and its vision encoder. Each file is [path, sha256].

        Replies the seconds of the whole, and of each stage, and the bytes of the packed weights.
        """
        given = {"language_model": language_model, "mmproj": mmproj}
        paths = {role: Path(path) for role, (path, _) in given.items()}
        digests = {role: digest for role, (_, digest) in given.items()}
        files = ModelFiles(
            "random", FAMILY, paths["mmproj"].parent, paths, digests, None, language_model[1] + mmproj[1]
        )
        times, started, folder = StageTimes(), time.perf_counter(), Path(cache)
        parts = load_parts(files, LoadOptions(folder, threads, length), times)
        assert isinstance(parts.vision, TileEncoder)
        parts.vision.load(times)
        self.vision = parts.vision
        self.engine = CompiledEngine(files.name, files.digest, parts, folder / PACKED)
        seconds = time.perf_counter() - started
        packed = sum(file.stat().st_size for file in (folder / PACKED).glob("*.pack"))
        return {"seconds": seconds, "stages": times.seconds, "packed": packed}

    def tile(self, path: str) -> dict[str, Any]:
        """Compute one tile of an image through the vision encoder and the connector. Replies the seconds."""
        tower, tiles = self.vision.load(), self.vision.cut(load_image(Path(path))).tiles
        started = time.perf_counter()
        tower.encode(tiles[-1])
        return {"seconds": time.perf_counter() - started}

    def photo(self, path: str, question: str, detail: Detail) -> dict[str, Any]:
        """Answer a question about an image file up to its first token, in a new conversation.

        Replies the seconds from reading the file, the positions in the KV cache, and the seconds of a second question.
        """
        started = time.perf_counter()
        image = replace(load_image(Path(path)), detail=detail)
        self.messages = [Message("user", question, (image,))]
        count, said = self._first_token()
        seconds = time.perf_counter() - started
        self.messages += [Message("assistant", said), Message("user", "And what else?")]
        started = time.perf_counter()
        self._first_token()
        return {"seconds": seconds, "positions": count, "again": time.perf_counter() - started}

    def _first_token(self) -> tuple[int, str]:
        """Positions of the prompt, and the answer's text so far."""
        stream = self.engine.generate(self.messages, Sampling(max_tokens=1))
        next(stream)
        return stream.prompt_tokens, stream.text


if __name__ == "__main__":
    serve(EngineWorker())
