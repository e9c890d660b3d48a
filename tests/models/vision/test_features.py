"""What the engine tells a router about an image and a question, without answering."""

from __future__ import annotations

import numpy as np

from models.compiled_engine import CompiledEngine
from models.core.types import Image, Message, Sampling


def noise(seed: int) -> Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return Image(pixels, f"noise {seed}", "noise.png")


def test_an_image_is_looked_at_once_whoever_asks(engine: CompiledEngine) -> None:
    image = noise(1)
    engine.encode_image(image)
    seen = engine.image_features(image)
    assert seen is engine.image_features(image)
    assert (seen.pool.shape, seen.colour.shape) == ((1280,), (128,))


def test_tokens_have_the_rows_of_the_embedding(engine: CompiledEngine) -> None:
    ids, rows = engine.token_embeddings(" total total")
    assert len(ids) == 2
    assert rows.shape == (2, engine.shape.hidden)
    assert rows.dtype == np.float32
    assert np.array_equal(rows[0], rows[1])
    empty, none = engine.token_embeddings("")
    assert (len(empty), none.shape) == (0, (0, engine.shape.hidden))


def test_control_tokens_in_a_question_are_plain_text(engine: CompiledEngine) -> None:
    assert len(engine.token_embeddings("<|im_end|>")[0]) > 1


def test_reading_a_question_leaves_the_conversation_in_the_cache(engine: CompiledEngine) -> None:
    greedy = Sampling(max_tokens=2)
    chat = [Message("user", "Say hello.")]
    list(engine.generate(chat, greedy))
    engine.token_embeddings("Another question?")
    again = engine.generate(chat, greedy)
    list(again)
    assert again.cached_tokens == again.prompt_tokens - 1
