"""A vision-language model behind the engine's interface, in a process of its own: loading, tiles, photos.

    python -m benchmarks.vlm.engine_worker

The protocol is that of benchmarks/workers.py.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.assistant_worker import StageTimes
from benchmarks.workers import serve
from models.compiled_engine import CompiledEngine
from models.core.cache import PACKED
from models.core.images import load_image
from models.core.types import Detail, Message, Sampling
from models.families.parts import LoadOptions
from models.families.registry import load_parts
from models.formats.siglip_weights import LAYER_MATRICES, SiglipConfig, expected_shapes
from models.hub.store import ModelFiles
from models.lora.vision_lora import VisionLora
from models.vision.siglip.adapter import pack_vision_lora
from models.vision.siglip.encoder import SiglipEncoder
from models.vision.tiled.tile_encoder import TileEncoder

FAMILY = "idefics3"


def lora_modules(config: SiglipConfig) -> list[str]:
    """The modules of a tower and its connector that an adapter can change, as VisionLora names them."""
    layers = [f"layers.{layer}.{role}" for layer in range(config.layers) for role in LAYER_MATRICES]
    return [*layers, "connector"]


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
        tower = parts.vision.load(times)
        assert isinstance(tower, SiglipEncoder)
        self.vision, self.config = parts.vision, tower.config
        self.engine = CompiledEngine(files.name, files.digest, parts, folder / PACKED)
        seconds = time.perf_counter() - started
        packed = sum(file.stat().st_size for file in (folder / PACKED).glob("*.pack"))
        return {"seconds": seconds, "stages": times.seconds, "packed": packed}

    def adapt(self, rank: int) -> dict[str, Any]:
        """Make a random adapter of this rank on all matrices of the vision encoder and the connector."""
        generator, tensors = np.random.default_rng(rank), {}
        for module in lora_modules(self.config):
            outputs, inputs = expected_shapes(self.config)[f"{module}.weight"]
            for part, size in (("A", (rank, inputs)), ("B", (outputs, rank))):
                tensors[f"{module}.{part}"] = generator.standard_normal(size, dtype=np.float32) * np.float32(
                    0.01
                )
        self.adapter = pack_vision_lora(self.config, VisionLora(rank, tensors), "random", 1)
        return {}

    def tile(self, path: str, adapted: bool = False) -> dict[str, Any]:
        """Compute one tile of an image through the vision encoder and the connector. Replies the seconds.

        adapted: with the adapter of `adapt`.
        """
        tower, tiles = self.vision.load(), self.vision.cut(load_image(Path(path))).tiles
        adapter = self.adapter if adapted else None
        started = time.perf_counter()
        tower.encode(tiles[-1], adapter)
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
