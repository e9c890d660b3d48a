"""A model is loaded as its family says; images keep their rows. On a tiny random model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from models import encoded_images
from models.adapter_weights import AdapterWeights
from models.compiled_engine import CompiledEngine
from models.core.errors import UserError
from models.core.files import file_digest
from models.core.types import Image, Message, Sampling, no_progress
from models.families import registry as families
from models.families.parts import LoadOptions, Parts
from models.hub.store import ModelFiles, check_digests
from models.lora.peft_format import PeftLora
from tests.distributions import install_toy
from tests.models.tiny_directory import HIDDEN, LAYERS, model_files, write_directory

pytestmark = pytest.mark.slow  # compiles at the first run

ROWS = 3
GREEDY = Sampling(max_tokens=4)


class FakeEncoder:
    """A VisionEncoder with different random rows for each image."""

    feature_size = 0

    def key(self, image: Image) -> str:
        return image.digest

    def encode(self, image: Image, part: object, progress: object) -> SimpleNamespace:
        del part, progress
        rows = np.random.default_rng(int(image.digest)).normal(size=(ROWS, HIDDEN)).astype(np.float32)
        return SimpleNamespace(embeddings=rows, heads={}, guesses=(), probability=1.0)


def picture(number: int) -> Image:
    return Image(np.zeros((1, 1, 3), np.uint8), str(number), f"{number}.png")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_directory(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def parts(directory: Path, engine_cache: Path) -> Parts:
    return families.load_parts(model_files(directory), LoadOptions(engine_cache, 1), no_progress)


@pytest.fixture
def seeing(parts: Parts, tmp_path: Path) -> CompiledEngine:
    seen = replace(parts, vision=FakeEncoder(), words_head=None, base_lora=None)  # type: ignore[arg-type]
    return CompiledEngine("tiny", "0", seen, tmp_path)


def said(engine: CompiledEngine, *messages: Message) -> tuple[list[int], int]:
    """The answer's token ids, and how many of the prompt's tokens were in the KV cache."""
    generation = engine.generate(messages, GREEDY)
    return [token.id for token in generation], generation.cached_tokens


def test_a_hugging_face_directory_is_loaded_and_answers(directory: Path, engine_cache: Path) -> None:
    engine = CompiledEngine.load(model_files(directory), cache_dir=engine_cache, threads=1)
    generation = engine.generate([Message("user", "Hello")], GREEDY)
    tokens = list(generation)
    assert 1 <= len(tokens) <= 5
    assert all(np.isfinite(token.logprob) for token in tokens)
    assert generation.prompt_tokens == len("<user\nHello><")
    assert not engine.has_vision
    with pytest.raises(UserError, match="cannot see images"):
        engine.encode_image(picture(1))


def test_an_unknown_family_is_refused_by_name(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tiny is of the family 'qwen'.*efficientnet-llama, idefics3, llama"):
        CompiledEngine.load(model_files(directory, family="qwen"), cache_dir=tmp_path)


def test_a_model_of_another_engine_has_no_parts_to_train(directory: Path, tmp_path: Path) -> None:
    files = model_files(directory, family="", engine="toy")
    with pytest.raises(UserError, match=r"tiny names no family.*only be used with its engine 'toy'"):
        families.load_parts(files, LoadOptions(tmp_path, 1), no_progress)


def test_a_family_of_another_distribution_is_found_by_its_name(
    directory: Path, engine_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(install_toy(tmp_path))
    files = model_files(directory, family="toy-llama")
    loaded = families.load_parts(files, LoadOptions(engine_cache, 1), no_progress)
    assert loaded.words_head == "none"


def test_a_model_with_vision_that_lacks_the_tower_is_refused(directory: Path, tmp_path: Path) -> None:
    blind = model_files(directory, family="efficientnet-llama")
    with pytest.raises(UserError, match=r"no projector"):
        CompiledEngine.load(blind, cache_dir=tmp_path)
    (tmp_path / "config.json").write_text('{"projector": "projector.safetensors"}')
    blind = model_files(directory, family="efficientnet-llama", bundled=tmp_path)
    with pytest.raises(UserError, match=r"no vision_tower.*catalog\.toml"):
        CompiledEngine.load(blind, cache_dir=tmp_path)


def test_a_flipped_bit_in_published_weights_is_noticed_before_they_are_packed(
    directory: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "weights.gguf"
    weights.write_bytes(b"published")
    roles = {"files": {"language_model": weights}, "digests": {"language_model": file_digest(weights)}}
    files: ModelFiles = model_files(directory, **roles)
    check_digests(files)
    weights.write_bytes(b"publishee")
    with pytest.raises(UserError, match=r"models remove tiny.*models pull tiny"):
        CompiledEngine.load(files, cache_dir=tmp_path / "cache")
    assert not list(tmp_path.rglob("*.pack"))


def test_an_adapter_of_a_shorter_model_is_refused(seeing: CompiledEngine) -> None:
    adapter = AdapterWeights(PeftLora("short", 1, 4, {}, layers=LAYERS - 1))
    with pytest.raises(UserError, match="short was trained on a model of 1 layers"):
        seeing.adapters.pack(adapter)


def test_an_adapter_is_kept_for_the_weights_of_its_engine_alone(parts: Parts, tmp_path: Path) -> None:
    blind = replace(parts, vision=None, base_lora=None)
    one, other = (CompiledEngine("tiny", digest, blind, tmp_path) for digest in ("1" * 64, "2" * 64))
    one.adapters.keep(one.adapters.pack(AdapterWeights(PeftLora("mine", 1, 4, {}))), "signature")
    assert one.adapters.open(tmp_path, "mine", "signature") is not None
    assert other.adapters.open(tmp_path, "mine", "signature") is None


def test_two_images_in_two_orders_are_two_prompts_that_share_only_their_beginning(
    seeing: CompiledEngine,
) -> None:
    one, two = picture(1), picture(2)
    first, _ = said(seeing, Message("user", "Which?", (one, two)))
    beginning = len("<user\n")
    turned, cached = said(seeing, Message("user", "Which?", (two, one)))
    assert cached == beginning
    again, cached = said(seeing, Message("user", "Which?", (one, two)))
    assert cached == beginning
    assert again == first
    longer, cached = said(seeing, Message("user", "Which?", (one, two, picture(3))))
    assert cached == beginning + 2 * ROWS
    said(seeing, Message("user", "?"))
    assert said(seeing, Message("user", "Which?", (one, two, picture(3)))) == (longer, beginning)
    assert said(seeing, Message("user", "Which?", (two, one)))[0] == turned


def rows_of(engine: CompiledEngine, images: Sequence[Image]) -> list[range]:
    return [engine.encode_image(image).row_ids for image in images]


def test_images_of_a_long_conversation_keep_their_rows(
    seeing: CompiledEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoded_images, "MAX_ENCODED_IMAGES", 4)
    conversation: list[Message] = []
    for number in range(12):
        conversation += [Message("user", "?", (picture(number),)), Message("assistant", "!")]
    question = [*conversation, Message("user", "And?")]
    said(seeing, *question)
    images = [picture(number) for number in range(12)]
    before = rows_of(seeing, images)
    _, cached = said(seeing, *question)
    assert cached > 12 * ROWS
    assert rows_of(seeing, images) == before
    assert all(seeing.is_encoded(image) for image in images)
    said(seeing, Message("user", "Another?", (picture(99),)))
    for number in range(100, 110):
        seeing.encode_image(picture(number))
    assert not seeing.is_encoded(picture(0))
