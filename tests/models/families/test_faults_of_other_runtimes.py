"""Faults that other runtimes had with models of this family, each as the behaviour that excludes it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import safetensors.numpy

from models.adapter_weights import read_adapter
from models.compiled_adapters import CompiledAdapterPacker
from models.compiled_engine import CompiledEngine
from models.core.errors import UserError
from models.core.images import load_image
from models.core.types import Image, Message, Sampling
from models.model_dump import dump, read_messages
from models.vision.tiled.tile_encoder import TileEncoder
from models.vision.tiled.tiles import TileSettings, cut, directory_tile_settings
from tests.fixtures.numerics.tile_cases import TileCase
from tests.fixtures.numerics.vlm_cases import CASES, QUESTIONS, said
from tests.models.families.vlm_models import FEATURES, difference, expected, files_of, images_of, parts
from tests.models.vision.vision_cases import PATHS

pytestmark = pytest.mark.slow  # compiles at the first run

NAME = "like_256m"
ROWS = CASES[NAME].rows_a_tile
PHOTO = QUESTIONS["photo"]
GREEDY = Sampling(max_tokens=4)


@pytest.fixture
def engine(engine_cache: Path, tmp_path: Path) -> CompiledEngine:
    return CompiledEngine("tiny", "0", parts(NAME, "directory", PATHS[0], engine_cache), tmp_path)


def photo(detail: str = "high") -> Image:
    return replace(images_of("photo")[0], detail=detail)  # type: ignore[arg-type]


def test_matrices_of_the_mlp_with_each_others_name_are_told_by_their_shape(engine_cache: Path) -> None:
    """llama.cpp: files made before it have ffn_up and ffn_down exchanged."""
    old = parts(NAME, "f32 exchanged", PATHS[0], engine_cache)
    found = dump(old, read_messages(PHOTO.messages), images_of("photo"))
    assert difference(found["image_features"], expected(NAME)["photo/image_features"]) < FEATURES


def test_every_row_of_an_image_has_one_place_in_the_prompt(engine_cache: Path) -> None:
    """llama.cpp: rows a tile were miscounted, and answers were empty."""
    for name, case in CASES.items():
        loaded = parts(name, "directory", PATHS[0], engine_cache)
        found = dump(loaded, read_messages(PHOTO.messages), images_of("photo"))
        image_token = loaded.language.tokenizer.special["<image>"]
        places = int((found["token_ids"] == image_token).sum())
        assert places == len(found["image_features"]) == len(found["tiles"]) * case.rows_a_tile


def test_a_photo_is_tiled_and_its_overview_is_the_whole_picture_without_padding() -> None:
    """llama.cpp: no tiles, a padded square, an overview of something else."""
    pixels = load_image(TileCase(640, 480, 1, 1).file()).pixels
    made = cut(pixels, TileSettings(128, 512))
    assert (len(made.tiles), made.rows, made.cols) == (13, 3, 4)
    stretched = PIL.Image.fromarray(pixels).resize((512, 384), PIL.Image.Resampling.LANCZOS)
    overview = np.asarray(stretched.resize((128, 128), PIL.Image.Resampling.LANCZOS)).transpose(2, 0, 1)
    assert np.array_equal(made.tiles[-1], overview)


def test_images_are_resized_as_pillow_does_and_not_with_another_filter() -> None:
    """llama.cpp, transformers: another resize, BICUBIC in the place of LANCZOS."""
    pixels = load_image(TileCase(300, 200, 1, 1).file()).pixels
    image, whole = PIL.Image.fromarray(pixels), cut(pixels, TileSettings(128, 512).unsplit()).tiles[0]

    def resized(how: PIL.Image.Resampling) -> np.ndarray:
        return np.asarray(image.resize((512, 342), how).resize((128, 128), how)).transpose(2, 0, 1)

    assert np.array_equal(whole, resized(PIL.Image.Resampling.LANCZOS))
    assert not np.array_equal(whole, resized(PIL.Image.Resampling.BICUBIC))


def test_a_checkpoint_that_wants_another_filter_is_refused(tmp_path: Path) -> None:
    """transformers: the filter was ignored without a word."""
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"resample": 3}))
    with pytest.raises(UserError, match="resample = 3"):
        directory_tile_settings(tmp_path, 128)


def test_the_image_stands_before_the_question(engine: CompiledEngine) -> None:
    """llama.cpp: with the image after the text answers are worse."""
    question = Message("user", "What is this?", (photo("low"),))
    encoded = {image.digest: engine.encode_image(image) for image in question.images}
    tokens = engine._parts.prompts.build([question], encoded).tokens
    last_row = max(index for index, token in enumerate(tokens) if token < 0)
    assert engine._parts.language.tokenizer.decode(tokens[last_row + 1 :]).startswith("What is this?")


def test_patches_have_the_position_of_their_number(engine_cache: Path) -> None:
    """transformers: positions off by one, by the type of the weights."""
    for name in CASES:  # one of them with a side that the patch does not divide
        loaded = parts(name, "directory", PATHS[0], engine_cache)
        found = dump(loaded, read_messages(PHOTO.messages), images_of("photo"))
        assert difference(found["image_features"], expected(name)["photo/image_features"]) < FEATURES


def test_a_prompt_is_never_cut_inside_an_image(engine_cache: Path, tmp_path: Path) -> None:
    """transformers: a truncated prompt, 256 features for 192 tokens."""
    loaded = parts(NAME, "directory", PATHS[0], engine_cache)
    engine = CompiledEngine("tiny", "0", loaded, tmp_path)
    image = photo()
    chat = [Message("user", "What is this?", (image,)), Message("assistant", "a red square")]
    for length in (60, 90, 120, 200):
        engine.context_length = length
        limit = length - min(GREEDY.max_tokens, length // 4)
        try:
            answer = engine.generate([*chat, Message("user", "And on the right?")], GREEDY)
        except UserError as error:
            assert "too long" in str(error)
            continue
        assert answer.prompt_tokens <= limit
        assert answer.image_tokens == 13 * ROWS


def test_images_are_split_unless_the_checkpoint_says_otherwise(tmp_path: Path, engine_cache: Path) -> None:
    """mlx-vlm: splitting was off by mistake."""
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": {"longest_edge": 512}}))
    assert directory_tile_settings(tmp_path, 128) == TileSettings(128, 512, splitting=True)
    for form in ("directory", "f32"):
        vision = parts(NAME, form, PATHS[0], engine_cache).vision
        assert isinstance(vision, TileEncoder)
        assert len(vision.cut(photo()).tiles) == 13


def test_an_image_at_another_detail_is_another_prompt(engine: CompiledEngine) -> None:
    """mlx-vlm: 13 tiles under a prompt for one."""
    for detail, tiles in (("low", 1), ("high", 13), ("low", 1)):
        answer = engine.generate([Message("user", "What is this?", (photo(detail),))], GREEDY)
        assert answer.image_tokens == tiles * ROWS
        assert len(engine.encode_image(photo(detail)).embeddings) == tiles * ROWS


def test_places_of_tiles_stand_in_the_prompt_of_old_checkpoints(engine_cache: Path) -> None:
    """mlxcel: settings were looked for in the wrong file, and the prompt had no places."""
    assert {path.name for path in files_of(NAME, "directory").directory.iterdir()} >= {
        "preprocessor_config.json",
        "processor_config.json",
    }
    loaded = parts(NAME, "directory", PATHS[0], engine_cache)
    ids = dump(loaded, read_messages(PHOTO.messages), images_of("photo"))["token_ids"].tolist()
    special = loaded.language.tokenizer.special
    assert [ids.count(special[f"<row_{row}_col_{col}>"]) for row in (1, 2, 3, 4) for col in (1, 4, 5)] == [
        1, 1, 0, 1, 1, 0, 1, 1, 0, 0, 0, 0,
    ]  # fmt: skip


def test_an_image_that_is_not_split_counts_as_one_tile(engine: CompiledEngine) -> None:
    """vLLM: an unsplit image counted as no tile."""
    encoded = engine.encode_image(photo("low"))
    assert (encoded.grid, len(encoded.embeddings)) == ((0, 0), ROWS)
    answer = engine.generate([Message("user", "What is this?", (photo("low"),))], GREEDY)
    assert answer.image_tokens == ROWS
    assert list(answer)


PREFIXES = (
    "base_model.model.model.text_model.layers",
    "base_model.model.text_model.layers",
    "base_model.model.model.layers",
    "base_model.model.layers",
)


def test_an_adapter_changes_the_answers_whatever_model_it_was_saved_from(
    engine_cache: Path, tmp_path: Path
) -> None:
    """vLLM: the LoRA of a text model was loaded and did nothing under the prefix of the whole model."""
    loaded = parts(NAME, "directory", PATHS[0], engine_cache)
    runtime = loaded.language.runtime
    messages = read_messages([said("user", "Which shape is it?")])
    plain = dump(loaded, messages, [])["logits_last"]
    random = np.random.RandomState(5)
    a, b = random.normal(size=(8, 192)).astype(np.float32), random.normal(size=(192, 8)).astype(np.float32)
    seen = []
    for number, prefix in enumerate(PREFIXES):
        folder = tmp_path / str(number)
        folder.mkdir()
        settings = {"peft_type": "LORA", "r": 8, "lora_alpha": 8, "target_modules": ["q_proj"]}
        (folder / "adapter_config.json").write_text(json.dumps(settings))
        tensors = {
            f"{prefix}.{i}.self_attn.q_proj.lora_{part}.weight": value
            for i in (0, 1)
            for part, value in (("A", a), ("B", b))
        }
        safetensors.numpy.save_file(tensors, folder / "adapter_model.safetensors")
        packer = CompiledAdapterPacker(runtime.shape, tmp_path / "packed")
        packed = packer.pack(read_adapter(folder, f"adapter-{number}"))
        seen.append(dump(loaded, messages, [], packed)["logits_last"])
    assert difference(seen[0], plain) > 0.05
    assert all(np.array_equal(each, seen[0]) for each in seen)
