"""`edge-app models dump` on a model that was pulled from files, as somebody who compares two runtimes runs it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from edge_app.system import paths
from models.core.files import file_digest
from tests.edge_app.cli.conftest import Run
from tests.fixtures.numerics.vlm_cases import CASES, QUESTIONS, write_checkpoint
from tests.fixtures.numerics.vlm_gguf import write_gguf_pair
from tests.models.families.vlm_models import FLOAT_ERROR, LOGITS, difference, expected

NAME = "like_256m"


@pytest.fixture
def pulled(run: Run, tmp_path: Path, engine_cache: Path) -> str:
    """The name of a pulled model. Compiled code is that of the other tests."""
    folder = write_checkpoint(CASES[NAME], tmp_path / "checkpoint")
    assert run("models", "pull", f"file:{folder}", "--name", "mine").code == 0
    (engine_cache / "compiled").mkdir(parents=True, exist_ok=True)
    paths.ensure(paths.cache_directory())
    (paths.cache_directory() / "compiled").symlink_to(engine_cache / "compiled")
    return "mine"


@pytest.mark.slow
def test_the_arrays_are_those_of_transformers(run: Run, pulled: str, tmp_path: Path) -> None:
    question, out = QUESTIONS["photo"], tmp_path / "numbers"
    image, messages = tmp_path / "photo.png", tmp_path / "messages.json"
    image.write_bytes(question.files()[0])
    messages.write_text(json.dumps(question.messages))
    ended = run(
        "models", "dump", pulled, "--messages", str(messages), "--image", str(image), "--out", str(out)
    )
    assert (ended.code, ended.stdout) == (0, "")
    assert "computed in float" in ended.stderr  # since the model is small
    with np.load(out) as stored:
        arrays = {name: stored[name] for name in stored.files}
    wanted = {
        name: expected(NAME)[f"photo/{name}"] for name in ("token_ids", "tiles_sha256", "image_features")
    }
    assert {name: (array.dtype.name, array.ndim) for name, array in arrays.items()} == {
        "tiles": ("uint8", 4), "pixel_values": ("float32", 4), "image_features": ("float32", 2),
        "token_ids": ("int64", 1), "logits_last": ("float32", 1), "positions": ("int64", 1),
        "logits_at_positions": ("float32", 2), "greedy": ("int64", 1),
    }  # fmt: skip
    assert arrays["token_ids"].tolist() == wanted["token_ids"].tolist()
    assert hashlib.sha256(arrays["tiles"].tobytes()).hexdigest() == str(wanted["tiles_sha256"])
    assert difference(arrays["image_features"], wanted["image_features"]) < FLOAT_ERROR
    assert difference(arrays["logits_last"], expected(NAME)["photo/logits_last"]) < FLOAT_ERROR
    assert arrays["greedy"].shape == (8,)


@pytest.mark.slow
def test_low_detail_is_one_tile_and_a_prompt_needs_no_file(run: Run, pulled: str, tmp_path: Path) -> None:
    image, out = tmp_path / "photo.png", tmp_path / "numbers.npz"
    image.write_bytes(QUESTIONS["photo"].files()[0])
    asked = ("--prompt", "What is this?", "--image", str(image), "--detail", "low", "--out", str(out))
    ended = run("models", "dump", pulled, *asked, "--precision", "int8")
    assert (ended.code, "computed in int8" in ended.stderr) == (0, True)
    with np.load(out) as stored:
        assert FLOAT_ERROR < difference(stored["logits_last"], expected(NAME)["unsplit/logits_last"]) < LOGITS
        assert len(stored["tiles"]) == 1
        assert stored["token_ids"].tolist() == expected(NAME)["unsplit/token_ids"].tolist()


def test_a_removed_model_leaves_nothing_in_the_cache_that_was_made_from_it(run: Run, tmp_path: Path) -> None:
    folder = write_gguf_pair(CASES[NAME], tmp_path / "pair")
    mmproj = ("--mmproj", f"file:{folder / 'mmproj.gguf'}")
    for name in ("one", "two"):
        assert run("models", "pull", f"file:{folder / 'lm.gguf'}", *mmproj, "--name", name).code == 0
    packed = paths.ensure(paths.cache_directory() / "packed")
    made = [packed / f"{file_digest(folder / name)[:32]}-v1.pack" for name in ("lm.gguf", "mmproj.gguf")]
    for file in made:
        file.write_bytes(b"packed")
    assert run("models", "remove", "one").code == 0
    assert all(file.exists() for file in made)  # the other model has the same files
    assert run("models", "remove", "two").code == 0
    assert not any(file.exists() for file in made)


def test_what_cannot_be_dumped_is_said(run: Run, tmp_path: Path) -> None:
    out = ("--out", str(tmp_path / "numbers.npz"))
    assert run("models", "dump", "edge-vlm-135m", *out).code == 2
    missing = run("models", "dump", "edge-vlm-135m", "--messages", str(tmp_path / "none.json"), *out)
    assert (missing.code, "cannot be read" in missing.stderr) == (1, True)
    absent = run("models", "dump", "smolvlm-256m", "--prompt", "What?", *out)
    assert (absent.code, "models pull smolvlm-256m" in absent.stderr) == (1, True)
    for place, reason in ((tmp_path / "none" / "a.npz", "there is no folder"), (tmp_path, "it is a folder")):
        # Before the model, which is not here, is looked for.
        unwritten = run("models", "dump", "smolvlm-256m", "--prompt", "What?", "--out", str(place))
        assert (unwritten.code, reason in unwritten.stderr) == (1, True)
    (tmp_path / "broken.json").write_text('[{"role": "user"')
    broken = run("models", "dump", "smolvlm-256m", "--messages", str(tmp_path / "broken.json"), *out)
    assert (broken.code, "no JSON file" in broken.stderr) == (1, True)


def test_the_help_shows_both_ways_to_give_a_conversation(run: Run) -> None:
    shown = run("models", "dump", "--help").stdout
    assert '--prompt "What is this?"' in shown
    assert "--messages chat.json" in shown
    assert '{"type": "image"}' in shown
    assert "models pull smolvlm-500m" in run("models", "--help").stdout


def test_a_value_that_is_no_choice_is_told_in_plain_words(run: Run, tmp_path: Path) -> None:
    asked = ("--prompt", "What?", "--out", str(tmp_path / "a.npz"), "--detail", "x")
    refused = run("models", "dump", "smolvlm-256m", *asked)
    assert refused.code == 2
    assert "Invalid value for '--detail': 'x' is not one of 'high', 'low'." in refused.stderr
